"""Cascades: seeds, mixed batches, sizes, tiles, given media, three stages, and what is refused."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from multigen.core.conditioning import Cond
from multigen.core.guides import Query
from multigen.errors import MultigenError, RecipeError
from multigen.generation.asked_texts import asked_texts
from multigen.generation.plan import jobs, plan
from multigen.generation.request import Request
from multigen.generation.stages import condition, stage_noise
from multigen.model.compatibility import check_combination
from multigen.model.model import Model
from multigen.recipe.load import load_recipe
from multigen.registry import Part
from tests.core.networks import InDouble

FIRST = ["name=first", "weights=null", "backbone.widths=[8,8]", "modality.size=16", "sample.steps=3"]
NEXT = [
    "name=next", "weights=null", "backbone.widths=[8,8]", "backbone.attention=[false,false]", "modality.size=32",
    "cascade={name: enlarge, factor: 2, noise: 0.5, level: 0.2}", "conditioner.name=none", "guide.name=plain",
    "sample.steps=2", "stages=[first]",
]  # fmt: skip


def untrained(overrides: list[str]) -> Model:
    model = Model(load_recipe("image_digits", overrides), device="cpu")
    with torch.no_grad():
        for k, p in enumerate(model.denoiser.parameters()):
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(k)))
    model.denoiser.backbone = InDouble(model.denoiser.backbone)  # an untrained network enlarges roundings
    return model


@pytest.fixture(scope="module")
def cascade() -> Model:
    model = untrained(NEXT)
    model._former = untrained(FIRST)
    return model


def test_a_medium_is_the_same_in_any_batch(cascade: Model) -> None:
    several = cascade.generate(["3", "4"], n=2, seed=5)
    assert several[0].tensor.shape == (1, 32, 32) and [m.seed for m in several] == [5, 6, 7, 8]
    for k in (1, 2):
        (alone,) = cascade.generate(several[k].prompt, seed=several[k].seed)
        assert torch.allclose(alone.tensor, several[k].tensor, atol=1e-5)
    assert (several[0].tensor - several[1].tensor).abs().max() > 1e-2


def test_filters_hear_what_the_stage_before_hears(cascade: Model) -> None:
    composed = Part("compose", {"prompts": ["5"], "weights": [1.0]})
    for request, heard in (
        (Request("7", guide=composed), ["7", "prompts", "5", "weights"]),
        (Request("7", negative_prompt="3", guidance_scale=0.0), ["7", "scale", "3"]),
        (Request("7", negative_prompt="3", guidance_scale=2.0), ["7", "scale"]),
    ):
        assert list(asked_texts(request, plan(cascade, request))) == heard


def test_one_driver_merges_the_calls_of_each_stage(cascade: Model) -> None:
    made = cascade.batcher([Request("1"), Request("2", steps=4), Request("3", guidance_scale=1.0)], batch=8)
    assert made.calls == (5 + 3) + (7 + 7) + (5 + 3)  # of Heun's steps
    shapes = [tuple(m.tensor.shape) for _, m in sorted(made)]
    assert shapes == [(1, 32, 32)] * 3
    # Each network answers all that wait for it at once: the longest request says how often.
    assert made._driver.calls <= 5 + 7 + 7 + 3


def test_the_second_stage_sees_the_first(cascade: Model) -> None:
    """By hand: the first stage alone, its medium as the condition, and the second network's walk."""
    (first,) = cascade._former.generate("3", seed=9)  # pyright: ignore[reportOptionalMemberAccess]
    (job,) = jobs(cascade, [Request("3", seed=9)], 1, 0)
    grid = condition(cascade, job, first.tensor[None])
    assert grid.shape == (1, 5, 16, 16) and torch.allclose(grid[:, 4], torch.tensor(0.2))
    noise = stage_noise(cascade, job.plan, 9)
    walk = job.plan.sampler(cascade.denoiser.schedule, noise("start", 0), job.plan.ts, noise)
    query: Query = next(walk)
    try:
        with torch.no_grad():
            while True:
                query = walk.send(cascade.denoiser(query.x, query.t.reshape(1), Cond(grid=grid)))
    except StopIteration as stop:
        x: Tensor = stop.value
    (whole,) = cascade.generate("3", seed=9)
    assert torch.allclose(cascade.codec.decode(x)[0], whole.tensor, atol=1e-5)


