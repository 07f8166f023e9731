"""What is measured, each in a process of its own: a job gets ready (makes and compiles), waits, and then yields rows.

So all compile side by side, on all cores, and none is measured while another compiles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.gpu import networks
from benchmarks.gpu.clock import forget_peak, peak, timed
from benchmarks.gpu.mixed import driver_rows, mixed_rows
from benchmarks.gpu.report import Row
from benchmarks.gpu.sampling import sampling_job
from benchmarks.gpu.small import SHAPES
from benchmarks.gpu.truth import compiled, exact, memory
from multigen import registry
from multigen.core.conditioning import Cond, CondSpec
from multigen.core.denoiser import Denoiser
from multigen.recipe.load import load_recipe
from multigen.recipe.schema import Recipe
from multigen.training.ema import EMA
from multigen.training.learner import Learner

WIDTH, LENGTH = 384, 48  # of made-up states of texts
Job = Callable[[torch.device, bool], Iterator[Row | None]]  # device, tiny; the first it yields is None: ready


class Task(NamedTuple):
    """A job under its name, and how many seconds it may take to be measured."""

    name: str
    job: Job
    seconds: float
    section: str = "speed"


def _widths(tiny: bool) -> tuple[int, ...]:
    return networks.TINY if tiny else (128, 256, 512)


def _side(tiny: bool) -> int:
    return 16 if tiny else 64


def _bf16(device: torch.device, call: Callable[[], Tensor]) -> Tensor:
    with torch.autocast(device.type, torch.bfloat16):
        return call()


def pair_job(
    which: str, mode: str, training: bool, batch: int, device: torch.device, tiny: bool
) -> Iterator[Row | None]:
    """Forward or training step of ours or diffusers' network of the same FLOPs, bf16 autocast, eager or compiled."""
    torch.backends.cudnn.benchmark = True
    side, batch = _side(tiny), min(batch, 2) if tiny else batch
    makers = networks.pair(_widths(tiny), side, device)
    network = makers[("ours", "diffusers").index(which)]()
    # Both in the layout that convolutions in half precision are fastest in; ours would choose it by itself.
    network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    x = torch.randn(batch, 3, side, side, device=device).contiguous(memory_format=torch.channels_last)
    noise = torch.linspace(0, 10, batch, device=device)
    function = networks.called(network)
    fast = torch.compile(function, dynamic=False) if mode == "compiled" else function
    step = (
        _step(network, partial(fast, x, noise), x, device)
        if training
        else _evaluation(fast, x, noise, device)
    )
    step()
    step()
    yield None
    forget_peak(device)
    timing = timed(step, device)
    size = networks.measured(networks.pair(_widths(tiny), side, torch.device("meta"))[0], side)
    work = size.flops * batch * (3 if training else 1)
    yield {
        "what": f"{which}, {mode}, {'training step' if training else 'forward'}, batch {batch}",
        "ms": timing.median * 1000,
        "spread": timing.spread,
        "pictures_per_s": batch / timing.median,
        "tflops": work / timing.median / 1e12,
        "peak_gib": peak(device),
    }


def _evaluation(fast: networks.Call, x: Tensor, noise: Tensor, device: torch.device) -> Callable[[], Tensor]:
    def run() -> Tensor:
        with torch.no_grad():
            return _bf16(device, lambda: fast(x, noise))

    return run


def _step(
    network: nn.Module, call: Callable[[], Tensor], x: Tensor, device: torch.device
) -> Callable[[], Tensor]:
    optimizer = torch.optim.AdamW(network.parameters(), 1e-5, fused=True)

    def run() -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = (_bf16(device, call).float() - x).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    return run


def rate_job(name: str, compiled: bool, batch: int, device: torch.device, tiny: bool) -> Iterator[Row | None]:
    """Pictures a second of a recipe's training step on made-up media that lie on the device already."""
    torch.backends.cudnn.benchmark = True
    overrides = ["backbone.widths=[32,64]", "backbone.attention=[false,true]"] if tiny else []
    recipe = load_recipe(name, [*overrides, "data={name: emoji}"])
    batch = min(batch, 4) if tiny else batch
    denoiser, shape = _denoiser(recipe, device)
    learner = Learner("model", denoiser.backbone, recipe.train, device)
    ema = EMA(learner.parameters, recipe.train.ema_decay)
    x0 = torch.randn(batch, *shape, device=device).clamp(-1, 1)
    cond = Cond(
        vector=torch.randn(batch, WIDTH, device=device),
        tokens=torch.randn(batch, LENGTH, WIDTH, device=device),
        mask=(torch.arange(LENGTH, device=device) < 10).expand(batch, -1).contiguous(),
    )
    t = torch.linspace(0.01, 0.99, batch, dtype=torch.float64)
    scales = denoiser.loss_scales(t).to(device, torch.float32)
    good = torch.zeros((), device=device)
    loss_at = torch.compile(denoiser.loss_at, dynamic=False) if compiled else denoiser.loss_at

    def step() -> Tensor:
        eps = torch.randn_like(x0)
        total = learner.gradient(iter([loss_at(x0, cond, eps, scales).mean()]))
        nn.utils.clip_grad_norm_(learner.parameters.values(), 1.0)
        learner.update(1e-5, good)
        ema.update(1000, good)
        return total

    step()
    step()
    yield None
    forget_peak(device)
    timing = timed(step, device, seconds=2.0, most=30)
    yield {
        "what": f"{recipe.name}, training step, {'compiled' if compiled else 'eager'}, batch {batch}",
        "ms": timing.median * 1000,
        "spread": timing.spread,
        "pictures_per_s": batch / timing.median,
        "peak_gib": peak(device),
    }


