"""What the engine tells of time: of calls, of the network alone, and how long a queue takes."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from multigen.serving.engine.watch import Watch


class Slow(nn.Module):
    """A network of 30 ms."""

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(0.03)
        return x


def model(backbone: Any) -> Any:
    return SimpleNamespace(denoiser=SimpleNamespace(backbone=backbone), device=torch.device("cpu"))


def test_the_network_is_timed_and_what_is_around_it_is_not() -> None:
    watch, slow = Watch(), Slow()
    mark = watch.mark()
    with watch.network(model(slow)) as clock:
        time.sleep(0.02)
        slow(torch.zeros(1))
        slow(torch.zeros(1))
    assert 0.06 <= clock.seconds < watch.since(mark, clock.seconds) - 0.019
    slow(torch.zeros(1))  # outside the block it is not listened to
    assert not slow._forward_hooks and watch.mark().network == clock.seconds
    with watch.network(model(object())) as other:
        pass
    assert other.seconds == 0.0


def test_another_models_network_is_not_this_ones_overhead() -> None:
    watch, slow = Watch(), Slow()
    mark = watch.mark()
    with watch.network(model(slow)):
        slow(torch.zeros(1))
    assert watch.since(mark, 0.0) < 0.03 <= time.monotonic() - mark.time
    assert watch.since(watch.mark(), 5.0) == 5.0  # never less than in the network


def test_how_long_a_queue_takes() -> None:
    """Four media that share their calls and end together take as long as their calls."""
    watch = Watch()
    assert watch.seconds_for("m", 8) == 8.0  # nothing is known
    for _ in range(10):
        watch.called("m", 4, 0.2, 0.19)
    for _ in range(4):
        watch.made("m", 2.0, 10)
    assert watch.seconds_for("m", 8) == pytest.approx(8 * 2.0 / 4, rel=0.05)
    assert watch.seconds_for("m", 1) == 1.0 and watch.seconds_for("m", 10_000) == 600.0
