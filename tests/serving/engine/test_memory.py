"""Memory of network calls: measured, and what is told to whoever asks for too much."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from multigen.core.copies import copied_bytes
from multigen.errors import MultigenError
from multigen.generation.plan import Job, jobs
from multigen.generation.request import Request
from multigen.model.model import Model
from multigen.serving.engine.memory import Costs, _Held
from tests.model.test_model import small
from tests.serving.engine.engines import TINY, tiny


@pytest.fixture(scope="module")
def model() -> Model:
    return tiny()


def job(model: Model, **more: Any) -> Job:
    (one,) = jobs(model, [Request("3", **more)], 1, 0)
    return one


def test_the_most_that_is_held_at_once() -> None:
    with _Held() as held:
        a = torch.zeros(1000)
        b = a + 1
        del a
        c = b * 2
        d = c.view(10, 100)  # no memory of its own
        assert held.now == 2 * 4000
        del b, c, d
    assert held.most == 2 * 4000 and held.now == 0


def test_copies_of_weights_are_no_part_of_a_call() -> None:
    wide = small("image_digits", [*TINY[1:], "backbone.widths=[96,96]"])
    first, second = Costs(wide), Costs(wide)
    for costs in (first, second):
        costs.of(job(wide))
    assert copied_bytes(wide.denoiser) > 0
    assert first.of(job(wide)) == second.of(job(wide))
    assert first.of(job(wide, size=14)) == second.of(job(wide, size=14))


def test_larger_ones_cost_more_guided_ones_twice_and_windows_what_they_see(model: Model) -> None:
    costs = Costs(model)
    own, large = costs.of(job(model)), costs.of(job(model, size=56))
    assert 3.5 * own < large < 17 * own
    assert costs.of(job(model, guide={"name": "cfg", "scale": 2.0})) == pytest.approx(2 * own, abs=1)
    windows = costs.of(job(model, size=56, sliding_window=True))
    assert windows == pytest.approx(own, rel=0.01)


@pytest.mark.parametrize("guide", [{"name": "plain"}, {"name": "cfg", "scale": 2.0}], ids=str)
def test_what_is_said_to_fit_fits(model: Model, guide: dict[str, Any]) -> None:
    costs = Costs(model)
    memory = int(1.3 * costs.of(job(model, size=28, guide=guide)))
    costs.check(job(model, size=28, guide=guide), memory)
    with pytest.raises(MultigenError, match=r"would fit; the model's own size is 28 x 28") as caught:
        costs.check(job(model, size=112, guide=guide), memory)
    found = re.search(r"About (\d+)% of it", str(caught.value))
    assert found is not None
    share = int(found[1]) / 100
    side = int((112 * 112 * share) ** 0.5) // 2 * 2
    assert 28 <= side < 112
    costs.check(job(model, size=side, guide=guide), memory)