def test_stages_draw_their_own_noise(cascade: Model) -> None:
    (job,) = jobs(cascade, [Request("3", seed=9)], 1, 0)
    plan = job.plan
    assert plan.depth == 1 and plan.former is not None and plan.former.depth == 0
    own = stage_noise(cascade, plan, 9)("start", 0).flatten()
    before = stage_noise(cascade, dataclasses.replace(plan.former, shape=plan.shape), 9)("start", 0).flatten()
    assert not torch.equal(own[:8], before[:8])


def test_sizes_windows_blends_and_traces(cascade: Model) -> None:
    (wide,) = cascade.generate("3", size=(32, 80), sliding_window=True, steps=2)
    assert wide.tensor.shape == (1, 32, 80)
    trace = cascade.trace("3")
    assert len(trace.times) == 3 and trace.x0[0].shape == (4, 16, 16)  # of the last stage
    first, _, last = cascade.blend(("3", "4"), n=3)
    assert torch.allclose(first.tensor, cascade.generate("3", seed=0)[0].tensor, atol=1e-5)
    assert (first.tensor - last.tensor).abs().max() > 1e-3


def test_a_given_medium_is_enlarged_whatever_its_size(cascade: Model) -> None:
    small = torch.rand(1, 16, 16) * 2 - 1
    one, again = cascade.edit(small, seed=1), cascade.edit(small, seed=1)
    assert one[0].tensor.shape == (1, 32, 32) and torch.equal(one[0].tensor, again[0].tensor)
    assert cascade.edit(torch.rand(1, 30, 21))[0].tensor.shape == (1, 60, 42)
    clear = cascade.edit(torch.rand(4, 16, 16) * 2 - 1)[0].tensor  # colours and alpha as the medium has them
    assert clear.shape == (4, 32, 32)
    with pytest.raises(MultigenError, match="strength: next makes of a medium a finer one.*edit first"):
        cascade.edit(small, strength=0.5)


def test_three_stages_are_listed_as_data(cascade: Model) -> None:
    third = untrained([*NEXT, "name=third", "modality.size=64", "stages=[first, next]"])
    third._former = cascade
    (medium,) = third.generate("7", seed=3)
    assert medium.tensor.shape == (1, 64, 64)
    (job,) = jobs(third, ["7"], 1, 3)
    assert job.plan.depth == 2 and job.plan.calls == 5 + 3 + 3


def test_previews_are_of_the_stage_that_is_under_way(cascade: Model) -> None:
    made = cascade.batcher("3", batch=1)
    made.begin(0)
    names = []
    while made._under_way:
        names += [one.parts.recipe.name for one in made.step([0]).answered]
    assert names == ["first"] * 5 + ["next"] * 3


def test_what_does_not_go_together_is_refused() -> None:
    alone = untrained([*NEXT[:-1], "name=alone"])
    with pytest.raises(MultigenError, match="alone: .*stages=.*multigen edit alone --input FILE"):
        alone.generate("3")
    with pytest.raises(RecipeError, match="stages: they go with cascade"):
        load_recipe("image_digits", ["stages=[image_emoji]"])
    with pytest.raises(RecipeError, match="stages: image_digits cannot come before itself"):
        load_recipe("image_digits", ["cascade={name: enlarge}", "stages=[image_digits]"])
    with pytest.raises(RecipeError, match=r"cascade\.name: 'enlrge' is not allowed.*Did you mean 'enlarge'"):
        load_recipe("image_digits", ["cascade={name: enlrge}"])
    with pytest.raises(RecipeError, match="cascade: a recipe that trains its codec"):
        check_combination(load_recipe("vocoder_music", ["cascade={name: enlarge}"]))
    with pytest.raises(RecipeError, match="stages: image_digits is no later stage"):
        Model(load_recipe("image_digits", [*NEXT[:-1], "stages=[image_emoji, image_digits]"])).generate("3")


def test_a_prompt_that_the_first_stage_cannot_take_is_refused(cascade: Model) -> None:
    with pytest.raises(MultigenError, match="prompt: 'eleven' is not allowed"):
        cascade.generate("eleven")
