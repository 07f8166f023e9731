"""Waiting for data is never silent."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from multigen.recipe.schema import Train
from multigen.training import log as training_log
from multigen.training.log import Log


def run(folder: Path, waited: float, steps: int = 60, first: float = 20.0) -> Log:
    out = Log(folder, Train(steps=steps, tensorboard=False), quiet=True)
    out.step(0, {"loss": 1.0}, items=8, seconds=first + 1, waited=first)  # readers start
    for step in range(1, steps):
        out.step(step, {"loss": 1.0}, items=8, seconds=1.0, waited=waited)
    out.flush()
    return out


@pytest.mark.parametrize(("waited", "said"), [(0.3, 1), (0.02, 0)])
def test_waiting_for_media_is_said_once(
    tmp_path: Path, waited: float, said: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        run(tmp_path, waited)
    found = [r.getMessage() for r in caplog.records if "waiting for media" in r.getMessage()]
    assert len(found) == said
    assert all("train.workers=2" in m for m in found)
    assert training_log.read(tmp_path)[-1]["waited"] == pytest.approx(waited)
