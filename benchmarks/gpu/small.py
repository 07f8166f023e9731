"""Small networks of the three modalities with made-up weights, and samples of them by every sampler."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from multigen import registry
from multigen.backbones.unet import UNet
from multigen.core import timesteps
from multigen.core.conditioning import Cond, CondSpec
from multigen.core.denoiser import Denoiser
from multigen.core.drive import Driver, drive
from multigen.core.guides import cfg
from multigen.core.noise import Noise, normal
from multigen.core.predictions import flow as flow_prediction
from multigen.core.samplers import sampler_traits
from multigen.core.sampling import Sampling
from multigen.core.schedules import flow as flow_schedule
from multigen.registry import Part

SHAPES = {"audio": (8, 96), "image": (3, 16, 16), "video": (3, 4, 16, 16)}
STEPS, SCALE, TOKENS = 4, 2.5, 16


def perturbed(network: nn.Module, by: float = 0.05) -> nn.Module:
    """The network with each weight moved a little, the same on every device: untrained ones answer nothing."""
    with torch.no_grad():
        for k, p in enumerate(network.parameters()):
            p.add_((by * normal(p.shape, k, "weight")).to(p.device))
    return network


def small(kind: str, device: torch.device, precision: torch.dtype | None = None) -> Denoiser:
    """A denoiser for a modality; the same weights on every device."""
    channels, *size = SHAPES[kind]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = UNet(
            axes=len(size), channels=channels, out_channels=channels, cond=CondSpec(vector=8, tokens=TOKENS),
            widths=(32, 64), blocks=1, attention=(False, True),
        )  # fmt: skip
    perturbed(network)
    return Denoiser(network.eval(), flow_schedule(), flow_prediction(), precision=precision).to(device)


def condition(seed: int, device: torch.device) -> Cond:
    """The condition of one sample: a vector, and two to five tokens."""
    length = 2 + seed % 4
    return Cond(
        vector=normal((1, 8), seed, "vector"),
        tokens=normal((1, length, TOKENS), seed, "tokens"),
        mask=torch.ones(1, length, dtype=torch.bool),
    ).to(device)


def request(
    denoiser: Denoiser,
    kind: str,
    sampler: str,
    seeds: Sequence[int],
    device: torch.device,
    steps: int = STEPS,
) -> Sampling:
    """One trajectory of the samples of some seeds, with guidance."""
    ts = timesteps.uniform(denoiser.schedule, steps)
    denoiser.remember(ts)
    noise = Noise(seeds, SHAPES[kind], device)
    cond = Cond.cat([condition(seed, device) for seed in seeds])
    null = condition(0, device).map(lambda p: p if p.dtype == torch.bool else torch.zeros_like(p))
    # Each of its steps asks three times; 100 queries, its own bound, would take most of the time.
    args = {"budget": 20} if sampler == "adaptive" else {}
    walk = registry.build("sampler", Part(sampler, args), where="sampler")
    start = noise("start", 0) * float(denoiser.schedule(ts[:1]).sigma)
    return Sampling(walk(denoiser.schedule, start, ts, noise), cfg(cond, null, scale=SCALE), denoiser)


def requests(
    denoiser: Denoiser,
    kind: str,
    sampler: str,
    seeds: Sequence[int],
    device: torch.device,
    steps: int = STEPS,
) -> list[Sampling]:
    """Of one batch: one request, or one a sample where the sampler takes one."""
    alone = sampler_traits(registry.lookup("sampler", sampler)).one_sample
    parts = [[seed] for seed in seeds] if alone else [list(seeds)]
    return [request(denoiser, kind, sampler, part, device, steps) for part in parts]


def samples(
    denoiser: Denoiser,
    kind: str,
    sampler: str,
    seeds: Sequence[int],
    device: torch.device,
    steps: int = STEPS,
) -> Tensor:
    """[B, C, *D] on the CPU."""
    made = requests(denoiser, kind, sampler, seeds, device, steps)
    for _ in drive(made, max_batch=2**31):
        pass
    return torch.cat([r.sample for r in made if r.sample is not None]).cpu()


def side_by_side(made: Sequence[Sampling]) -> list[Tensor]:
    """The samples of requests of any kind on one driver."""
    driver = Driver(max_batch=2**31)
    for one in made:
        driver.add(one)
    while driver.samplings:
        driver.round()
    return [r.sample.cpu() for r in made if r.sample is not None]
