"""The shipped emoji recipes ask for what their data hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from multigen import registry
from multigen.core.noise import stream
from multigen.model.compatibility import check_combination
from multigen.recipe.load import load_recipe
from multigen.recipe.schema import Recipe

ROOT = Path(__file__).parents[2] / "recipes"


def loaded(name: str) -> Recipe:
    recipe = load_recipe(str(ROOT / name))
    check_combination(recipe)
    return recipe


@pytest.mark.parametrize("name", ["image_emoji.yaml", "video_moving_emoji.yaml"])
def test_prompts_are_texts_of_the_data(name: str) -> None:
    recipe = loaded(name)
    modality = registry.build("modality", recipe.modality)
    data = registry.build("dataset", recipe.data, given={"modality": modality})
    train, held = data.split()
    seen = {data[i]["text"] for i in train}
    new = {data[i]["text"] for i in held}
    if name == "image_emoji.yaml":
        seen |= {n for i in train for n in data.emoji[i].names}
        seen |= {data.draw(i, stream(s))["id"] for i in train for s in range(24)}  # in other colours
    assert not seen & new
    assert set(recipe.sample.prompts) <= seen | new
    assert len(set(recipe.sample.prompts) & new) == 1
    codec = registry.build("codec", recipe.codec)
    assert codec.shape(modality.shape())[-1] == modality.shape()[-1] // 2
