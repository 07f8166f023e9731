"""What an engine tells those who watch: counters, and the time that is spent in the network."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from multigen.model.model import Model

MEMORY = 60.0  # s of calls after which a call counts a third


@dataclass
class Clock:
    """Seconds in the network."""

    seconds: float = 0.0


@dataclass(frozen=True)
class Mark:
    """A moment, and the seconds that all networks of the server had taken until then."""

    time: float
    network: float


class Watch:
    """Hears what happens. This one keeps what refusals need; `serving.api.metrics` tells Prometheus as well."""

    def __init__(self) -> None:
        self._network = 0.0  # s of all models
        # By model, what is long ago counting less: s of calls, and the media that came of them.
        self._spent: dict[str, float] = {}
        self._media: dict[str, float] = {}

    @contextmanager
    def network(self, model: Model) -> Iterator[Clock]:
        """Measure the time in the backbone's forward inside the block, on the device that it runs on."""
        clock = Clock()
        backbone: Any = model.denoiser.backbone
        if not isinstance(backbone, nn.Module):
            yield clock
            return
        stopwatch = _OnCuda() if model.device.type == "cuda" else _OnHost()
        hooks = (
            backbone.register_forward_pre_hook(lambda *_: stopwatch.begin()),
            backbone.register_forward_hook(lambda *_: stopwatch.end()),
        )
        try:
            yield clock
        finally:
            for hook in hooks:
                hook.remove()
            clock.seconds = stopwatch.seconds()
            self._network += clock.seconds

    def mark(self) -> Mark:
        """This moment, for `since`."""
        return Mark(time.monotonic(), self._network)

    def since(self, mark: Mark, network: float) -> float:
        """Seconds from a mark on, without those in which the networks of other models ran.

        network  seconds since then in the model's own network
        """
        others = max(self._network - mark.network - network, 0.0)
        return max(time.monotonic() - mark.time - others, network)

    def waited(self, model: str, seconds: float) -> None:
        """A ticket began after so long in the queue."""

    def called(self, model: str, samples: int, seconds: float, network: float) -> None:
        """A network call of `samples` took `seconds` with all around it, `network` of them in the network."""
        kept = math.exp(-seconds / MEMORY)
        self._spent[model] = kept * self._spent.get(model, 0.0) + seconds
        self._media[model] = kept * self._media.get(model, 0.0)

    def made(self, model: str, seconds: float, steps: int) -> None:
        """A medium of so many steps was made, `seconds` after it had begun."""
        self._media[model] = self._media.get(model, 0.0) + 1

    def ended(self, model: str, reason: str) -> None:
        """A ticket ended early: "client", or the code of its failure."""

    def evicted(self, model: str) -> None:
        """A model was unloaded to make room."""

    def answered(self, route: str, method: str, code: int, seconds: float) -> None:
        """A request was answered after `seconds`; code 0: its client had gone."""

    def lagged(self, seconds: float) -> None:
        """The event loop came back so late to what was due."""

    def seconds_for(self, model: str, count: int) -> float:
        """About how long it takes to make `count` media, 1 to 600 s."""
        media = self._media.get(model, 0.0)
        one = self._spent.get(model, 0.0) / media if media else 1.0
        return min(max(one * count, 1.0), 600.0)


class _OnHost:
    """Time of calls that return when they are done."""

    def __init__(self) -> None:
        self._begun = self._sum = 0.0

    def begin(self) -> None:
        self._begun = time.monotonic()

    def end(self) -> None:
        self._sum += time.monotonic() - self._begun

    def seconds(self) -> float:
        return self._sum


class _OnCuda:
    """Time of calls that return while the device still works: it notes when it comes to them."""

    def __init__(self) -> None:
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    def begin(self) -> None:
        pair = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        self._events.append(pair)
        pair[0].record()

    def end(self) -> None:
        self._events[-1][1].record()

    def seconds(self) -> float:
        if self._events:
            self._events[-1][1].synchronize()
        return sum(a.elapsed_time(b) for a, b in self._events) / 1000
