"""The shipped emoji recipes ask for what their data hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from multigen import registry
from multigen.recipe import Recipe, check_combination, load_recipe

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
    texts = {data[i]["text"] for i in range(len(data))}
    if name == "image_emoji.yaml":
        texts |= {n for e in data.emoji for n in e.names}
        train = {n for i in data.split()[0] for n in data.emoji[i].names}
    else:
        train = {data[i]["text"] for i in data.split()[0]}
    assert set(recipe.sample.prompts) <= texts
    assert len(set(recipe.sample.prompts) & train) >= len(recipe.sample.prompts) - 1
    codec = registry.build("codec", recipe.codec)
    assert codec.shape(modality.shape())[-1] == modality.shape()[-1] // 2
