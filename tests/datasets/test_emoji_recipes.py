"""The shipped emoji recipes ask for what their data hold."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from multigen import registry
from multigen.backbones.unet import UNet
from multigen.core.conditioning import CondSpec
from multigen.core.noise import stream
from multigen.datasets.motions import MOTIONS, parse
from multigen.model.compatibility import check_combination
from multigen.recipe.load import load_recipe
from multigen.recipe.schema import Recipe

ROOT = Path(__file__).parents[2] / "recipes"


def loaded(name: str, *overrides: str) -> Recipe:
    recipe = load_recipe(str(ROOT / name), list(overrides))
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


def test_prompts_of_the_styles_are_texts_of_the_bundled_emoji() -> None:
    recipe = loaded("image_emoji_styles.yaml", f"data.path={Path(__file__).with_name('emoji')}")
    data = registry.build(
        "dataset", recipe.data, given={"modality": registry.build("modality", recipe.modality)}
    )
    catalogue = data.catalogue()
    new = {data[i]["id"] for i in data.split()[1]}
    trained = {data[i]["id"] for i in data.split()[0]}
    assert [p for p in recipe.sample.prompts if p in new] == ["pizza, 3D"]
    assert not trained & new
    pairs = [p for p in recipe.sample.prompts if " and " in p]
    assert all(catalogue.find(p) is not None for p in recipe.sample.prompts if p not in pairs)
    names = {e.name for e in data.emoji}
    assert all(set(p.rpartition(", ")[0].split(" and ")) <= names for p in pairs)


def test_prompts_of_the_moving_styles_are_texts_of_the_bundled_emoji() -> None:
    recipe = loaded("video_emoji_styles.yaml", f"data.path={Path(__file__).with_name('emoji')}")
    modality = registry.build("modality", recipe.modality)
    data = registry.build("dataset", recipe.data, given={"modality": modality})
    catalogue = data.catalogue()
    assert data.classes == tuple(MOTIONS)
    names = {e.name for e in data.emoji}
    bundled = [p for p in recipe.sample.prompts if all(name in names for name, _ in parse(p))]
    assert len(bundled) >= 5
    assert all(parse(p) for p in recipe.sample.prompts)
    assert all(catalogue.find(p) is not None for p in bundled if len(parse(p)) == 1)


def network(name: str, axes: int) -> UNet:
    """The network of a recipe, without numbers."""
    recipe = loaded(name)
    channels = registry.build("codec", recipe.codec).shape((3, *[64] * axes))[0]
    assert recipe.backbone is not None
    given = {
        "axes": axes,
        "channels": channels,
        "out_channels": channels,
        "cond": CondSpec(vector=384, tokens=384),
    }
    with torch.device("meta"):
        return registry.build("backbone", recipe.backbone, given=given)


@pytest.mark.parametrize(("name", "axes"), [("image_emoji_styles.yaml", 2), ("video_emoji_styles.yaml", 3)])
def test_the_network_of_the_styles_is_small_enough_to_ship(name: str, axes: int) -> None:
    assert sum(p.numel() for p in network(name, axes).parameters()) <= 9.9e6  # 20 MB at half precision


def test_the_videos_of_the_styles_start_from_the_pictures() -> None:
    pictures, clips = network("image_emoji_styles.yaml", 2), network("video_emoji_styles.yaml", 3)
    known = pictures.state_dict()
    started = clips.inherit(known)
    wanted = clips.state_dict()
    assert set(started) == set(wanted)
    same = [k for k in known if known[k].numel() == wanted[k].numel()]
    assert len(same) == len(known)
