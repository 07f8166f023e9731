"""The driver: the one place that calls a network to sample.

It gathers the calls that all requests wait for, merges those that may share a batch into one network call at
per-sample t [B], and hands each answer back. Different prompts, samplers, step counts and guides merge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from multigen.core.conditioning import Cond
from multigen.core.denoiser import Denoiser
from multigen.core.guides import Answers, Call, Guide, Query
from multigen.core.samplers import Trajectory


class Progress(NamedTuple):
    """One answered query of a request.

    How many are answered so far, x0 as the sampler saw it, and the sample once finished.
    """

    request: Request
    queries: int
    query: Query
    x0: Tensor
    sample: Tensor | None


class Request:
    """A trajectory, its guide and its denoiser, and where they stand."""

    def __init__(self, sampler: Trajectory, guide: Guide, denoiser: Denoiser) -> None:
        self.sampler, self.guide, self.denoiser = sampler, guide, denoiser
        self.queries = 0
        self.sample: Tensor | None = None
        self.calls: list[Call] = []
        self._asked: Query | None = None
        self._answers: Answers | None = None
        self._x0: Tensor | None = None  # of a guide that needed no calls

    @property
    def finished(self) -> bool:
        return self.sample is not None

    def start(self) -> None:
        """Run up to the first calls."""
        self._ask(None)

    def answer(self, answers: list[Tensor]) -> Progress | None:
        """Hand the answers to the guide; Progress once it has turned them into one x0."""
        x0, query = self._x0, self._asked
        assert query is not None, "answered before it was started"
        if x0 is None:
            assert self._answers is not None, "answered before it was started"
            try:
                self.calls = self._answers.send(answers)
                return None
            except StopIteration as stop:
                x0 = stop.value
        self.queries += 1
        self._ask(x0)
        return Progress(self, self.queries, query, x0, self.sample)

    def _ask(self, x0: Tensor | None) -> None:
        """Resume the sampler up to its next query, and the guide up to its first calls."""
        self.calls, self._x0 = [], None
        try:
            self._asked = next(self.sampler) if x0 is None else self.sampler.send(x0)
        except StopIteration as stop:
            self.sample = stop.value
            return
        self._answers = self.guide(self._asked)
        try:
            self.calls = next(self._answers)
        except StopIteration as stop:
            self._x0 = stop.value

    def close(self) -> None:
        """End both coroutines where they stand."""
        if self._answers is not None:
            self._answers.close()
        self.sampler.close()


class _Piece(NamedTuple):
    """Rows [start, stop) of one call, and the list that its answer belongs in."""

    call: Call
    start: int
    stop: int
    answers: list[Tensor]

    @property
    def size(self) -> int:
        return self.stop - self.start

    @property
    def whole(self) -> bool:
        return self.size == len(self.call.x)

    def x(self) -> Tensor:
        return self.call.x if self.whole else self.call.x[self.start : self.stop]

    def t(self) -> Tensor:
        t = self.call.t.double()
        return t.expand(self.size) if t.ndim == 0 or len(t) == 1 else t[self.start : self.stop]

    def cond(self) -> Cond:
        cond = self.call.cond.expand(len(self.call.x))
        return cond if self.whole else cond[self.start : self.stop]


class Driver:
    """Requests join with `add` and leave with `cancel` at any round; `round` answers each once.

    `max_batch` bounds the samples of one network call; a larger call is cut. `calls` and `samples` count what the
    networks were asked.
    """

    def __init__(self, *, max_batch: int = 64) -> None:
        if max_batch < 1:
            raise ValueError(f"max_batch must be at least 1, not {max_batch}")
        self.max_batch = max_batch
        self.requests: list[Request] = []
        self.calls = 0
        self.samples = 0

    def add(self, request: Request) -> Request:
        """Let a request join. Its first calls are answered in the next round."""
        with torch.no_grad():
            request.start()
        if not request.finished:
            self.requests.append(request)
        return request

    def cancel(self, request: Request) -> None:
        """Frees the request's place at the next call; nothing happens if it is not here."""
        if request in self.requests:
            self.requests.remove(request)
            request.close()

    def round(self) -> list[Progress]:
        """Answer the waiting calls of every request once."""
        requests = list(self.requests)
        slots: list[list[list[Tensor]]] = [[[] for _ in r.calls] for r in requests]  # answers, in pieces
        groups: dict[tuple[object, ...], tuple[Denoiser, list[_Piece]]] = {}
        for request, answers in zip(requests, slots, strict=True):
            for call, pieces in zip(request.calls, answers, strict=True):
                denoiser, x = call.denoiser or request.denoiser, call.x
                key = (
                    id(denoiser),
                    x.shape[1:],
                    x.dtype,
                    x.device,
                    call.cond.structure,
                    call.grad,
                    call.taps,
                )
                group = groups.setdefault(key, (denoiser, []))[1]
                for start in range(0, len(x), self.max_batch):
                    group.append(_Piece(call, start, min(start + self.max_batch, len(x)), pieces))
        for denoiser, group in groups.values():
            for batch in _batches(group, self.max_batch):
                self._call(denoiser, batch)
        with torch.no_grad():
            done = [
                r.answer([_joined(p) for p in answers]) for r, answers in zip(requests, slots, strict=True)
            ]
        self.requests = [r for r in self.requests if not r.finished]
        return [progress for progress in done if progress is not None]

    def _call(self, denoiser: Denoiser, batch: list[_Piece]) -> None:
        """One network call; each piece's answer goes where it belongs."""
        self.calls += 1
        asked = {} if batch[0].call.taps is None else {"taps": batch[0].call.taps}
        with torch.set_grad_enabled(batch[0].call.grad):
            if len(batch) == 1:
                (piece,) = batch
                piece.answers.append(denoiser(piece.x(), piece.t(), piece.cond(), **asked))
                self.samples += piece.size
                return
            sizes = [piece.size for piece in batch]
            x, t = torch.cat([piece.x() for piece in batch]), torch.cat([piece.t() for piece in batch])
            x0 = denoiser(x, t, Cond.cat([piece.cond() for piece in batch]), **asked)
            for piece, rows in zip(batch, x0.split(sizes), strict=True):
                piece.answers.append(rows)
            self.samples += len(x)


def _joined(pieces: list[Tensor]) -> Tensor:
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


def _batches(group: list[_Piece], max_batch: int) -> Iterator[list[_Piece]]:
    """Pack pieces, in order, so that no batch holds more samples than max_batch."""
    batch: list[_Piece] = []
    size = 0
    for piece in group:
        if batch and size + piece.size > max_batch:
            yield batch
            batch, size = [], 0
        batch.append(piece)
        size += piece.size
    yield batch


def drive(requests: Iterable[Request], *, max_batch: int = 64) -> Iterator[Progress]:
    """Drive many requests to their ends, yielding progress as it comes."""
    driver = Driver(max_batch=max_batch)
    for request in requests:
        driver.add(request)
    while driver.requests:
        yield from driver.round()


def solve(
    sampler: Trajectory,
    guide: Guide,
    denoiser: Denoiser,
    *,
    watch: Callable[[Progress], None] | None = None,
) -> Tensor:
    """Drive one request to its end and return the sample [B, C, *D]; `watch` sees every answered query."""
    driver = Driver(max_batch=2**31)
    request = driver.add(Request(sampler, guide, denoiser))
    while driver.requests:
        for progress in driver.round():
            if watch is not None:
                watch(progress)
    assert request.sample is not None
    return request.sample
