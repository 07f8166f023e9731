"""Sampling: one trajectory on its way, with its guide and its denoiser.

    sampler --Query--> guide --Calls--> driver --> denoiser

x0 travels back the same way.
"""

from __future__ import annotations

import traceback
from collections.abc import Generator
from contextlib import suppress
from typing import NamedTuple

import torch
from torch import Tensor

from multigen.core.denoiser import Denoiser
from multigen.core.guides import Answers, Call, Guide, Query
from multigen.core.samplers import Trajectory


class Progress(NamedTuple):
    """One answered query.

    sampling  whose query it was
    queries   how many of its queries are answered
    query     the latest of them
    x0        the answer, as the sampler saw it
    sample    the finished sample; None before the end
    """

    sampling: Sampling
    queries: int
    query: Query
    x0: Tensor
    sample: Tensor | None


class Sampling:
    """A trajectory, its guide and its denoiser, and how far they are.

    calls    the calls that wait for answers
    queries  how many queries are answered
    asides   how many of them were asides
    sample   [B, C, *D] once finished, None before
    error    what ended it before its time, where something did
    """

    def __init__(self, sampler: Trajectory, guide: Guide, denoiser: Denoiser) -> None:
        self.sampler, self.guide, self.denoiser = sampler, guide, denoiser
        self.queries = self.asides = 0
        self.sample: Tensor | None = None
        self.error: Exception | None = None
        self.calls: list[Call] = []
        self._query: Query | None = None
        self._answers: Answers | None = None
        self._shape: torch.Size | None = None  # of the latest query, and so of the sample
        self._x0: Tensor | None = None  # of a guide that needed no calls

    @property
    def finished(self) -> bool:
        """Whether the sample is there."""
        return self.sample is not None

    def start(self) -> None:
        """Run up to the first calls. TypeError for a sampler that is no generator."""
        if not isinstance(self.sampler, Generator):
            raise TypeError(
                "a sampler is a generator function, which yields Query(x, t) and returns the sample; this one gave "
                f"{type(self.sampler).__name__}"
            )
        self._resume(None)

    def answer(self, answers: list[Tensor]) -> Progress | None:
        """Hand the answers to the guide. Return Progress once it has turned them into one x0, else None."""
        x0, query = self._x0, self._query
        assert query is not None, "answered before it was started"
        if x0 is None:
            assert self._answers is not None, "answered before it was started"
            try:
                self.calls = self._answers.send(answers)
                return None
            except StopIteration as stop:
                x0 = stop.value
        self.queries += 1
        self.asides += query.aside
        self._resume(x0)
        return Progress(self, self.queries, query, x0, self.sample)

    def _resume(self, x0: Tensor | None) -> None:
        """Run the sampler to its next query, and the guide to its first calls."""
        self.calls, self._x0 = [], None
        try:
            self._query = next(self.sampler) if x0 is None else self.sampler.send(x0)
        except StopIteration as stop:
            self.sample = self._checked(stop.value)
            return
        if not isinstance(self._query, Query):
            raise TypeError(f"a sampler yields Query(x, t), not {type(self._query).__name__}")
        self._shape = self._query.x.shape
        self._answers = self.guide(self._query)
        try:
            self.calls = next(self._answers)
        except StopIteration as stop:
            self._x0 = stop.value

    def _checked(self, sample: object) -> Tensor:
        """What the sampler returned. TypeError or ValueError unless it is a sample of the size that it asked about."""
        if not isinstance(sample, Tensor):
            raise TypeError(f"a sampler returns the sample [B, C, *D], not {type(sample).__name__}")
        if self._shape is not None and sample.shape != self._shape:
            raise ValueError(
                f"the sampler returned a sample of shape {tuple(sample.shape)}; it asked about {tuple(self._shape)}"
            )
        return sample

    def fail(self, error: Exception) -> None:
        """End it with an error, which keeps no tensors of the frames that it went through."""
        self.error = error
        traceback.clear_frames(error.__traceback__)
        with suppress(Exception):  # what has failed once may fail again
            self.close()

    def close(self) -> None:
        """Close both coroutines where they are, and let go of what its calls hold."""
        self.calls = []
        if self._answers is not None:
            self._answers.close()
        if isinstance(self.sampler, Generator):
            self.sampler.close()
