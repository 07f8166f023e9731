from __future__ import annotations

import math

import pytest
import torch

from benchmarks.watermark_attacks import brighter, cropped, gif, h264, jpeg, mp3, resized
from multigen import marks
from multigen.errors import MultigenError
from multigen.modalities.raster import from_levels, to_levels
from tests.marks.drawn import KEY, OTHER, RATE, clip, picture, tune

WHITE = torch.ones(3, 64, 64)


def stored(media: torch.Tensor) -> torch.Tensor:
    return from_levels(to_levels(media))


@pytest.fixture(scope="module")
def marked() -> torch.Tensor:
    return stored(marks.embed(picture(), key=KEY, payload=0xDEADBEEF))


@pytest.fixture(scope="module")
def sound() -> torch.Tensor:
    return marks.embed(tune(), key=KEY, payload=0xC0FFEE, rate=RATE)


@pytest.mark.parametrize(
    "attack",
    [
        jpeg(75),
        lambda m: jpeg(75)(resized(0.75)(m)),
        cropped(0.1),
        brighter(0.9),
        brighter(1.1),
        resized(3.0),
    ],
    ids=["jpeg", "resize", "crop", "darker", "brighter", "enlarged"],
)
def test_a_picture_keeps_mark_and_payload(marked: torch.Tensor, attack) -> None:
    found = marks.detect(attack(marked), key=KEY)
    assert found.found
    assert found.payload == 0xDEADBEEF


def test_another_key_or_no_mark_is_not_found(marked: torch.Tensor) -> None:
    for media, key in ((marked, OTHER), (picture(), KEY), (WHITE, KEY)):
        found = marks.detect(media, key=key, cuts=False)
        assert found.payload is None
        assert found.p_value > 1e-3


def test_the_change_is_as_strong_as_asked_even_on_white() -> None:
    for media in (picture(), WHITE, -WHITE):
        for strength in (36.0, 40.0, 46.0):
            change = stored(marks.embed(media, key=KEY, strength=strength)) - stored(media)
            assert -20 * math.log10(float(change.square().mean().sqrt()) / 2) == pytest.approx(
                strength, abs=0.3
            )


def test_the_same_mark_is_the_same_numbers() -> None:
    assert torch.equal(marks.embed(picture(), key=KEY, payload=3), marks.embed(picture(), key=KEY, payload=3))


def test_alpha_stays_and_what_is_clear_takes_nothing() -> None:
    clear = torch.cat([picture(), torch.ones(1, 64, 64)])
    clear[3, :, :32] = -1
    made = marks.embed(clear, key=KEY, payload=5)
    assert torch.equal(made[3], clear[3])
    assert torch.equal(made[:3, :, :32], clear[:3, :, :32])
    assert marks.detect(stored(made), key=KEY).payload == 5


def test_grey_and_wide_pictures_carry_it() -> None:
    wide = torch.cat([picture(96), picture(96, 1), picture(96, 2)], 2)
    assert marks.detect(stored(marks.embed(wide, key=KEY, payload=9)), key=KEY).payload == 9
    grey = picture(128).mean(0, keepdim=True)
    assert marks.detect(stored(marks.embed(grey, key=KEY, payload=9)), key=KEY).payload == 9


def test_what_is_kept_stays_bit_for_bit() -> None:
    keep = torch.zeros(64, 64, dtype=torch.bool)
    keep[:, :24] = True
    made = marks.embed(picture(), key=KEY, payload=7, keep=keep)
    assert torch.equal(made[:, keep], picture()[:, keep])
    assert not torch.equal(made, picture())
    assert marks.detect(stored(made), key=KEY).payload == 7
    hold = torch.zeros(tune().shape[1], dtype=torch.bool)
    hold[: 2 * RATE] = True
    heard = marks.embed(tune(), key=KEY, payload=7, rate=RATE, keep=hold)
    assert torch.equal(heard[:, hold], tune()[:, hold])
    assert marks.detect(heard, key=KEY, rate=RATE).payload == 7
    assert torch.equal(marks.embed(picture(), key=KEY, keep=torch.ones_like(keep)), picture())


def test_a_sound_keeps_mark_and_payload(sound: torch.Tensor) -> None:
    attacks = {
        "untouched": (sound, RATE),
        "mp3": mp3(128_000, 0)(sound, RATE),
        "quieter": (sound / 4, RATE),
        "cut": (torch.cat([sound[:, :RATE], sound[:, 2 * RATE + 77 :]], 1), RATE),
        "2 s": (sound[:, 5000 : 5000 + 2 * RATE], RATE),
        "two channels": (sound.repeat(2, 1), RATE),
    }
    for name, (media, rate) in attacks.items():
        assert marks.detect(media, key=KEY, rate=rate).payload == 0xC0FFEE, name
    assert not marks.detect(sound, key=OTHER, rate=RATE).found
    assert not marks.detect(tune(), key=KEY, rate=RATE).found


def test_a_sound_is_marked_as_far_under_it_as_asked() -> None:
    for strength in (30.0, 36.0):
        change = marks.embed(tune(), key=KEY, strength=strength, rate=RATE) - tune()
        ratio = float(tune().square().mean() / change.square().mean())
        assert 10 * math.log10(ratio) == pytest.approx(strength, abs=0.1)
    silence = torch.zeros(1, 2 * RATE)
    assert torch.equal(marks.embed(silence, key=KEY, rate=RATE), silence)
    loud = tune() / tune().abs().max()
    assert float(marks.embed(loud, key=KEY, rate=RATE).abs().max()) <= 1


@pytest.mark.parametrize("attack", [lambda m: m, h264(23), gif, lambda m: m[:, 3:4], lambda m: m[:, ::2]])
def test_a_video_keeps_the_mark(attack) -> None:
    made = stored(marks.embed(clip(64), key=KEY, payload=4321))
    assert marks.detect(attack(made), key=KEY).payload == 4321
    assert not marks.detect(attack(made), key=OTHER).found


def test_a_video_has_the_same_mark_in_each_frame() -> None:
    still = picture(48)[:, None].expand(3, 4, 48, 48)
    made = marks.embed(still, key=KEY)
    assert torch.equal(made[:, 0], made[:, 3])


def test_what_cannot_carry_a_mark_is_refused_with_a_message() -> None:
    for media, rate, message in (
        (torch.zeros(3, 20, 64), None, "64 x 20 pixels are too small"),
        (torch.zeros(1, 8000), RATE, "0.5 s at 16000 Hz are too small"),
        (torch.zeros(4), None, "1 axes are not allowed"),
        (torch.zeros(1, 40_000), None, "sounds need it"),
    ):
        with pytest.raises(MultigenError, match=message):
            marks.embed(media, key=KEY, rate=rate)
    with pytest.raises(MultigenError, match="payload: 65536 is not allowed"):
        marks.embed(clip(), key=KEY, payload=2**16)
    with pytest.raises(MultigenError, match="5 bytes are not allowed"):
        marks.embed(picture(), key=b"short")
    with pytest.raises(MultigenError, match="strength: 3 dB"):
        marks.embed(picture(), key=KEY, strength=3)
    assert not marks.detect(torch.zeros(3, 20, 64), key=KEY).found
