"""What an engine tells those who watch: counters, and the time that is spent in the network."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn

from multigen.model.model import Model


@dataclass
class Clock:
    """Seconds in the network."""

    seconds: float = 0.0


class Watch:
    """Hears what happens. This one keeps what refusals need; `serving.api.metrics` tells Prometheus as well."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}  # of a medium, averaged

    @contextmanager
    def network(self, model: Model) -> Iterator[Clock]:
        """Measure the time in the backbone's forward inside the block."""
        clock, begun = Clock(), [0.0]
        backbone: Any = model.denoiser.backbone
        if not isinstance(backbone, nn.Module):
            yield clock
            return

        def before(*_: Any) -> None:
            begun[0] = time.monotonic()

        def after(*_: Any) -> None:
            clock.seconds += time.monotonic() - begun[0]

        hooks = backbone.register_forward_pre_hook(before), backbone.register_forward_hook(after)
        try:
            yield clock
        finally:
            for hook in hooks:
                hook.remove()

    def queued(self, model: str, count: int) -> None:
        """`count` media wait."""

    def waited(self, model: str, seconds: float) -> None:
        """A ticket began after so long in the queue."""

    def called(self, model: str, samples: int, seconds: float, network: float) -> None:
        """A network call of `samples` took `seconds` in all, `network` of them in the network."""

    def made(self, model: str, count: int, seconds: float, steps: int) -> None:
        """A ticket of `count` media ended after `seconds`, `steps` queries in all."""
        one = seconds / max(count, 1)
        self._seconds[model] = 0.8 * self._seconds.get(model, one) + 0.2 * one

    def cancelled(self, model: str) -> None:
        """A ticket was cancelled."""

    def evicted(self, model: str) -> None:
        """A model was unloaded to make room."""

    def answered(self, route: str, method: str, code: int, seconds: float) -> None:
        """A request was answered after `seconds`; code 0: its client had gone."""

    def seconds_for(self, model: str, count: int) -> float:
        """About how long it takes to make `count` media, 1 to 600 s."""
        return min(max(self._seconds.get(model, 1.0) * count, 1.0), 600.0)
