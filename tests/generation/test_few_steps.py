"""Every sampler at one and two steps: finite, and the picture that many steps make."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import multigen
from multigen import Request
from multigen.parts import BUILTIN

# `adaptive` chooses its own steps.
SAMPLERS = sorted(BUILTIN["sampler"].keys() - {"adaptive"})
STEPS = (1, 2)
MANY = 8
# Correlation with the picture of many steps. One step of `restart` goes up in noise and down again from a first guess.
LEAST = {("restart", 1): 0.4}
USUAL = 0.9


@pytest.fixture(scope="module")
def made() -> dict[tuple[str, int], Tensor]:
    """The same apple by every sampler and number of steps, and "" with many steps."""
    model = multigen.load("image_emoji", device="cpu")
    keys = [("", MANY), *((name, steps) for name in SAMPLERS for steps in STEPS)]
    requests = [
        Request(
            "red apple", seed=3, steps=steps, sampler=name or "heun", overrides=("sample.polish.passes=0",)
        )
        for name, steps in keys
    ]
    found = dict(model.batcher(requests, batch=64))
    return {key: found[place].tensor for place, key in enumerate(keys)}


def agreement(made: dict[tuple[str, int], Tensor], name: str, steps: int) -> float:
    """Correlation with the picture that many steps make from the same noise."""
    return float(torch.corrcoef(torch.stack([made[name, steps].flatten(), made["", MANY].flatten()]))[0, 1])


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("name", SAMPLERS)
def test_few_steps_make_the_same_picture(made: dict[tuple[str, int], Tensor], name: str, steps: int) -> None:
    picture = made[name, steps]
    assert bool(picture.isfinite().all())
    assert agreement(made, name, steps) > LEAST.get((name, steps), USUAL)
    assert 0.3 < float(picture.std()) < 1  # neither flat nor noise at the limits
