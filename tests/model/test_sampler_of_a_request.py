"""A request's own sampler and guide: by name, with arguments, or one that a notebook registers."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
import torch

import multigen
from multigen import Part, Request, register
from multigen.core.samplers import transfer
from multigen.errors import MultigenError


@pytest.fixture(scope="module")
def model() -> multigen.Model:
    return multigen.load("image_digits", device="cpu")


def apart(model: multigen.Model, one: dict, other: dict) -> float:
    a, b = (model.generate("7", steps=3, seed=5, **given)[0].tensor for given in (one, other))
    return (a - b).abs().max().item()


def test_a_sampler_by_name_by_data_and_as_a_part_is_the_override(model: multigen.Model) -> None:
    (by_override,) = model.stream(
        Request("7", steps=3, seed=5, overrides=("sampler.name=ddim", "sampler.eta=0.5"))
    )
    for given in ({"name": "ddim", "eta": 0.5}, Part("ddim", {"eta": 0.5}), "{name: ddim, eta: 0.5}"):
        made = model.generate("7", steps=3, seed=5, sampler=given)[0]
        assert torch.equal(made.tensor, by_override.tensor)
    assert apart(model, {"sampler": "ddim"}, {"sampler": {"name": "ddim", "eta": 1.0}}) > 0.1


def test_a_registered_sampler_is_used_at_once(model: multigen.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("multigen.registry._registered", {})
    asked = []

    @register("sampler", "mine")
    def mine(schedule, x, ts, noise) -> Iterator:
        for t, s in pairwise(ts):
            asked.append(float(t))
            x0 = yield multigen.core.Query(x, t)
            x = transfer(schedule, x, x0, t, s)
        return x

    assert apart(model, {"sampler": "mine"}, {"sampler": "euler"}) < 1e-4
    assert {round(t, 6) for t in asked} == {1.0, 0.666667, 0.333333}


def test_a_guide_takes_the_guidance_scale(model: multigen.Model) -> None:
    assert (
        apart(model, {"guide": "cfg", "guidance_scale": 3.0}, {"guide": {"name": "cfg", "scale": 3.0}}) == 0
    )
    assert apart(model, {"guide": "plain"}, {"guide": {"name": "cfg", "scale": 3.0}}) > 0.01


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"sampler": "eulr"}, r"sampler\.name: 'eulr'.*Did you mean 'euler'"),
        ({"sampler": {"name": "ddim", "etta": 1}}, r"sampler\.etta.*Did you mean 'eta'"),
        ({"sampler": {"eta": 1}}, r"sampler .*give a name, or \{name: ddim, eta: 0\.5\}"),
        ({"guide": "aspg"}, r"guide\.name: 'aspg'.*Did you mean 'apg'"),
    ],
)
def test_wrong_ones_are_refused(model: multigen.Model, given: dict, said: str) -> None:
    with pytest.raises(MultigenError, match=said):
        model.generate("7", steps=2, **given)


def test_a_model_says_what_it_is(model: multigen.Model) -> None:
    said = repr(model)
    assert said.startswith("Model(image_digits: makes: 28 x 28 pixels") and "parameters: 3.0" in said
