"""Edits of files as people have them, with the weights that multigen carries: what is kept comes back to the bit."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image as PillowImage

import multigen
from multigen.cli.main import main
from multigen.errors import MultigenError
from multigen.generation.request import EditRequest, Request
from multigen.modalities.image_native import Form, _deep_levels, encode_deep
from multigen.model.model import Model
from tests.modalities.test_image_native import linear_profile

LEVELS = np.kron(np.random.default_rng(0).integers(0, 256, (16, 16, 3)), np.ones((4, 4, 1))).astype(np.uint8)
HOLE = np.zeros((64, 64), bool)
HOLE[20:44, 20:44] = True
FAR = np.ones((64, 64), bool)  # beyond the feather of 2 pixels
FAR[17:47, 17:47] = False


@pytest.fixture(scope="module")
def emoji() -> Model:
    return multigen.load("image_emoji", device="cpu")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    PillowImage.fromarray((HOLE * 255).astype(np.uint8)).save("mask.png")
    PillowImage.fromarray(LEVELS).save("in.png")
    return tmp_path


def inpainted(model: Model, name: str, **more: object) -> Path:
    (made,) = model.edit(name, "red apple", mask="mask.png", steps=2, seed=1, **more)  # type: ignore[arg-type]
    return made.save("out.png")


# --- pictures ---------------------------------------------------------------------------------------------------


def test_outside_the_mask_size_alpha_and_levels_stay(here: Path, emoji: Model) -> None:
    clear = np.where(np.arange(64)[None] < 16, 0, 255).repeat(64, 0).astype(np.uint8)
    levels = np.dstack([LEVELS, clear])
    PillowImage.fromarray(levels).save("in.png")
    out = np.asarray(PillowImage.open(inpainted(emoji, "in.png")))
    assert out.shape == (64, 64, 4)
    assert np.array_equal(out[FAR], levels[FAR])
    assert bool((out[HOLE][:, 3] == 255).all())
    assert (np.abs(out[HOLE].astype(int) - levels[HOLE]).max(1) > 8).mean() > 0.8


def test_outside_the_mask_sixteen_bits_and_the_profile_stay(here: Path, emoji: Model) -> None:
    levels = np.random.default_rng(1).integers(0, 65_536, (64, 64, 3)).astype(np.uint16)
    media = torch.from_numpy(levels / 65_535 * 2 - 1).movedim(-1, 0)
    profile = linear_profile()
    Path("deep.png").write_bytes(encode_deep(media, Form(3, 65_535, profile)))
    out = inpainted(emoji, "deep.png")
    assert PillowImage.open(out).info["icc_profile"] == profile
    found = _deep_levels(out)
    assert np.array_equal(found[FAR], levels[FAR])
    assert not np.array_equal(found[HOLE], levels[HOLE])


def test_a_photograph_that_is_turned_and_larger_stays_as_it_is_shown(here: Path, emoji: Model) -> None:
    large = np.random.default_rng(2).integers(0, 256, (120, 90, 3), np.uint8)
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    PillowImage.fromarray(large).save("turned.png", exif=exif)
    shown = np.rot90(large, -1)
    hole = np.zeros(shown.shape[:2], np.uint8)
    hole[30:60, 40:80] = 255
    PillowImage.fromarray(hole).save("mask.png")
    out = np.asarray(PillowImage.open(inpainted(emoji, "turned.png")))
    far = np.ones(hole.shape, bool)
    far[24:66, 34:86] = False  # the feather is 2 pixels of the model's, 4 of the photograph's
    assert out.shape == shown.shape == (90, 120, 3)
    assert np.array_equal(out[far], shown[far])


@pytest.mark.parametrize("size", [(63, 50), (64, 48), (62, 62), (2, 2), (1, 1), (65, 65), (512, 300)])
@pytest.mark.parametrize("fit", ["pad", "crop", "stretch"])
def test_pictures_of_any_size_come_back_at_it(
    here: Path, emoji: Model, size: tuple[int, int], fit: str
) -> None:
    PillowImage.new("RGB", size, (200, 60, 60)).save("s.png")
    (made,) = emoji.edit("s.png", "red apple", strength=0.5, steps=1, fit=fit)
    assert made.tensor.shape == (3, size[1], size[0])
    assert bool(made.tensor.isfinite().all())


def test_a_crop_leaves_what_it_does_not_show(here: Path, emoji: Model) -> None:
    wide = np.random.default_rng(3).integers(0, 256, (64, 192, 3), np.uint8)
    PillowImage.fromarray(wide).save("wide.png")
    (made,) = emoji.edit("wide.png", "red apple", strength=0.9, steps=1, fit="crop", feather=0)
    out = np.asarray(PillowImage.open(made.save("out.png")))
    assert np.array_equal(out[:, :64], wide[:, :64])
    assert np.array_equal(out[:, 128:], wide[:, 128:])
    assert not np.array_equal(out[:, 64:128], wide[:, 64:128])


def test_the_models_own_picture_grows_and_is_edited_again(here: Path, emoji: Model) -> None:
    (apple,) = emoji.generate("red apple", steps=2, seed=0)
    (grown,) = emoji.edit(apple, "red apple", extend="16", feather=0, steps=1)
    assert grown.tensor.shape == (3, 96, 96)
    assert torch.equal(grown.tensor[:, 16:80, 16:80], apple.tensor)
    keep = torch.ones(96, 96, dtype=torch.bool)
    keep[:8] = False
    (again,) = emoji.edit(grown, "red apple", keep=keep, feather=0, steps=1)
    assert torch.equal(again.tensor[:, 8:], grown.tensor[:, 8:])


@pytest.mark.parametrize("size", [(33, 21), (64, 64)])
def test_photographs_are_enlarged_in_windows(here: Path, emoji: Model, size: tuple[int, int]) -> None:
    levels = np.random.default_rng(4).integers(0, 256, (size[1], size[0], 4), np.uint8)
    levels[..., 3] = 255
    levels[:3, :3, 3] = 0
    PillowImage.fromarray(levels).save("small.png")
    (made,) = emoji.edit("small.png", "red apple", restore="downsample", steps=1)
    assert made.tensor.shape == (4, 2 * size[1], 2 * size[0])
    assert float(made.tensor[3, :4, :4].max()) < -0.9  # what was clear


def test_odd_sizes_are_made_but_no_circle_is_cut(emoji: Model) -> None:
    (made,) = emoji.generate("red apple", size=(50, 63), steps=1)
    assert made.tensor.shape == (3, 50, 63)
    with pytest.raises(MultigenError, match="does not divide the size 64 x 131"):
        emoji.generate("red apple", size=(64, 131), sliding_window=True, tile=True, steps=1)


def test_strengths_differ_and_grow(here: Path, emoji: Model) -> None:
    (apple,) = emoji.generate("red apple", steps=4, seed=0)

    def change(strength: float) -> float:
        asked = Request(
            "green apple", steps=8, seed=3, guidance_scale=1.0, edit=EditRequest(apple, strength=strength)
        )
        (made,) = emoji.stream([asked])
        return float((made.tensor - apple.tensor).abs().mean()) * 127.5

    found = [change(s) for s in (0.01, 0.03, 0.05, 0.07, 0.5)]
    assert found == sorted(found)
    assert all(b - a > 0.3 for a, b in pairwise(found))
    for wrong in (0.0, 1.5, -0.2, math.nan):
        with pytest.raises(MultigenError, match="strength"):
            change(wrong)


def test_many_edits_of_one_file_are_those_of_one_each(here: Path) -> None:
    """A file of requests: each result has its own source's form, and the manifest says what was asked."""
    PillowImage.fromarray(np.dstack([LEVELS, np.full((64, 64), 255, np.uint8)])).save("alpha.png")
    PillowImage.new("RGB", (90, 40), (200, 60, 60)).save("wide.png")
    lines = [
        {"prompt": "red apple", "input": "alpha.png", "mask": "mask.png"},
        {"prompt": "red apple", "input": "wide.png", "strength": 0.5, "fit": "stretch"},
        {"prompt": "red apple", "input": "in.png", "mask": "mask.png", "mask_is": "black"},
    ]
    Path("edits.jsonl").write_text("\n".join(map(json.dumps, lines)))
    argv = ["--steps", "1", "-n", "1", "--quiet", "--device", "cpu", "--out", "out"]
    assert main(["sample", "image_emoji", "--prompts", "edits.jsonl", *argv]) == 0
    first, second, third = (
        np.asarray(PillowImage.open(path)) for path in sorted(Path("out/media").glob("*.png"))
    )
    assert np.array_equal(first[FAR][:, :3], LEVELS[FAR])
    assert first.shape == (64, 64, 4)
    assert second.shape == (40, 90, 3)
    inner = np.zeros((64, 64), bool)
    inner[23:41, 23:41] = True
    assert np.array_equal(third[inner], LEVELS[inner])
    rows = json.loads(Path("out/manifest.json").read_text())["files"]
    assert [row["edit"].get("fit") for row in rows] == [None, "stretch", None]
    assert rows[2]["edit"]["mask_is"] == "black"


