"""How much memory a request's network calls take: measured, not guessed."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from multigen.errors import MultigenError
from multigen.generation.plan import Job
from multigen.model.blank import blank
from multigen.model.model import Model


class Costs:
    """Bytes that one sample of a model takes in a network call, by its size.

    They are measured at two sizes, the second time the first is asked for: activations grow with the size, attention
    with its square.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self._linear = self._square = 0.0
        self._natural = 0

    def of(self, job: Job) -> int:
        """Bytes that a sample of a job takes, with all the calls of its guide."""
        self._measure()
        return self._cost(job, self._share(job))

    def most(self, first: Iterable[Job], memory: int | None, most: int) -> int:
        """How many samples may share a call, of jobs of which the first are given: at least 1, and `most` at most."""
        if memory is None:
            return most
        return max(1, min(most, memory // max((1, *map(self.of, first)))))

    def check(self, job: Job, memory: int | None) -> None:
        """MultigenError if one sample does not fit, with what would."""
        if memory is None:
            return
        cost = self.of(job)
        if cost <= memory:
            return
        share = self._share(job)
        low, high = 0.0, share
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if self._cost(job, middle) <= memory else (low, middle)
        natural = self.model.modality.describe(self.model.modality.shape())
        raise MultigenError(
            f"size or duration: this request needs {cost / 2**20:,.0f} MiB, and {memory / 2**20:,.0f} MiB are there. "
            f"About {low / share:.0%} of it would fit; the model's own size is {natural}"
        )

    def _share(self, job: Job) -> float:
        """The size of what a call sees, of the model's own size."""
        plan = job.plan
        shape = plan.shape if plan.window is None else (plan.shape[0], *plan.window)
        return math.prod(shape) / self._natural

    def _cost(self, job: Job, share: float) -> int:
        guided = 1 if job.plan.guide.name == "plain" else 2
        return int(guided * (self._linear * share + self._square * share**2))

    def _measure(self) -> None:
        if self._natural:
            return
        shape = self.model.codec.shape(self.model.modality.shape())
        natural = math.prod(shape)
        half = (*shape[:-1], max(shape[-1] // 2, 1))
        a, b = self._peak(half), self._peak(shape)
        r = math.prod(half) / natural
        # a = linear r + square r^2, b = linear + square
        square = max((a / r - b) / (r - 1), 0.0) if r < 1 else 0.0
        self._linear, self._square = max(b - square, 1.0), square
        self._natural = natural

    @torch.no_grad()
    def _peak(self, shape: tuple[int, ...]) -> float:
        """Most bytes that are held at once while the network runs on one sample."""
        model = self.model
        x = torch.zeros((1, *shape), device=model.device)
        cond, t = blank(model, shape), torch.full((1,), 0.5)
        model.denoiser(x, t, cond)  # makes copies of weights, which stay
        if model.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(model.device)
            before = torch.cuda.memory_allocated(model.device)
            model.denoiser(x, t, cond)
            return float(torch.cuda.max_memory_allocated(model.device) - before)
        with _Held() as held:
            model.denoiser(x, t, cond)
        return float(held.most)


class _Held(TorchDispatchMode):
    """Counts the bytes of the tensors that operators make, while they live."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and not tensor.is_mkldnn:  # packed weights, which stay
                self._hold(tensor.untyped_storage())
        return out

    def _hold(self, storage: Any) -> None:
        key = storage._cdata
        if key in self._known:
            return
        self._known.add(key)
        size = storage.nbytes()
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._drop, key, size)

    def _drop(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size
