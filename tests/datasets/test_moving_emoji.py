"""Moving emoji: what moves, and where to, is what the text says."""

from __future__ import annotations

import hashlib

import pytest
import torch
from torch import Tensor

from multigen.core.noise import stream
from multigen.datasets import sprites
from multigen.datasets.motions import DIRECTIONS
from multigen.datasets.moving_emoji import MovingEmoji
from multigen.datasets.moving_objects import OBJECTS
from multigen.errors import MultigenError
from multigen.modalities.audio import Audio
from multigen.modalities.image import Image
from multigen.modalities.video import Video

VIDEO = Video(size=32, frames=16)


@pytest.fixture(scope="module")
def data() -> MovingEmoji:
    return MovingEmoji(modality=VIDEO)


def centres(media: Tensor) -> Tensor:
    """Centre of what is not white in each frame: [T, 2] as (x, y), pixels; x to the right, y down."""
    ink = (1 - media).sum(0)
    place = torch.arange(media.shape[-1], dtype=torch.float32)
    total = ink.sum((1, 2))
    return torch.stack([(ink.sum(1) * place).sum(1), (ink.sum(2) * place).sum(1)], 1) / total[:, None]


def test_every_object_exists() -> None:
    data = MovingEmoji(modality=VIDEO, count=None)
    assert len(data.emoji) == len(OBJECTS) > 100
    assert len({e.name for e in data.emoji}) == len({e.file for e in data.emoji}) == len(OBJECTS)


def test_items_are_bit_for_bit_what_the_shipped_weights_learnt() -> None:
    """Pillow's filters and the draws, hashed at the time that the weights were trained."""
    found = hashlib.blake2b(digest_size=16)
    for modality in (VIDEO, Image(size=32)):
        data = MovingEmoji(modality=modality)
        for i in range(0, 900, 31):
            for item in (data[i], data.draw(i, stream(i))):
                found.update(item["media"].numpy().tobytes())
                found.update(repr((item["id"], item.get("text"), item.get("label"))).encode())
        found.update(repr([list(part) for part in data.split()]).encode())
    assert found.hexdigest() == "5fb38cf7f99d3a2d020085231b73a136"


def test_index_space(data: MovingEmoji) -> None:
    assert len(data) == 100 * 9
    assert data.classes == tuple(DIRECTIONS)
    item = data[0 * 9 + 1]
    assert item["media"].shape == (3, 16, 32, 32)
    assert (item.get("text"), item.get("label")) == ("red apple moving right", 1)
    assert torch.equal(data[1]["media"], item["media"])


@pytest.mark.parametrize("direction", list(DIRECTIONS))
def test_motion_goes_where_the_text_says(direction: str) -> None:
    data = MovingEmoji(modality=VIDEO, objects=("red heart", "rocket", "cactus"))
    number = list(DIRECTIONS).index(direction)
    for seed in range(12):
        item = data.draw(seed % 3 * 9 + number, stream(seed))
        assert item.get("label") == number
        text = item.get("text") or ""
        for word, axis, sign in (("left", 0, -1), ("right", 0, 1), ("up", 1, -1), ("down", 1, 1)):
            if word in text.split():
                assert DIRECTIONS[direction][0][axis] == sign
        assert any(text.endswith(way) for way in DIRECTIONS[direction][1])
        c = centres(item["media"])
        for axis, sign in enumerate(DIRECTIONS[direction][0]):
            steps = c[1:, axis] - c[:-1, axis]
            if sign:
                assert (steps * sign).min() > 0.3  # pixels a frame, every frame
                assert (c[-1, axis] - c[0, axis]) * sign > 9
            else:
                assert steps.abs().max() < 0.35


def test_motion_is_smooth_below_a_pixel() -> None:
    """Steady speed: while all of the heart is inside, its centre moves by the same fraction of a pixel a frame."""
    c = centres(MovingEmoji(modality=Video(size=64), objects=("red heart",))[1]["media"])[2:-2, 0]
    steps = c[1:] - c[:-1]
    assert float(steps.mean()) == pytest.approx(0.5 * 64 / 15, rel=0.01)
    assert float(steps.std()) < 0.03


