"""Moving emoji of a folder: what moves, and how, is what the text says; what is held out is never drawn."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import Tensor

from multigen.core.noise import stream
from multigen.datasets.emoji_items import held_pair
from multigen.datasets.motions import MOTIONS, parse
from multigen.datasets.moving_emoji import MovingEmoji
from multigen.errors import MultigenError
from multigen.evaluation.sets import pools_of
from multigen.modalities.image import Image
from multigen.modalities.video import Video

FOLDER = Path(__file__).with_name("emoji")
STYLES = ("classic", "detailed", "flat", "3d")
ALL = tuple(MOTIONS)
WORDS = ("classic", "twemoji", "detailed", "noto", "flat", "3D")


def moving(
    *,
    objects: tuple[str, ...] | None = None,
    styles: tuple[str, ...] | None = STYLES,
    motions: tuple[str, ...] = ALL,
    unstyled: float = 0.0,
    pairs: float = 0.0,
    held_out: float = 0.0,
    augment: bool = True,
    modality: Video | Image | None = None,
) -> MovingEmoji:
    return MovingEmoji(
        modality=Video(size=64, frames=16) if modality is None else modality,
        objects=objects,
        count=None,
        motions=motions,  # type: ignore[arg-type]
        styles=styles,
        path=None if styles is None else str(FOLDER),
        unstyled=unstyled,
        pairs=pairs,
        held_out=held_out,
        augment=augment,
    )


def ink(media: Tensor) -> Tensor:
    """[C, T, H, W] -> how far each pixel is from white, [T, H, W]."""
    return (1 - media).sum(0)


def centres(weight: Tensor) -> Tensor:
    """[T, H, W] -> [T, 2] as (x, y)."""
    place = torch.arange(64, dtype=torch.float32)
    total = weight.sum((1, 2))
    x = (weight.sum(1) * place[: weight.shape[2]]).sum(1) / total
    return torch.stack([x, (weight.sum(2) * place).sum(1) / total], 1)


def axis_angle(weight: Tensor) -> float:
    """Of one frame [H, W]: the angle of its longest axis, degrees clockwise, modulo 180."""
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    x, y = x - (weight * x).sum() / weight.sum(), y - (weight * y).sum() / weight.sum()
    xx, yy, xy = ((weight * part).sum() for part in (x * x, y * y, x * y))
    return float(torch.rad2deg(torch.atan2(2 * xy, xx - yy) / 2)) % 180


def drawn(motion: str, seed: int = 0, *, objects: tuple[str, ...] = ("rocket",)) -> Tensor:
    return moving(objects=objects, styles=("flat",), motions=(motion,)).draw(0, stream(seed))["media"]


# --- motions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_a_bounce_goes_up_twice_and_comes_back(seed: int) -> None:
    c = centres(ink(drawn("bounce", seed)))
    assert (c[:, 0] - c[0, 0]).abs().max() < 0.4
    high = c[0, 1] - c[:, 1]
    assert high[[0, -1]].abs().max() < 0.5
    assert min(float(high[3:5].max()), float(high[11:13].max())) > 17  # pixels up, of 64
    assert float(high[7:9].max()) < 7  # down in between


@pytest.mark.parametrize("seed", range(4))
def test_what_spins_turns_clockwise_as_far_as_it_should(seed: int) -> None:
    media = drawn("spin", seed)
    angles = [axis_angle(frame) for frame in ink(media)]
    steps = [(b - a + 90) % 180 - 90 for a, b in itertools.pairwise(angles)]
    assert min(steps) > 8
    assert 0.7 * 360 < sum(steps) < 1.3 * 360
    assert float(ink(media).sum((1, 2)).std() / ink(media).sum((1, 2)).mean()) < 0.03  # nothing is cut


def test_a_turn_of_a_whole_circle_is_the_picture_again() -> None:
    media = moving(objects=("rocket",), styles=("3d",), motions=("spin",))[0]["media"]
    assert float((media[:, 0] - media[:, -1]).abs().max()) < 0.02
    quarter = moving(
        objects=("rocket",), styles=("3d",), motions=("spin",), modality=Video(size=64, frames=5)
    )[0]["media"]
    turned = quarter[:, 0].rot90(-1, (1, 2))  # clockwise
    assert float((turned - quarter[:, 1]).abs().mean()) < 0.02
    assert float((turned - quarter[:, 3]).abs().mean()) > 0.06


@pytest.mark.parametrize("seed", range(4))
def test_what_grows_grows_and_what_shrinks_shrinks(seed: int) -> None:
    for motion, sign in (("grow", 1), ("shrink", -1)):
        media = drawn(motion, seed)
        area = ink(media).sum((1, 2)).sqrt()
        assert ((area[1:] - area[:-1]) * sign).min() > 0
        ratio = float(area[-1] / area[0])
        assert 2.1 < max(ratio, 1 / ratio) < 4.2
        c = centres(ink(media))
        assert float((c - c[0]).abs().max()) < 1.5


def test_what_appears_comes_out_of_white() -> None:
    media = drawn("appear", objects=("red apple",))
    assert torch.equal(media[:, 0], torch.ones(3, 64, 64))
    total = ink(media).sum((1, 2))
    assert (total[1:] - total[:-1]).min() > -1
    assert torch.equal(media[:, -1], media[:, -2])
    assert float(total[6] / total[-1]) == pytest.approx(0.4 / 0.8, abs=0.09)


# --- texts and styles ---------------------------------------------------------------------------------------------


def test_an_item_for_each_emoji_style_and_motion() -> None:
    data = moving()
    texts = [data[i].get("text") for i in range(len(data))]
    assert len(set(texts)) == len(texts)
    assert {f"red apple bouncing, {word}" for word in ("classic", "detailed", "flat", "3D")} <= set(texts)
    assert sum((t or "").startswith("flag of france") for t in texts) == 14  # drawn in one style only
    apple = texts.index("red apple bouncing, 3D")
    assert data.classes[data[apple].get("label", -1)] == "bounce"
    assert torch.equal(data[apple]["media"], data[apple]["media"])


def test_texts_say_the_motion_and_the_style() -> None:
    data = moving(objects=("rocket", "red apple"), unstyled=0.4)
    plain, said = 0, set()
    for seed in range(600):
        item = data.draw(seed % len(data), stream(seed))
        text = item.get("text") or ""
        motion = data.classes[item.get("label", -1)]
        assert any(way in text for way in MOTIONS[motion].says), text
        assert parse(item["id"])[0] in (("rocket", motion), ("red apple", motion))
        styled = any(word in text.replace(",", "").split() for word in WORDS)
        assert styled == ("," in item["id"])
        plain += not styled
        said.add(text.split()[0])
    assert plain / 600 == pytest.approx(0.4, abs=0.07)
    assert {"a", "rocket", "red", "apple", "3D"} <= said  # an article, synonyms, the style in front


def test_two_objects_move_as_the_text_says() -> None:
    data = moving(
        objects=("red apple", "lemon"), styles=("flat",), pairs=1.0, motions=("left", "right", "up", "down")
    )
    seen = Counter()
    for seed in range(40):
        item = data.draw(seed % len(data), stream(seed))
        (first, one), (second, other) = parse(item["id"])
        assert {first, second} == {"red apple", "lemon"}
        assert " and " in (item.get("text") or "")
        assert data.classes[item.get("label", -1)] == one
        # What is red has no green; what is yellow has.
        red = (item["media"][0] - item["media"][1]).clamp(min=0) * (item["media"][1] < 0)
        yellow = (item["media"][1] - item["media"][2]).clamp(min=0) * (item["media"][1] > 0)
        paths = [centres(w) for w in ((red, yellow) if first == "red apple" else (yellow, red))]
        assert float(paths[0][:, 0].mean()) < 26
        assert float(paths[1][:, 0].mean()) > 38
        for path, motion in zip(paths, (one, other), strict=True):
            way = path[-1] - path[0]
            axis, sign = {"left": (0, -1), "right": (0, 1), "up": (1, -1), "down": (1, 1)}[motion]
            assert float(way[axis]) * sign > 6, (item["id"], way)
            assert abs(float(way[1 - axis])) < 3
            seen[motion] += 1
    assert min(seen.values()) > 8


def test_pairs_without_styles() -> None:
    data = moving(objects=("cat", "dog"), styles=None, pairs=1.0, motions=("spin", "still"))
    ids = {data.draw(i, stream(s))["id"] for i in range(len(data)) for s in range(12)}
    assert ids == {f"{a} {m} and {b} {n}" for a, b in (("cat", "dog"), ("dog", "cat"))
                   for m in ("spinning", "standing still") for n in ("spinning", "standing still")}  # fmt: skip


# --- what is held out ---------------------------------------------------------------------------------------------


def test_held_out_combinations_are_never_drawn_in_training() -> None:
    data = moving(pairs=0.4, held_out=0.2, modality=Video(size=16, frames=2))
    train, new = data.split()
    assert sorted([*train, *new]) == list(range(len(data)))
    kinds = data.held_kinds()
    assert set(kinds) == {"motion", "style", "pair"}
    assert sorted(i for some in kinds.values() for i in some) == list(new)
    motions = {parse(data[i]["id"])[0] for i in kinds["motion"]}
    styles = {(parse(data[i]["id"])[0][0], data[i]["id"].rpartition(", ")[2]) for i in kinds["style"]}
    assert len(motions) == pytest.approx(0.2 * 14 * len(data.emoji), rel=0.35)
    pairs, seen = 0, set()
    for i in train:
        for seed in range(3):
            item = data.draw(i, stream(seed, i))
            found = parse(item["id"])
            assert not motions & set(found)
            style = item["id"].rpartition(", ")[2]
            assert not any((name, style) in styles for name, _ in found)
            seen |= {name for name, _ in found} | {motion for _, motion in found} | {style}
            if len(found) == 2:
                pairs += 1
                assert not held_pair(found[0][0], found[1][0], 0.2)
    assert pairs > 50
    assert seen == {e.name for e in data.emoji} | set(ALL) | {"classic", "detailed", "flat", "3D"}


def test_held_out_items_say_and_show_what_they_are() -> None:
    data = moving(pairs=0.4, held_out=0.2, unstyled=0.5, modality=Video(size=16, frames=2))
    kinds = data.held_kinds()
    for kind, some in kinds.items():
        for i in some:
            own = parse(data[i]["id"])
            for seed in range(4):
                item = data.draw(i, stream(seed))
                found = parse(item["id"])
                assert [name for name, _ in found] == [name for name, _ in own]
                if kind == "motion":
                    assert found == own
                if kind == "style":
                    assert item["id"].rpartition(", ")[2] == data[i]["id"].rpartition(", ")[2]
                if kind == "pair":
                    assert held_pair(found[0][0], found[1][0], 0.2)
    assert [p.name for p in pools_of(data)] == ["seen", "new motion", "new style", "new pair"]


def test_the_catalogue_finds_what_ids_say_and_when_it_is_seen_best() -> None:
    data = moving(pairs=0.4, held_out=0.2)
    catalogue = data.catalogue()
    apple = catalogue.names.index("red apple")
    for name in ("red apple bouncing", "red apple moving up and left, 3D"):
        assert catalogue.find(name) == apple
    assert catalogue.find("bicycle bouncing") is None
    assert len(catalogue.pictures(apple)) == 4
    assert catalogue.pictures(apple)[0].shape == (3, 64, 64)
    pair = data[data.held_kinds()["pair"][0]]["id"]
    assert catalogue.names[catalogue.find(pair) or 0] == " and ".join(n for n, _ in parse(pair))
    best = {"growing": 1, "shrinking, 3D": 0, "spinning": 0, "appearing, flat": 1, "moving left": 0.5}
    assert {k: catalogue.moment(f"red apple {k}") for k in best} == best


def test_frames_for_a_picture_model() -> None:
    data = moving(modality=Image(size=64), pairs=0.3)
    assert {tuple(data.draw(i, stream(i))["media"].shape) for i in range(20)} == {(3, 64, 64)}


def test_mistakes() -> None:
    with pytest.raises(ValueError, match=r"pairs: 1.5 is not allowed. Allowed: a share, 0 to 1"):
        moving(pairs=1.5)
    with pytest.raises(MultigenError, match=r"data.styles: '3D' is not allowed.*Did you mean '3d'"):
        moving(styles=("3D",))
    with pytest.raises(MultigenError, match="data.objects: there is no emoji named 'rockett'"):
        moving(objects=("rockett",))
