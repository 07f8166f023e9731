"""The driver: the one place that calls a network to sample.

Each round collects the calls that all samplings wait for, merges those that can share a batch into one network call
with a time for each sample, t [B], and hands the answers back. Calls merge if they agree in denoiser, shape, dtype,
device, structure of the condition, `grad`, `taps`, `closed`, in what the backbone declares as `shared` and in how much
of the network runs; prompts, samplers, step counts and guides may differ.

What fails, fails alone: a call that raises is made again in halves, down to the sample at fault, and the samplings of
the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import nullcontext

import torch
from torch import Tensor

from multigen.core.conditioning import Cond
from multigen.core.denoiser import Denoiser
from multigen.core.guides import Call, Guide
from multigen.core.merge import Piece, batches, halved, joined
from multigen.core.samplers import Trajectory
from multigen.core.sampling import Progress, Sampling
from multigen.core.sharing import deep_of, depth_of, kept_of

# What calls of one batch have in common.
Form = tuple[object, ...]


class Driver:
    """Answers the calls of many samplings. They join with `add` and leave with `cancel` between rounds.

    max_batch  most samples of one network call; larger calls are cut
    samplings  those that are neither finished nor failed
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
        self._fits: dict[Form, int] = {}  # samples of a call that memory holds, where fewer than `max_batch`

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
        """Answer the waiting calls of every sampling once, or those of some of them: the others wait.

        A sampling whose calls, guide or sampler raise leaves with its `error`.
        """
        samplings = self.samplings if only is None else [s for s in self.samplings if s in only]
        slots: list[list[list[Tensor]]] = [[[] for _ in s.calls] for s in samplings]  # answers, in pieces
        with torch.no_grad() if torch.is_grad_enabled() else nullcontext():
            for denoiser, batch in self._batches(samplings, slots):
                self._try(denoiser, batch)
            done = [self._answer(s, answers) for s, answers in zip(samplings, slots, strict=True)]
        self.samplings = [s for s in self.samplings if not s.finished and s.error is None]
        if not self.samplings:
            self._fits.clear()
        return [progress for progress in done if progress is not None]

    def _batches(
        self, samplings: list[Sampling], slots: list[list[list[Tensor]]]
    ) -> Iterator[tuple[Denoiser, list[Piece]]]:
        """The network calls that answer all waiting calls."""
        if len(samplings) == 1 and len(samplings[0].calls) == 1 and not self._fits:
            (sampling,), (call,), ((pieces,),) = samplings, samplings[0].calls, slots
            if (size := call.x.shape[0]) <= self.max_batch:  # nothing to merge and nothing to cut
                yield call.denoiser or sampling.denoiser, [Piece(sampling, call, 0, size, pieces)]
                return
        groups: dict[Form, tuple[Denoiser, list[Piece]]] = {}
        for sampling, answers in zip(samplings, slots, strict=True):
            for call, pieces in zip(sampling.calls, answers, strict=True):
                denoiser = call.denoiser or sampling.denoiser
                form = _form(call, denoiser)
                group, most, size = (
                    groups.setdefault(form, (denoiser, []))[1],
                    self._most(form),
                    call.x.shape[0],
                )
                for start in range(0, size, most):
                    group.append(Piece(sampling, call, start, min(start + most, size), pieces))
        for form, (denoiser, group) in groups.items():
            for batch in batches(group, self._most(form)):
                yield denoiser, batch

    def _most(self, form: Form) -> int:
        return self._fits.get(form, self.max_batch)

    def _answer(self, sampling: Sampling, answers: list[list[Tensor]]) -> Progress | None:
        """Hand a sampling its answers, unless it has failed."""
        if sampling.error is not None:
            return None
        try:
            return sampling.answer([joined(pieces) for pieces in answers])
        except Exception as error:
            sampling.fail(error)
            return None

    def _try(self, denoiser: Denoiser, batch: list[Piece]) -> None:
        """Make one network call; where it fails, two of half its size, so that only what is at fault fails."""
        batch = [piece for piece in batch if piece.sampling.error is None]
        if not batch:
            return
        try:
            self._call(denoiser, batch)
            return
        except Exception as error:
            size = sum(piece.size for piece in batch)
            if is_out_of_memory(error):
                form = _form(batch[0].call, denoiser)
                self._fits[form] = max(1, min(self._most(form), size // 2))
            halves = halved(batch)
            if halves is None:
                batch[0].sampling.fail(error)
                return
        for half in halves:
            self._try(denoiser, half)

    def _call(self, denoiser: Denoiser, batch: list[Piece]) -> None:
        """Make one network call and give each piece its answer.

        Whatever can fail comes before the first answer is given, so that a call can be made again.
        """
        self.calls += 1
        first = batch[0].call
        deep = deep_of(batch)
        more = {} if first.taps is None else {"taps": first.taps}
        more |= {} if deep is None else {"deep": deep}
        more |= {"closed": first.closed} if first.closed else {}
        with torch.enable_grad() if first.grad else nullcontext():
            if len(batch) == 1:
                (piece,) = batch
                answers = [denoiser(piece.x(), piece.t(), piece.cond(), **more)]
            else:
                sizes = [piece.size for piece in batch]
                x, t = torch.cat([piece.x() for piece in batch]), torch.cat([piece.t() for piece in batch])
                x0 = denoiser(x, t, Cond.cat([piece.cond() for piece in batch]), **more)
                answers = x0.split(sizes)
        kept = kept_of(batch, deep)
        self.samples += sum(piece.size for piece in batch)
        for piece, rows in zip(batch, answers, strict=True):
            piece.answers.append(rows)
        for reuse, features in kept:
            reuse.keep(features)


def _form(call: Call, denoiser: Denoiser) -> Form:
    """What the calls of one batch have in common with a call."""
    x, cond = call.x, call.cond
    shared = (cond.structure, denoiser.shared(cond))
    return (
        id(denoiser),
        x.shape[1:],
        x.dtype,
        x.device,
        shared,
        call.grad,
        call.taps,
        call.closed,
        depth_of(call),
    )


def is_out_of_memory(error: Exception) -> bool:
    """Whether a call needed more memory than there was."""
    # On the CPU torch raises a plain RuntimeError.
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def drive(samplings: Iterable[Sampling], *, max_batch: int = 64) -> Iterator[Progress]:
    """Drive many samplings to their ends and yield progress as it comes; in the end raise the first one's error."""
    driver = Driver(max_batch=max_batch)
    added = [driver.add(sampling) for sampling in samplings]
    while driver.samplings:
        yield from driver.round()
    for sampling in added:
        if sampling.error is not None:
            raise sampling.error


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
    if sampling.error is not None:
        raise sampling.error
    assert sampling.sample is not None
    return sampling.sample