def test_the_object_stays_mostly_visible(data: MovingEmoji) -> None:
    for seed in range(40):
        index = seed * 21 % len(data)
        ink = (1 - data.draw(index, stream(seed))["media"]).sum((0, 2, 3))
        assert float(ink.min() / ink.max()) > 0.55


def test_still_is_still(data: MovingEmoji) -> None:
    media = data.draw(8, stream(0))["media"]
    assert torch.equal(media, media[:, :1].expand_as(media))


def test_draw_is_keyed_and_varied(data: MovingEmoji) -> None:
    a, b = (data.draw(9, stream(4)) for _ in range(2))
    assert torch.equal(a["media"], b["media"])
    assert a.get("text") == b.get("text")
    texts = {data.draw(9, stream(s)).get("text") for s in range(40)}
    assert texts == {f"{a}green apple {w}" for a in ("", "a ") for w in DIRECTIONS["left"][1]}
    assert not torch.equal(a["media"], data.draw(9, stream(5))["media"])
    plain = MovingEmoji(modality=VIDEO, augment=False)
    assert torch.equal(plain.draw(9, stream(4))["media"], data[9]["media"])


def test_articles() -> None:
    data = MovingEmoji(modality=VIDEO, objects=("owl", "unicorn"))
    texts = {(data.draw(i * 9, stream(s)).get("text") or "").split()[0] for i in range(2) for s in range(20)}
    assert texts == {"owl", "an", "unicorn", "a"}


def test_split_holds_out_pairs_of_seen_parts(data: MovingEmoji) -> None:
    train, held = data.split()
    assert len(train) + len(held) == len(data)
    assert len(held) / len(data) == pytest.approx(0.1, abs=0.04)
    assert {i // 9 for i in held} <= {i // 9 for i in train}
    assert {i % 9 for i in train} == set(range(9))


def test_other_shapes() -> None:
    wide = MovingEmoji(modality=Video(size=(24, 40), frames=5, channels=1), objects=("rocket",))
    assert wide.draw(0, stream(0))["media"].shape == (1, 5, 24, 40)
    one = MovingEmoji(modality=Video(size=16, frames=1), objects=("rocket",))
    assert one[0]["media"].shape == (3, 1, 16, 16)


def test_pictures_are_frames() -> None:
    frames = MovingEmoji(modality=Image(size=32), objects=("rocket",))
    film = MovingEmoji(modality=Video(size=32, frames=17), objects=("rocket",))
    assert torch.equal(frames[0]["media"], film[0]["media"][:, 8])
    drawn = torch.stack([frames.draw(0, stream(s))["media"] for s in range(60)], 1)
    across = centres(drawn)[:, 0]
    assert float(across.max() - across.min()) > 9  # the whole way
    assert frames.split() == film.split()


def test_placing_is_exact() -> None:
    """A filled square placed at a fractional position covers pixels by their share."""
    square = sprites.load(sprites.choose(sprites.all_emoji(), "black large square", "here").file)
    for side in (9.0, 18.0, 40.0, 100.0):
        for x in (30.0, 30.25, 33.7):
            placed = sprites.place(square, x, 32.0, side, 64, 64)[..., 3].astype(float)
            if side < 50:
                middle = (placed.sum(0) * (torch.arange(64).numpy() + 0.5)).sum() / placed.sum()
                assert middle == pytest.approx(x, abs=0.05)
                small = sprites.place(sprites.shrink(square, side), x, 32.0, side, 64, 64)[..., 3].astype(
                    float
                )
                assert abs(small - placed).mean() < 3
            else:
                assert placed.min() > 200  # larger than the frame


def test_mistakes() -> None:
    with pytest.raises(MultigenError, match="modality audio is neither"):
        MovingEmoji(modality=Audio())
    with pytest.raises(
        MultigenError, match="data.objects: there is no emoji named 'rockett'. Did you mean 'rocket'"
    ):
        MovingEmoji(modality=VIDEO, objects=("rockett",))
