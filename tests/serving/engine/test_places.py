"""Previews are of the medium that is made, never of what conditions it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from multigen.generation.batching import Answered, Batcher
from multigen.generation.plan import jobs
from multigen.generation.request import Request
from multigen.serving.engine.places import due
from multigen.serving.engine.ticket import Ticket
from tests.generation.test_purify_condition import condition_of, model_of


@pytest.mark.parametrize("sampler", ["euler", "adaptive"])
def test_there_is_no_preview_while_a_condition_is_purified(sampler: str) -> None:
    model, name = model_of("image_control"), "image_control"

    def shown(options: Mapping[str, Any]) -> tuple[list[Answered], list[Answered]]:
        own = (f"sampler={{name: {sampler}}}",)
        asked = Request(seed=7, steps=6, options={"condition": condition_of(name), **options}, overrides=own)
        planned = jobs(model, [asked], 1, 7)
        batcher, ticket = Batcher(model, planned, 1), Ticket("model", "key", planned, previews=3)
        ticket.places[0] = 0
        batcher.begin(0)
        all_, found = list[Answered](), list[Answered]()
        while True:
            step = batcher.step([0])
            all_ += step.answered
            found += due(step.answered, {0: ticket})
            if step.ended:
                return all_, found

    every, pure = shown({"purify_condition": 0.5})
    purifying = sum(one.aside for one in every)
    assert purifying >= 4 and all(one.aside for one in every[:purifying])
    assert every[-1].asides == purifying < every[-1].queries
    plain = shown({})[1]
    # At the same steps of the medium itself, whether its condition is purified or not.
    assert [one.queries - purifying for one in pure] == [one.queries for one in plain]
    assert len(plain) == 3 and pure[0].queries == purifying + 1