# --- sounds -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def music() -> Model:
    return multigen.load("audio_music", device="cpu")


@pytest.fixture(scope="module")
def take(music: Model) -> np.ndarray:
    (made,) = music.generate("flute, E minor, 84 bpm", seed=0, steps=6)
    return made.tensor[0].numpy()


def jump(x: np.ndarray, at: int, reach: int = 64) -> float:
    """The largest step between samples near a place, relative to the largest thousandth anywhere: a click is over 3."""
    steps = np.abs(np.diff(x))
    return float(steps[max(at - reach, 0) : at + reach].max() / np.quantile(steps, 0.999))


@pytest.mark.parametrize("n", [100_000, 99_840, 66_151])
def test_a_gap_is_filled_and_all_else_stays_to_the_last_sample(
    here: Path, music: Model, take: np.ndarray, n: int
) -> None:
    soundfile.write("in.wav", take[:n], 22_050)
    before = soundfile.read("in.wav", dtype="int16")[0]
    keep = torch.ones(n, dtype=torch.bool)
    a, b = n // 3, n // 2
    keep[a:b] = False
    (made,) = music.edit("in.wav", "flute, E minor, 84 bpm", keep=keep, seed=1, steps=4)
    made.save("out.wav")
    after = soundfile.read("out.wav", dtype="int16")[0]
    fade = round(0.05 * 22_050)
    assert len(after) == n
    assert np.array_equal(after[: a - fade], before[: a - fade])
    assert np.array_equal(after[b + fade :], before[b + fade :])
    assert (
        max(jump(after / 32768, place) for place in (a - fade, a, b, b + fade)) < 2
    )  # a note may begin there
    assert np.abs(after[a:b] - before[a:b]).mean() > 50


