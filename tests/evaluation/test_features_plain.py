"""Features that judge groups: colours whatever the thing, notes whatever the instrument, ways whatever moves."""

from __future__ import annotations

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from multigen import registry
from multigen.errors import MultigenError
from multigen.evaluation.features import Feature
from multigen.modalities import Modality
from multigen.modalities.audio import Audio
from multigen.modalities.image import Image
from multigen.modalities.video import Video
from multigen.registry import Part


def built(name: str, modality: Modality) -> Feature:
    return registry.build("feature", Part(name), given={"modality": modality})


def square(colour: tuple[float, float, float], place: int, side: int = 12) -> torch.Tensor:
    """A square of a colour on white."""
    out = torch.ones(3, 32, 32)
    out[:, place : place + side, place : place + side] = torch.tensor(colour)[:, None, None]
    return out


def test_hues_tell_colours_and_not_places() -> None:
    feature = built("hues", Image(size=32))
    red, elsewhere = square((1.0, -1.0, -1.0), 2), square((1.0, -1.0, -1.0), 18)
    green, grey = square((-1.0, 1.0, -1.0), 2), square((0.0, 0.0, 0.0), 2)
    found = feature(torch.stack([red, elsewhere, green, grey]))[:, 0]
    assert found.shape == (4, 25)
    torch.testing.assert_close(found[0], found[1])
    assert int(found[0, :24].argmax()) == 0 and int(found[2, :24].argmax()) == 8  # 0 and 120 degrees
    torch.testing.assert_close(found[:3, :24].sum(1), torch.ones(3))
    assert found[0, 24] == pytest.approx(144 / 1024)
    assert not found[3].any()  # nothing is coloured
    clip = red[:, None].expand(3, 5, 32, 32)
    torch.testing.assert_close(built("hues", Video(size=32, frames=5))(clip[None])[0, 0], found[0])


class Largest(TorchDispatchMode):
    """Hears of the largest tensor that is made."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = func(*args, **(kwargs or {}))
        self.numbers = max(self.numbers, out.numel() if isinstance(out, torch.Tensor) else 0)
        return out


def test_hues_are_bells_about_24_places_and_need_little_memory() -> None:
    feature = built("hues", Image(size=16))
    levels = torch.randint(1, 256, (2, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    media = levels / 127.5 - 1
    with Largest() as largest:
        found = feature(media)[:, 0]
    assert largest.numbers == media.numel()
    for one, shares in zip((levels / 255).flatten(2).transpose(1, 2).tolist(), found, strict=True):
        expected = [0.0] * 24
        for red, green, blue in one:
            most, least = max(red, green, blue), min(red, green, blue)
            if (most - least) / most > 0.15:
                hue = math.degrees(math.atan2(math.sqrt(3) * (green - blue), 2 * red - green - blue))
                for k in range(24):
                    apart = (hue - 15 * k + 180) % 360 - 180
                    expected[k] += (most - least) * math.exp(-0.5 * (apart / 15) ** 2)
        expected = torch.tensor(expected) / sum(expected)
        torch.testing.assert_close(shares[:24], expected, rtol=1e-4, atol=1e-6)


def test_pitch_classes_tell_notes_and_not_octaves() -> None:
    rate = 16000
    feature = built("pitch_classes", Audio(rate=rate, seconds=1.0))
    t = torch.arange(rate) / rate
    low, high, other = (0.3 * (2 * math.pi * hz * t).sin()[None] for hz in (220.0, 880.0, 261.63))
    found = feature(torch.stack([low, high, other]))[:, 0]
    assert found.argmax(1).tolist() == [9, 9, 0]  # A, A, C
    assert not feature(torch.zeros(1, 1, rate)).any()


def test_a_course_is_where_it_leads() -> None:
    feature = built("course", Video(size=32, frames=16))
    right = torch.stack([square((1.0, -1.0, -1.0), 10, 6).roll(k - 8, 2) for k in range(16)], 1)
    up = torch.stack([square((-1.0, -1.0, 1.0), 10, 8).roll(8 - k, 1) for k in range(16)], 1)
    still = square((1.0, -1.0, -1.0), 10)[:, None].expand(3, 16, 32, 32)
    (x, y, way), (up_x, up_y, _), none = feature(torch.stack([right, up, still]))[:, 0].tolist()
    assert x == pytest.approx(12 / 16, abs=0.02) and abs(y) < 0.01  # 12 of 16 pixels, half the picture
    assert way == pytest.approx(15 / 16, abs=0.02)
    assert up_y == pytest.approx(12 / 16, abs=0.02) and abs(up_x) < 0.01
    assert max(map(abs, none)) < 1e-5


@pytest.mark.parametrize(
    ("name", "modality"), [("hues", Audio()), ("pitch_classes", Image(size=8)), ("course", Image(size=8))]
)
def test_other_media_are_refused(name: str, modality: Modality) -> None:
    with pytest.raises(MultigenError, match=name):
        built(name, modality)
