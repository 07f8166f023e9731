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
    """One answered query of a request: how many so far, x0 as the sampler saw it, the sample once finished."""

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
        self._asked: Query | None = None
        self._answers: Answers | None = None
        self.calls: list[Call] = []

    @property
    def finished(self) -> bool:
        return self.sample is not None

    def start(self) -> None:
        self._ask(None)

    def answer(self, answers: list[Tensor]) -> Progress | None:
        """Hand the answers to the guide; Progress once it has turned them into one x0."""
        assert self._answers is not None and self._asked is not None
        try:
            self.calls = self._answers.send(answers)
            return None
        except StopIteration as stop:
            x0, query = stop.value, self._asked
        self.queries += 1
        self._ask(x0)
        return Progress(self, self.queries, query, x0, self.sample)

    def _ask(self, x0: Tensor | None) -> None:
        """Resume the sampler up to its next query, and the guide up to its first calls."""
        try:
            self._asked = next(self.sampler) if x0 is None else self.sampler.send(x0)
            self._answers = self.guide(self._asked)
            self.calls = next(self._answers)
        except StopIteration as stop:
            self.sample, self.calls = stop.value, []

    def close(self) -> None:
        if self._answers is not None:
            self._answers.close()
        self.sampler.close()


class Driver:
    """Requests join with `add` and leave with `cancel` at any round; `round` answers each once.

    `max_batch` bounds the samples of one network call. `calls` and `samples` count what the network was asked.
    """

    def __init__(self, *, max_batch: int = 64) -> None:
        if max_batch < 1:
            raise ValueError(f"max_batch must be at least 1, not {max_batch}")
        self.max_batch = max_batch
        self.requests: list[Request] = []
        self.calls = 0
        self.samples = 0

    def add(self, request: Request) -> Request:
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
        waiting = [(r, i, call) for r in self.requests for i, call in enumerate(r.calls)]
        groups: dict[tuple[object, ...], list[tuple[Request, int, Call]]] = {}
        for request, i, call in waiting:
            x = call.x
            key = (id(request.denoiser), x.shape[1:], x.dtype, x.device, call.cond.structure, call.taps, call.grad)
            groups.setdefault(key, []).append((request, i, call))
        answers: dict[int, list[Tensor | None]] = {id(r): [None] * len(r.calls) for r in self.requests}
        for group in groups.values():
            for part in _parts(group, self.max_batch):
                for (request, i, _), x0 in zip(part, self._call(part), strict=True):
                    answers[id(request)][i] = x0
        done = []
        with torch.no_grad():
            for request in self.requests:
                ready = [a for a in answers[id(request)] if a is not None]
                progress = request.answer(ready)
                if progress is not None:
                    done.append(progress)
        self.requests = [r for r in self.requests if not r.finished]
        return done

    def _call(self, part: list[tuple[Request, int, Call]]) -> list[Tensor]:
        calls = [call for _, _, call in part]
        sizes = [len(call.x) for call in calls]
        x = calls[0].x if len(calls) == 1 else torch.cat([call.x for call in calls])
        t = torch.cat([call.t.double().reshape(-1).expand(n) for call, n in zip(calls, sizes, strict=True)])
        conds = [_rows(call.cond, n) for call, n in zip(calls, sizes, strict=True)]
        self.calls += 1
        self.samples += len(x)
        with torch.set_grad_enabled(calls[0].grad):
            x0 = part[0][0].denoiser(x, t, Cond.cat(conds))
        return list(x0.split(sizes))


def _rows(cond: Cond, n: int) -> Cond:
    parts = (cond.vector, cond.tokens, cond.grid)
    size = next((len(p) for p in parts if p is not None), n)
    return cond.expand(n) if size == 1 != n else cond


def _parts(
    group: list[tuple[Request, int, Call]], max_batch: int
) -> Iterator[list[tuple[Request, int, Call]]]:
    """Cut a group so that no part holds more samples than max_batch, unless a single call does."""
    part: list[tuple[Request, int, Call]] = []
    size = 0
    for entry in group:
        n = len(entry[2].x)
        if part and size + n > max_batch:
            yield part
            part, size = [], 0
        part.append(entry)
        size += n
    if part:
        yield part


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
    request = Request(sampler, guide, denoiser)
    driver = Driver(max_batch=2**31)
    driver.add(request)
    while driver.requests:
        for progress in driver.round():
            if watch is not None:
                watch(progress)
    assert request.sample is not None
    return request.sample
