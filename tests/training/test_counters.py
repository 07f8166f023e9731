"""How far a training is: the nearer limit counts, and what limits do to the learning rate is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from multigen.recipe.schema import Train
from multigen.training.counters import Counters, share_done
from multigen.training.log import Log


@pytest.mark.parametrize(
    ("settings", "share"),
    [
        (Train(steps=1_000_000, minutes=2.5), 0.5),
        (Train(steps=100, minutes=600.0), 0.1),
        (Train(steps=None, minutes=2.5), 0.5),
        (Train(steps=20, minutes=None), 0.5),
        (Train(steps=5, minutes=2.5), 1.0),
    ],
)
def test_the_nearer_limit_counts(settings: Train, share: float) -> None:
    assert share_done(settings, step=10, seconds=75.0) == share


def test_progress_shows_the_time_to_the_nearer_limit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """2.5 minutes of a million steps: after 75 s of them 75 s are left, not hours."""
    now = [0.0]
    monkeypatch.setattr("multigen.progress.time.monotonic", lambda: now[0])
    settings = Train(steps=1_000_000, minutes=2.5, tensorboard=False)
    log = Log(tmp_path, settings, quiet=False)
    with log.bar(0, 0.0):
        for step in range(1, 6):
            now[0] += 15.0
            log.step(step, {"loss": 1.0}, items=4, seconds=15.0, waited=0.0)
    said = capsys.readouterr().err
    assert "train: 50%, step 5" in said
    assert "[1:15, 1:15 left]" in said


def test_a_warmup_that_is_longer_than_the_training_is_said() -> None:
    assert Counters(Train(steps=1000, warmup=100)).short_warmup() is None
    said = Counters(Train(steps=50, warmup=100, lr=1e-4)).short_warmup()
    assert said is not None and "train.warmup: 100 steps are more than the training has (50)" in said
    assert "train.warmup=5" in said
    # A limit of time is known to be too short when it is over.
    counters = Counters(Train(steps=None, minutes=1.0, warmup=100, lr=1e-4), step=40, seconds=30.0)
    assert counters.short_warmup() is None
    counters.seconds = 60.0
    said = counters.short_warmup()
    assert said is not None and "ended at step 40, in its warm-up of 100 steps" in said
    assert "stayed below 4e-05 of 0.0001" in said


def test_a_finished_cosine_that_goes_on_says_that_the_rate_rises() -> None:
    before = Counters(Train(steps=1000, minutes=None, lr=1e-4, warmup=10), step=990)
    state = before.state()
    assert state["progress"] == 0.99
    after = Counters(Train(steps=2000, minutes=None, lr=1e-4, warmup=10))
    after.load(state)
    said = after.rise(state)
    assert said is not None and "from 2.5e-08 to 5.1e-05" in said
    same = Counters(before.settings)
    same.load(state)
    assert same.rise(state) is None
