"""The driver: the one place that calls a network to sample.

Each round collects the calls that all samplings wait for, merges those that can share a batch into one network call
with a time for each sample, t [B], and hands the answers back. Calls merge if they agree in denoiser, shape, dtype,
device, structure of the condition, `grad` and `taps`; prompts, samplers, step counts and guides may differ.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

import torch
from torch import Tensor

from multigen.core.conditioning import Cond
from multigen.core.denoiser import Denoiser
from multigen.core.guides import Guide
from multigen.core.merge import Piece, batches, joined
from multigen.core.samplers import Trajectory
from multigen.core.sampling import Progress, Sampling


class Driver:
    """Answers the calls of many samplings. They join with `add` and leave with `cancel` between rounds.

    max_batch  most samples of one network call; larger calls are cut
    samplings  those that are not finished
    calls      how many network calls were made
    samples    how many samples went through the network
    """

    def __init__(self, *, max_batch: int = 64) -> None:
        if max_batch < 1:
            raise ValueError(f"max_batch must be at least 1, not {max_batch}")
        self.max_batch = max_batch
        self.samplings: list[Sampling] = []
        self.calls = 0
        self.samples = 0

    def add(self, sampling: Sampling) -> Sampling:
        """Let a sampling join. The next round answers its first calls."""
        with torch.no_grad():
            sampling.start()
        if not sampling.finished:
            self.samplings.append(sampling)
        return sampling

    def cancel(self, sampling: Sampling) -> None:
        """Remove a sampling and close it; do nothing if it is not here."""
        if sampling in self.samplings:
            self.samplings.remove(sampling)
            sampling.close()

    def round(self, only: Collection[Sampling] | None = None) -> list[Progress]:
        """Answer the waiting calls of every sampling once, or those of some of them: the others wait."""
        samplings = [s for s in self.samplings if only is None or s in only]
        slots: list[list[list[Tensor]]] = [[[] for _ in s.calls] for s in samplings]  # answers, in pieces
        groups: dict[tuple[object, ...], tuple[Denoiser, list[Piece]]] = {}
        for sampling, answers in zip(samplings, slots, strict=True):
            for call, pieces in zip(sampling.calls, answers, strict=True):
                denoiser, x = call.denoiser or sampling.denoiser, call.x
                form = (x.shape[1:], x.dtype, x.device, call.cond.structure)
                group = groups.setdefault((id(denoiser), *form, call.grad, call.taps), (denoiser, []))[1]
                for start in range(0, len(x), self.max_batch):
                    group.append(Piece(call, start, min(start + self.max_batch, len(x)), pieces))
        for denoiser, group in groups.values():
            for batch in batches(group, self.max_batch):
                self._call(denoiser, batch)
        with torch.no_grad():
            done = [
                s.answer([joined(p) for p in answers]) for s, answers in zip(samplings, slots, strict=True)
            ]
        self.samplings = [s for s in self.samplings if not s.finished]
        return [progress for progress in done if progress is not None]

    def _call(self, denoiser: Denoiser, batch: list[Piece]) -> None:
        """Make one network call and give each piece its answer."""
        self.calls += 1
        taps = {} if batch[0].call.taps is None else {"taps": batch[0].call.taps}
        with torch.set_grad_enabled(batch[0].call.grad):
            if len(batch) == 1:
                (piece,) = batch
                piece.answers.append(denoiser(piece.x(), piece.t(), piece.cond(), **taps))
                self.samples += piece.size
                return
            sizes = [piece.size for piece in batch]
            x, t = torch.cat([piece.x() for piece in batch]), torch.cat([piece.t() for piece in batch])
            x0 = denoiser(x, t, Cond.cat([piece.cond() for piece in batch]), **taps)
            for piece, rows in zip(batch, x0.split(sizes), strict=True):
                piece.answers.append(rows)
            self.samples += len(x)


def drive(samplings: Iterable[Sampling], *, max_batch: int = 64) -> Iterator[Progress]:
    """Drive many samplings to their ends and yield progress as it comes."""
    driver = Driver(max_batch=max_batch)
    for sampling in samplings:
        driver.add(sampling)
    while driver.samplings:
        yield from driver.round()


def solve(
    sampler: Trajectory,
    guide: Guide,
    denoiser: Denoiser,
    *,
    on_progress: Callable[[Progress], None] | None = None,
) -> Tensor:
    """Drive one sampling to its end and return the sample [B, C, *D]; `on_progress` gets every answered query."""
    driver = Driver(max_batch=2**31)
    sampling = driver.add(Sampling(sampler, guide, denoiser))
    while driver.samplings:
        for progress in driver.round():
            if on_progress is not None:
                on_progress(progress)
    assert sampling.sample is not None
    return sampling.sample