def test_a_stereo_song_at_48_khz_stays_one(
    here: Path, music: Model, take: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    """9 s, the right channel at a third of the left one's level, in 24 bits."""
    tone = np.interp(np.arange(432_001) * 22_050 / 48_000 % (len(take) - 1), np.arange(len(take)), take)
    song = np.stack([0.9 * tone, 0.3 * tone], 1)
    soundfile.write("song.wav", song, 48_000, subtype="PCM_24")
    before = soundfile.read("song.wav")[0]
    with caplog.at_level("INFO", logger="multigen"):
        (made,) = music.edit("song.wav", "flute, E minor, 84 bpm", keep="0:3s,5s:", seed=1, steps=4)
    assert "48000 Hz, 2 channels; the model makes 22050 Hz, 1 channel" in caplog.text
    made.save("out.wav")
    after, rate = soundfile.read("out.wav")
    assert (after.shape, rate, soundfile.info("out.wav").subtype) == ((432_001, 2), 48_000, "PCM_24")
    fade, a, b = 2400, 3 * 48_000, 5 * 48_000
    assert np.array_equal(after[: a - fade], before[: a - fade])
    assert np.array_equal(after[b + fade :], before[b + fade :])
    assert max(jump(after[:, c], place, 4000) for place in (a, b) for c in (0, 1)) < 2
    levels = np.sqrt((after[a + fade : b - fade] ** 2).mean(0))
    assert levels[0] > 0.01
    assert levels[1] / levels[0] == pytest.approx(1 / 3, rel=0.02)


def test_441_000_samples_stay_441_000_and_a_hot_sound_stays_as_it_is(
    here: Path, music: Model, take: np.ndarray
) -> None:
    soundfile.write("ten.wav", np.resize(take, 441_000), 44_100)
    (made,) = music.edit("ten.wav", "flute", keep="0:9s", steps=1)
    assert made.tensor.shape == (1, 441_000)
    hot = 1.3 * take[:60_000] / np.abs(take[:60_000]).max()
    soundfile.write("hot.wav", hot, 22_050, subtype="FLOAT")
    (made,) = music.edit("hot.wav", "flute, E minor", extend="1s", steps=2)
    made.save("out.wav")
    after = soundfile.read("out.wav", dtype="float32")[0]
    k = 60_000 - round(0.05 * 22_050)
    assert np.array_equal(after[:k], hot.astype(np.float32)[:k])
    assert np.abs(after[60_000:]).max() <= 1
    assert jump(after, 60_000) < 1.5


def test_a_loop_of_the_models_closes(music: Model) -> None:
    """The step from its last sample to its first is one of a wave, not a click (2.5 where the vocoder saw two ends)."""
    (made,) = music.generate(
        "flute, E minor, 84 bpm", seed=2, steps=4, duration=10.0, sliding_window=True, tile=True
    )
    twice = np.concatenate([made.tensor[0].numpy()] * 2)
    assert jump(twice, len(twice) // 2) < 1.5
