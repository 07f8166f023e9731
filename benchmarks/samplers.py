"""Sampler cost outside the network: a step of ours through `solve`, beside diffusers' schedulers and k-diffusion.

Latents of 4x4x64x64, fp32, one CPU thread. The network is a stub that returns a tensor made beforehand, so what is
timed is the sampler, the guide, the driver and (in the rows "with conversion") the denoiser, against the peer's loop
over `scale_model_input` and `step`. Ours includes the set-up of its coefficients; theirs leaves `set_timesteps` out.
A denoiser is told the grid once a run, as `Model` does it; "new grid" makes a new denoiser for each run.
Runs of both sides alternate; each number is the median, in microseconds of CPU time a step, and so is the ratio's.
CPU time, since wall time on a shared machine would time its other users.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import peers
from multigen.core import (
    Backbone,
    Cond,
    Denoiser,
    Schedule,
    plain,
    predictions,
    samplers,
    schedules,
    solve,
    timesteps,
)
from multigen.storage.torchaudio_shim import import_torchaudio

SHAPE = (4, 4, 64, 64)
STEPS = 20
REPEATS = 41
Run = Callable[[], object]


class Fixed(Backbone):
    """A network or denoiser without cost: it always returns the same tensor."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: Tensor, t: Tensor, cond: Cond) -> Tensor:
        """The fixed answer."""
        return self.answer


def ours(sampler: str, schedule: Schedule, make: Callable[[], nn.Module], x: Tensor) -> Run:
    """`make` gives the denoiser of each run: the same one, or one that has not seen the grid."""
    ts, cond = timesteps.karras(schedule, STEPS), Cond()

    def run() -> Tensor:
        denoiser = make()
        if isinstance(denoiser, Denoiser):
            denoiser.remember(ts)
        trajectory = getattr(samplers, sampler)(schedule, x, ts, lambda purpose, index: x)
        return solve(trajectory, plain(cond, cond), denoiser)  # type: ignore[arg-type]

    return run


def diffusers_loop(scheduler: Any, x: Tensor, answer: Tensor) -> tuple[Run, Run]:
    """The loop of a pipeline, and the preparation that is not timed."""

    def prepare() -> None:
        scheduler.set_timesteps(STEPS)

    def run() -> Tensor:
        sample = x
        for t in scheduler.timesteps:
            scheduler.scale_model_input(sample, t)
            sample = scheduler.step(answer, t, sample, return_dict=False)[0]
        return sample

    return run, prepare


def k_diffusion_loop(name: str, x: Tensor, answer: Tensor) -> tuple[Run, Run] | None:
    """k-diffusion's function, or None where it is not installed."""
    k = peers.k_sampling()
    if k is None:
        return None
    sigmas = k.get_sigmas_karras(STEPS, 0.002, 80.0)
    return lambda: getattr(k, name)(lambda x, sigma: answer, x, sigmas, disable=True), lambda: None


def compare(what: str, mine: Run, peer: tuple[Run, Run], peer_name: str) -> dict[str, Any]:
    """Medians of alternating runs; `spread` is the interquartile range of the ratio."""
    run, prepare = peer
    times: list[tuple[float, float]] = []
    for _ in range(REPEATS + 3):
        prepare()
        times.append((clock(mine), clock(run)))
    times = times[3:]  # the first runs fill caches
    a, b = (statistics.median(column) for column in zip(*times, strict=True))
    low, ratio, high = statistics.quantiles((x / y for x, y in times), n=4)
    return {
        "what": what,
        "multigen": a / STEPS * 1e6,
        "peer": b / STEPS * 1e6,
        "peer_name": peer_name,
        "ratio": ratio,
        "spread": high - low,
        "unit": "us of CPU time a step",
    }


def clock(run: Run) -> float:
    """CPU seconds of this thread."""
    start = time.thread_time()
    run()
    return time.thread_time() - start


def measure() -> list[dict[str, Any]]:
    """One row a comparison: {what, multigen, peer, peer_name, ratio, spread, unit}."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            return _rows()
    finally:
        torch.set_num_threads(threads)


def _rows() -> list[dict[str, Any]]:
    import_torchaudio()  # before diffusers, which imports it
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler
    from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
    from diffusers.schedulers.scheduling_heun_discrete import HeunDiscreteScheduler

    generator = torch.Generator().manual_seed(0)
    x, answer = torch.randn(2, *SHAPE, generator=generator)
    x0, table, edm = Fixed(answer), schedules.linear(), schedules.edm()
    seasoned = Denoiser(Fixed(answer), table, predictions.eps())
    kinds: tuple[tuple[str, Callable[[], nn.Module], str], ...] = (
        ("", lambda: x0, "sample"),
        (", with conversion of eps", lambda: seasoned, "epsilon"),
        (", the same, new grid", lambda: Denoiser(Fixed(answer), table, predictions.eps()), "epsilon"),
    )
    rows = []
    schedulers: tuple[tuple[str, Callable[..., Any], dict[str, Any]], ...] = (
        ("dpmpp_2m", DPMSolverMultistepScheduler, {}),
        ("ddim", DDIMScheduler, {"clip_sample": False}),
        ("heun", HeunDiscreteScheduler, {}),
    )
    for sampler, scheduler, options in schedulers:
        for what, make, output in kinds:
            peer = diffusers_loop(scheduler(prediction_type=output, **options), x, answer)
            name = f"diffusers {scheduler.__name__}"
            rows.append(compare(f"{sampler} step{what}", ours(sampler, table, make, x), peer, name))
    peer = k_diffusion_loop("sample_dpmpp_2m", x, answer)
    if peer is not None:
        rows.append(
            compare(
                "dpmpp_2m step, edm",
                ours("dpmpp_2m", edm, lambda: x0, x),
                peer,
                "k-diffusion sample_dpmpp_2m",
            )
        )
    return rows


if __name__ == "__main__":
    if peers.note():
        print(peers.note(), file=sys.stderr)
    for row in measure():
        print(
            f"{row['what']:42} {row['multigen']:7.1f} {row['peer']:7.1f} {row['unit']}  "
            f"ratio {row['ratio']:.2f} +- {row['spread'] / 2:.2f}  {row['peer_name']}"
        )
