"""Augmentation against what it must give: frequencies, colours, lengths."""

from __future__ import annotations

import colorsys
import math

import pytest
import torch
from torch import Tensor

from multigen.core.noise import stream
from multigen.datasets.augment import PICTURE, SOUND, Augment, pictures
from multigen.datasets.augment import sound as sounds

RATE = 22050


def tone(hertz: float, seconds: float = 2.0, rate: int = RATE) -> Tensor:
    """[1, N], amplitude 0.5."""
    return 0.5 * torch.sin(2 * math.pi * hertz * torch.arange(int(seconds * rate)) / rate)[None]


def pitch(sound: Tensor, rate: int = RATE) -> float:
    """The strongest frequency in Hz, by parabolic interpolation of the log spectrum."""
    inside = sound[0, sound.shape[-1] // 8 : -sound.shape[-1] // 8]
    power = torch.fft.rfft(inside * torch.hann_window(len(inside)), n=2**18).abs().log()
    k = int(power.argmax())
    a, b, c = power[k - 1 : k + 2].tolist()
    return (k + 0.5 * (a - c) / (a - 2 * b + c)) * rate / 2**18


@pytest.mark.parametrize(
    ("semitones", "expected"), [(12, 880.0), (-12, 220.0), (1, 466.1638), (-3.5, 359.4614)]
)
def test_pitch_shift_moves_a_tone_and_keeps_its_length_and_level(semitones: float, expected: float) -> None:
    out = sounds.pitch_shift(tone(440), semitones, rate=RATE)
    assert out.shape == (1, 2 * RATE)
    assert pitch(out) == pytest.approx(expected, rel=3e-4)  # half a cent
    middle = out[0, RATE // 2 : -RATE // 2]
    assert middle.square().mean().sqrt().item() == pytest.approx(0.5 / math.sqrt(2), rel=0.01)


@pytest.mark.parametrize("speed", [0.8, 1.25, 2.0])
def test_time_stretch_changes_the_length_and_keeps_the_pitch(speed: float) -> None:
    out = sounds.time_stretch(tone(440), speed, rate=RATE)
    assert out.shape[-1] == round(2 * RATE / speed)
    assert pitch(out) == pytest.approx(440, rel=3e-4)


def test_time_stretch_moves_events() -> None:
    sound = torch.zeros(1, 2 * RATE)
    sound[0, RATE:] = tone(440, 1.0)[0]  # begins at 1 s
    out = sounds.time_stretch(sound, 1.25, rate=RATE)
    begins = int((out[0].abs() > 0.25).nonzero()[0])
    assert begins / RATE == pytest.approx(0.8, abs=0.06)


def test_warp_does_both_at_once_for_each_channel() -> None:
    sound = torch.cat([tone(440), tone(660)])
    out = sounds.warp(sound, rate=RATE, speed=1.25, semitones=12)
    assert out.shape == (2, round(2 * RATE / 1.25))
    assert pitch(out[:1]) == pytest.approx(880, rel=3e-4)
    assert pitch(out[1:]) == pytest.approx(1320, rel=3e-4)


def test_warp_by_nothing_is_the_identity_and_short_sounds_survive() -> None:
    sound = tone(440)
    assert torch.equal(sounds.warp(sound, rate=RATE), sound)
    for n in (1, 10, 220):
        out = sounds.warp(sound[:, :n], rate=RATE, speed=0.8, semitones=3)
        assert out.shape == (1, round(n / 0.8))
        assert out.isfinite().all()
    with pytest.raises(ValueError, match="speed"):
        sounds.warp(sound, rate=RATE, speed=0)


def test_gain_is_in_decibels_and_never_clips() -> None:
    sound = tone(440)
    torch.testing.assert_close(sounds.gain(sound, -20), sound * 0.1)
    torch.testing.assert_close(sounds.gain(sound, 20 * math.log10(1.5)), sound * 1.5)
    assert sounds.gain(sound, 40).abs().max().item() == pytest.approx(1.0)
    assert torch.equal(sounds.gain(torch.zeros(1, 9), 40), torch.zeros(1, 9))


def test_flip_mirrors_and_twice_is_the_identity() -> None:
    for shape in [(3, 5, 7), (3, 4, 5, 7)]:
        media = torch.rand(shape, generator=stream(0))
        assert torch.equal(pictures.flip(media)[..., 0], media[..., -1])
        assert torch.equal(pictures.flip(pictures.flip(media)), media)


def picture(*colours: tuple[float, float, float]) -> Tensor:
    """[3, 1, W] in [-1, 1] from colours in [0, 1]."""
    return torch.tensor(colours, dtype=torch.float32).T[:, None] * 2 - 1


def test_hue_turns_red_into_green_into_blue() -> None:
    red, green, blue = picture((1, 0, 0)), picture((0, 1, 0)), picture((0, 0, 1))
    torch.testing.assert_close(pictures.rotate_hue(red, 120), green)
    torch.testing.assert_close(pictures.rotate_hue(red, -120), blue)
    torch.testing.assert_close(pictures.rotate_hue(green, 120), blue)
    torch.testing.assert_close(pictures.rotate_hue(red, 60), picture((1, 1, 0)))


def test_hue_equals_colorsys_and_leaves_grey_alone() -> None:
    colours = torch.rand((200, 3), generator=stream(1)).tolist()
    given = picture(*colours)
    torch.testing.assert_close(pictures.rotate_hue(given, 0), given)
    torch.testing.assert_close(pictures.rotate_hue(given, 360), given, atol=1e-5, rtol=0)
    expected = []
    for colour in colours:
        h, s, v = colorsys.rgb_to_hsv(*colour)
        expected.append(colorsys.hsv_to_rgb((h - 50 / 360) % 1, s, v))
    torch.testing.assert_close(pictures.rotate_hue(given, -50), picture(*expected), atol=1e-5, rtol=0)
    grey = picture((0.3, 0.3, 0.3), (0, 0, 0), (1, 1, 1))
    torch.testing.assert_close(pictures.rotate_hue(grey, 77), grey)
    clip = given[:, None].expand(3, 4, 1, 200)
    torch.testing.assert_close(pictures.rotate_hue(clip, 33)[:, 2], pictures.rotate_hue(given, 33))
    with pytest.raises(ValueError, match="hue: 1 channels"):
        pictures.rotate_hue(torch.zeros(1, 4, 4), 10)


def test_crop_keeps_share_and_aspect_and_reaches_every_place() -> None:
    rows, columns = torch.meshgrid(torch.arange(40.0), torch.arange(60.0), indexing="ij")
    media = torch.stack([rows, columns])
    corners = set()
    for k in range(60):
        part = pictures.crop(media, 0.9, stream(k))
        assert part.shape == (2, 38, 57)
        torch.testing.assert_close(part[0, :, 0], torch.arange(38.0) + part[0, 0, 0])
        corners.add((int(part[0, 0, 0]), int(part[1, 0, 0])))
    assert corners == {(top, left) for top in range(3) for left in range(4)}
    assert torch.equal(pictures.crop(media, 1.0, stream(0)), media)
    assert pictures.crop(torch.zeros(1, 1, 1), 0.1, stream(0)).shape == (1, 1, 1)


def test_brightness_and_contrast() -> None:
    media = torch.tensor([[[-0.5, 0.1], [0.3, 0.9]]])
    torch.testing.assert_close(pictures.brightness(media, 0.2), torch.tensor([[[-0.3, 0.3], [0.5, 1.0]]]))
    torch.testing.assert_close(pictures.contrast(media, 0), torch.full_like(media, 0.2))
    torch.testing.assert_close(pictures.contrast(media, 0.5), 0.2 + (media - 0.2) / 2)
    assert pictures.contrast(media, 2).max() == 1


def test_what_is_drawn_comes_from_the_generator_alone_and_keeps_its_range() -> None:
    settings = Augment(flip=True, hue=30, brightness=0.1, contrast=0.2)
    media = torch.rand((3, 2, 8, 8), generator=stream(0)) * 2 - 1
    same = [settings.change_picture(media, stream(5)) for _ in range(2)]
    assert torch.equal(*same)
    outs = [settings.change_picture(media, stream(k)) for k in range(40)]
    assert all(out.abs().max() <= 1 for out in outs)
    assert len({round(out.sum().item(), 4) for out in outs}) == 40
    mirrored = [
        torch.equal(Augment(flip=True).change_picture(media, stream(k)), pictures.flip(media))
        for k in range(200)
    ]
    assert 70 < sum(mirrored) < 130
    speeds = [Augment(time_stretch=0.25).draw_speed(stream(k)) for k in range(400)]
    assert min(speeds) == pytest.approx(0.8, abs=0.01)
    assert max(speeds) == pytest.approx(1.25, abs=0.01)
    assert sum(math.log(s) for s in speeds) / 400 == pytest.approx(0, abs=0.03)


def test_a_panorama_turns_all_the_way_round() -> None:
    media = torch.arange(8.0).expand(4, 3, 8)
    turned = [Augment(turn=True).change_picture(media, stream(k)) for k in range(200)]
    assert {int(t[0, 0, 0]) for t in turned} == set(range(8))
    for t in turned:  # each column has its neighbours, alpha goes along
        assert torch.equal(t, media.roll(-int(t[0, 0, 0]), -1))


def test_a_clip_gets_one_draw_for_all_its_frames() -> None:
    frame = torch.rand((3, 9, 9), generator=stream(0)) * 2 - 1
    clip = frame[:, None].expand(3, 6, 9, 9)
    settings = Augment(flip=True, crop=0.5, hue=90, brightness=0.2, contrast=0.3)
    for k in range(5):
        out = settings.change_picture(settings.crop_picture(clip, stream(k, "crop")), stream(k))
        assert torch.equal(out, out[:, :1].expand_as(out))


def test_nothing_set_changes_nothing() -> None:
    media, sound = torch.rand(3, 4, 4), torch.rand(1, 100)
    assert Augment().crop_picture(media, stream(0)) is media
    assert Augment().change_picture(media, stream(0)) is media
    assert Augment().change_sound(sound, Augment().draw_speed(stream(0)), RATE, stream(0)) is sound


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"hue": 200}, "0 to 180"),
        ({"crop": 0.0}, "above 0"),
        ({"pitch": -1}, "0 to 24"),
        ({"gain": math.nan}, "0 to 60"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, float], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Augment(**settings)  # pyright: ignore[reportArgumentType]


def test_settings_that_do_not_apply_are_refused() -> None:
    with pytest.raises(ValueError, match=r"pitch: does not apply to image. Allowed: flip, crop"):
        Augment(pitch=2).check(PICTURE, 3, "image")
    with pytest.raises(
        ValueError, match=r"flip: does not apply to audio. Allowed: time_stretch, pitch, gain"
    ):
        Augment(flip=True).check(SOUND, 1, "audio")
    with pytest.raises(ValueError, match="hue: needs 3 colour channels; this image has 1"):
        Augment(hue=5).check(PICTURE, 1, "image")
    with pytest.raises(ValueError, match=r"gain: does not apply to series. Allowed: no augmentation"):
        Augment(gain=3).check((), 1, "series")
    Augment(flip=True, hue=5).check(PICTURE, 3, "video")
    Augment(gain=3).check(SOUND, 2, "audio")
