"""Guidance in weak noise: `within` ends it where it goes far, `watch` says so, and usual guidance stays as it is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from multigen.core import Cond, Query, cfg, plain, solve
from multigen.core import schedules as S
from multigen.core.guides import Guide
from multigen.core.modifiers import watch, within
from multigen.core.modifiers.within import moved
from multigen.core.samplers import ddim
from multigen.core.timesteps import uniform
from tests.core.gaussians import Analytic

COND, NULL = Cond(vector=torch.ones(1, 1)), Cond(vector=torch.zeros(1, 1))
X = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(0))
WEAK, STRONG = (torch.tensor(t, dtype=torch.float64) for t in (0.3, 0.8))  # log-SNR 1.7 and -2.8


class Two(Analytic):
    """The conditional prediction is 1 everywhere; the unconditional one lacks `apart`, row by row."""

    schedule = S.flow()

    def __init__(self, apart: tuple[float, ...]) -> None:
        super().__init__()
        self.apart = torch.tensor(apart).view(-1, 1, 1)

    def __call__(self, x: Tensor, t: Tensor, cond: Cond) -> Tensor:
        assert cond.vector is not None
        apart = self.apart.repeat(len(x) // len(self.apart), 1, 1)  # the driver merges calls
        return torch.ones_like(x) - apart * (1 - cond.vector.view(-1, 1, 1))


def answered(guide: Guide, model: Two, t: Tensor) -> Tensor:
    steps = guide(Query(X, t))
    calls = next(steps)
    with pytest.raises(StopIteration) as stop:
        steps.send([model(call.x, call.t, call.cond) for call in calls])
    return stop.value.value


def test_guidance_ends_where_it_goes_far_and_stays_where_it_does_not() -> None:
    model = Two((0.02, 0.1, 0.5))
    strong = cfg(COND, NULL, scale=4.0)  # moves x0 by 0.06, 0.3 and 1.5 of the conditional prediction
    guide = within(strong, COND, model, limit=0.25)  # type: ignore[arg-type]
    assert torch.equal(answered(guide, model, STRONG), answered(strong, model, STRONG))
    found = answered(guide, model, WEAK)
    assert torch.equal(found[0], answered(strong, model, WEAK)[0])
    assert bool((found[1:] == 1).all())
    model.apart = torch.full((3, 1, 1), 0.02)  # what has ended stays so
    later = answered(guide, model, WEAK)
    assert bool((later[1:] == 1).all())
    torch.testing.assert_close(later[0], torch.full((2, 4), 1.06))


def test_how_far_is_relative_to_the_conditional_prediction() -> None:
    one = torch.full((2, 3), 2.0)
    assert moved(one * torch.tensor([[1.5], [1.0]]), one).tolist() == [0.5, 0.0]


def test_a_guide_without_a_condition_is_left_alone() -> None:
    model = Two((9.0,) * 3)
    guide = within(plain(COND, COND), COND, model)  # type: ignore[arg-type]
    assert bool((answered(guide, model, WEAK) == 1).all())
    with pytest.raises(ValueError, match="limit is above 0"):
        within(plain(COND, COND), COND, model, limit=0.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(("apart", "moved_by"), [(0.02, 0.06), (0.5, 1.5)])
def test_how_far_guidance_goes_is_noted_once_a_sample(apart: float, moved_by: float) -> None:
    model, noted = Two((apart,) * 3), []
    guide = watch(cfg(COND, NULL, scale=4.0), COND, model, lambda far, snr: noted.append((far, snr)))  # type: ignore[arg-type]
    ts = uniform(model.schedule, 10)
    watched = solve(ddim(model.schedule, X, ts, lambda *_: X), guide, model)  # type: ignore[arg-type]
    bare = solve(ddim(model.schedule, X, ts, lambda *_: X), cfg(COND, NULL, scale=4.0), model)  # type: ignore[arg-type]
    assert torch.equal(watched, bare)
    ((far, snr),) = noted
    # Still a tensor of the device: nobody has waited for it.
    torch.testing.assert_close(far, torch.full((len(X),), moved_by), rtol=1e-4, atol=0)
    assert 0 <= snr < 1  # the first query in weak noise
