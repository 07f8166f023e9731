"""A foreign network through our driver: beside a bare loop over it, and many requests together over one by one."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks.gpu.clock import forget_peak, peak, wall
from benchmarks.gpu.networks import Shape, tokens
from benchmarks.gpu.report import Row
from multigen.core import timesteps
from multigen.core.conditioning import Cond
from multigen.core.denoiser import Denoiser
from multigen.core.drive import Driver, solve
from multigen.core.guides import cfg
from multigen.core.noise import Noise
from multigen.core.samplers import dpmpp_2m, step_coefficients
from multigen.core.samplers.steps import levels
from multigen.core.sampling import Sampling

STEPS = (10, 20, 30)
REQUESTS = 32
DRIVER_BAR, MIXED_BAR = 1.02, 0.6


def request(
    denoiser: Denoiser, shape: Shape, seed: int, steps: int, device: torch.device, batch: int = 1
) -> Sampling:
    """DPM-Solver++ 2M with guidance from made-up prompts; `batch` samples."""
    ts = timesteps.karras(denoiser.schedule, steps)
    denoiser.remember(ts)
    noise = Noise(range(seed, seed + batch), (4, shape.side, shape.side), device)
    start = noise("start", 0) * float(denoiser.schedule(ts[:1]).sigma)
    cond = Cond.cat([tokens(shape, seed + k, device) for k in range(batch)])
    guide = cfg(cond, tokens(shape, 10**6, device), scale=5.0)
    return Sampling(dpmpp_2m(denoiser.schedule, start, ts, noise), guide, denoiser)


def bare(denoiser: Denoiser, shape: Shape, steps: int, device: torch.device, batch: int) -> Tensor:
    """The least that a loop of one's own does: coefficients, one network call on both conditions, guidance, Euler."""
    schedule, network = denoiser.schedule, denoiser.backbone
    ts = timesteps.karras(schedule, steps)
    alpha, sigma = levels(schedule, ts)
    index = schedule.index(ts).tolist()
    x = torch.cat([Noise([k], (4, shape.side, shape.side))("start", 0) for k in range(batch)]).to(device)
    both = Cond.cat(
        [*(tokens(shape, k, device) for k in range(batch)), *[tokens(shape, 10**6, device)] * batch]
    )
    for k in range(steps):
        told = torch.full((2 * batch,), index[k], device=device)
        with_, without = network(torch.cat([x, x]), told, both).chunk(2)
        eps = torch.lerp(without, with_, 5.0)
        x0 = (x - sigma[k] * eps) / alpha[k]
        a, b, _ = step_coefficients(alpha[k], sigma[k], alpha[k + 1], sigma[k + 1])
        x = a * x + b * x0
    return x


def driver_rows(
    name: str, denoiser: Denoiser, shape: Shape, device: torch.device, tiny: bool
) -> Iterator[Row]:
    """Seconds through the driver over those of the bare loop, in turns; pictures a second and memory."""
    steps = 3 if tiny else 10
    for batch in (1,) if tiny else ((1, 8) if name == "SDXL" else (1, 8, 32)):
        ours: list[float] = []
        theirs: list[float] = []
        forget_peak(device)
        for turn in range(2 if tiny else 4 if batch < 32 else 3):
            made = request(denoiser, shape, 0, steps, device, batch)
            mine = wall(lambda made=made: solve(made.sampler, made.guide, denoiser), device)
            other = wall(lambda batch=batch: bare(denoiser, shape, steps, device, batch), device)
            if turn:  # the first warms up
                ours.append(mine)
                theirs.append(other)
        ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
        yield {
            "what": f"{name}, {steps} steps with guidance, batch {batch}: driver over a bare loop",
            "ratio": ratio,
            "bar": DRIVER_BAR,
            "ok": ratio <= DRIVER_BAR,
            "s": statistics.median(ours),
            "pictures_per_s": batch / statistics.median(ours),
            "peak_gib": peak(device),
        }


def mixed_rows(
    name: str, denoiser: Denoiser, shape: Shape, device: torch.device, tiny: bool
) -> Iterator[Row]:
    """32 requests of 10, 20 and 30 steps on one driver, over the same one by one; share of time outside the network.

    One by one, three of each length are made, and their medians stand for all of it.
    """
    count, lengths = (4, (2, 3)) if tiny else (REQUESTS, STEPS)
    asked = [lengths[k % len(lengths)] for k in range(count)]
    alone = {}
    for steps in lengths:
        found = []
        for seed in range(3):
            made = request(denoiser, shape, seed, steps, device)
            found.append(wall(lambda made=made: solve(made.sampler, made.guide, denoiser), device))
        alone[steps] = statistics.median(found)
    one_by_one = sum(alone[steps] * n for steps, n in Counter(asked).items())
    together = wall(lambda: _together(denoiser, shape, asked, device), device)
    inside = _inside(denoiser, shape, asked, device)
    ratio = together / one_by_one
    yield {
        "what": f"{name}, {count} requests of {min(lengths)} to {max(lengths)} steps: together over one by one",
        "ratio": ratio,
        "bar": MIXED_BAR,
        "ok": ratio <= MIXED_BAR,
        "s": together,
        "one_by_one_s": one_by_one,
        "pictures_per_s": count / together,
        "outside": round(1 - inside / together, 3),
        "peak_gib": peak(device),
    }


def _together(denoiser: Denoiser, shape: Shape, asked: list[int], device: torch.device) -> None:
    driver = Driver(max_batch=2 * len(asked))
    for seed, steps in enumerate(asked):
        driver.add(request(denoiser, shape, seed, steps, device))
    while driver.samplings:
        driver.round()


def _inside(denoiser: Denoiser, shape: Shape, asked: list[int], device: torch.device) -> float:
    """Seconds of the same network calls alone."""
    sizes = Counter(sum(steps > k for steps in asked) for k in range(max(asked)))
    found = 0.0
    for size, rounds in sizes.items():
        x = torch.randn(2 * size, 4, shape.side, shape.side, device=device)
        cond = tokens(shape, 0, device).expand(2 * size)
        told = torch.full((2 * size,), 500.0, device=device)
        denoiser.backbone(x, told, cond)
        found += wall(lambda x=x, told=told, cond=cond: denoiser.backbone(x, told, cond), device) * rounds
    return found
