"""Sliding windows: the first and the last may be asked for more than those between."""

from __future__ import annotations

import dataclasses
from typing import cast

import pytest
import torch

from multigen.core.conditioning import Cond
from multigen.core.guides import Query
from multigen.generation import trajectory as generation
from multigen.generation import window_conds
from multigen.generation.plan import Job, plan
from multigen.generation.request import Request
from multigen.model.model import Model
from multigen.recipe.load import load_recipe
from tests.model.test_model import SMALL, small

PLAIN = [*SMALL["audio_music"], "guide.name=plain", "modifiers=[]"]


@pytest.fixture(scope="module")
def model() -> Model:
    return small("audio_music", [*PLAIN, "sample.opening=opening", "sample.ending=the end"])


def asked(model: Model, request: Request, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The prompt of each window of a request, in order."""
    said: dict[int, str] = {}
    conds: list[Cond] = []

    def encode(parts: object, prompt: str, **shapes: object) -> Cond:
        conds.append(Cond(vector=torch.zeros(1, 1)))
        said[id(conds[-1])] = prompt
        return conds[-1]

    monkeypatch.setattr(window_conds, "encode_prompts", encode)
    monkeypatch.setattr(model.conditioner, "text", True)
    # The small model's conditioner takes no prompts: it is what this test stands in for.
    job = Job(request.prompt, 0, plan(model, dataclasses.replace(request, prompt="")))
    _, guide = generation.trajectory(model, job)
    answers = guide(Query(torch.zeros(1, *job.plan.shape), torch.tensor(1.0, dtype=torch.float64)))
    calls = next(answers)
    answers.close()
    return [said[id(cast(Cond, call.cond))] for call in calls]


def test_the_first_and_the_last_window_have_their_words(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = Request("flute", duration=4.0, sliding_window=True)
    found = asked(model, long, monkeypatch)
    assert found[0] == "flute, opening" and found[-1] == "flute, the end"
    assert len(found) >= 4 and set(found[1:-1]) == {"flute"}


@pytest.mark.parametrize(
    ("given", "prompt"),
    [
        (Request("flute", duration=4.0, sliding_window=True, tile=True), "flute"),  # a loop has no ends
        (Request("", duration=4.0, sliding_window=True), ""),  # nothing is asked for
        (Request("flute", duration=1.5, sliding_window=True), "flute"),  # one window
        (Request("flute", duration=4.0), "flute"),  # none
    ],
)
def test_others_have_the_prompt_alone(
    model: Model, given: Request, prompt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert set(asked(model, given, monkeypatch)) == {prompt}


def test_the_words_are_the_recipes(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe("audio_music")
    assert (recipe.sample.opening, recipe.sample.ending) == ("opening", "ending")
    plain = small("audio_music", [*PLAIN, "sample.opening=''", "sample.ending=''"])
    assert set(asked(plain, Request("flute", duration=4.0, sliding_window=True), monkeypatch)) == {"flute"}