def _denoiser(recipe: Recipe, device: torch.device) -> tuple[Denoiser, tuple[int, ...]]:
    """What the recipe trains, for text as wide as the packaged encoder's states; and a sample's shape."""
    modality = registry.build("modality", recipe.modality, where="modality")
    codec = registry.build("codec", recipe.codec, where="codec", given={"modality": modality})
    shape = codec.shape(modality.shape())
    given = {"axes": len(shape) - 1, "channels": shape[0], "out_channels": shape[0]}
    given |= {"cond": CondSpec(vector=WIDTH, tokens=WIDTH)}
    network = registry.build("backbone", recipe.network, where="backbone", given=given)
    schedule = registry.build("schedule", recipe.schedule, where="schedule")
    prediction = registry.build("prediction", recipe.prediction, where="prediction")
    return Denoiser(network, schedule, prediction, precision=torch.bfloat16).to(device), shape


def own_job(axes: int, device: torch.device, tiny: bool) -> Iterator[Row | None]:
    """Our U-Net of one or three axes, eager, bf16: forward at batch 1, 8, 32 and a training step at 8."""
    network, shape = networks.own(axes, device, tiny=tiny)
    yield None
    call = networks.called(network)
    for batch in (1, 2) if tiny else (1, 8, 32):
        x = torch.randn(batch, *shape, device=device)
        run = _evaluation(call, x, torch.linspace(0, 10, batch, device=device), device)
        forget_peak(device)
        timing = timed(run, device, seconds=0.5)
        yield _own_row(
            f"{axes} axes, eager, forward, batch {batch}", batch, timing.median, timing.spread, device
        )
    batch = 2 if tiny else 8
    x = torch.randn(batch, *shape, device=device)
    noise = torch.linspace(0, 10, batch, device=device)
    forget_peak(device)
    timing = timed(_step(network, partial(call, x, noise), x, device), device, seconds=0.5)
    yield _own_row(
        f"{axes} axes, eager, training step, batch {batch}", batch, timing.median, timing.spread, device
    )


def _own_row(what: str, batch: int, median: float, spread: float, device: torch.device) -> Row:
    row = {"what": what, "ms": median * 1000, "spread": spread, "samples_per_s": batch / median}
    return row | {"peak_gib": peak(device)}


def stable_job(name: str, device: torch.device, tiny: bool) -> Iterator[Row | None]:
    """A foreign network's shape through our driver, beside a bare loop; for SD 1.5 also mixed requests."""
    shape = networks.SMALL if tiny else {"SD 1.5": networks.SD15, "SDXL": networks.SDXL}[name]
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    network = networks.stable(shape, device, dtype)
    yield None
    from multigen.core import predictions, schedules

    denoiser = Denoiser(network, schedules.scaled_linear(), predictions.eps())
    with torch.no_grad():
        yield from driver_rows(name, denoiser, shape, device, tiny)
        if name == "SD 1.5":
            yield from mixed_rows(name, denoiser, shape, device, tiny)


def compiled_job(device: torch.device, tiny: bool) -> Iterator[Row | None]:
    """`torch.compile` gives the same sample: no time is measured."""
    exact(True)
    rows = list(compiled(device))
    yield None
    yield from rows


def memory_job(device: torch.device, tiny: bool) -> Iterator[Row | None]:
    """What a model took is free when it is gone."""
    yield None
    yield from memory(device, ("image",) if tiny else tuple(SHAPES))


def tasks(recipe: str) -> list[Task]:
    """All jobs, those with a bar first."""
    pairs = [(True, 32), (False, 32), (False, 1), (False, 8)]
    found = [
        Task(f"{which} {mode} {'step' if training else 'forward'} {batch}",
             partial(pair_job, which, mode, training, batch), 4.0)
        for mode, some in (("compiled", pairs[:3]), ("eager", pairs))
        for training, batch in some
        for which in ("ours", "diffusers")
    ]  # fmt: skip
    bars, rest = found[:4], found[4:]
    rates = [
        Task(
            f"{recipe} {'compiled' if fast else 'eager'} {batch}", partial(rate_job, recipe, fast, batch), 5.0
        )
        for fast, batch in ((True, 512), (True, 1024), (False, 512), (True, 256), (True, 2048))
    ]
    return [
        *bars,
        Task("SD 1.5", partial(stable_job, "SD 1.5"), 20.0),
        *rates,
        Task("SDXL", partial(stable_job, "SDXL"), 12.0),
        *rest,
        *(Task(f"{axes} axes", partial(own_job, axes), 5.0) for axes in (1, 2, 3)),
        Task("sampling", sampling_job, 15.0),
        Task("compile", compiled_job, 1.0, "truth"),
        Task("memory", memory_job, 3.0, "truth"),
    ]
