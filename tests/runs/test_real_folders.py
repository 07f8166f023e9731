"""Trainings on folders as people have them: damaged and odd files, tiny sets, a run folder inside the data."""

from __future__ import annotations

import ctypes
import logging
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image as PillowImage
from torch import Tensor

from multigen.datasets.folder import Folder
from multigen.errors import MediaError, MultigenError, RecipeError, TrainingError
from multigen.evaluation.media_folder import MediaFolder
from multigen.evaluation.sets import folder_set
from multigen.generation.original import read_original
from multigen.modalities.audio import Audio
from multigen.modalities.image import Image
from multigen.model.model import Model
from multigen.recipe.load import load_recipe
from multigen.recipe.schema import Recipe
from multigen.runs import jobs as runs
from multigen.storage.tensors import load_tensors
from multigen.training import log as training_log
from tests.modalities.files import encode

RATE = 22050
COMMON = ["weights=null", "train.steps=3", "train.minutes=null", "train.batch=4", "train.preview_every=0",
          "train.held_out_every=0", "train.log_every=1", "train.tensorboard=false", "backbone.widths=[16]",
          "backbone.attention=[true]", "data.captions=none", "sample.steps=2", "sample.n=1"]  # fmt: skip
SOUND = ["modality.seconds=1.0", "codec.components=8", "data.gain=0"]


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTIGEN_CACHE", str(tmp_path_factory.mktemp("cache")))


def sounds(path: Path, *more: str) -> Recipe:
    return load_recipe("audio_folder", [*COMMON, *SOUND, f"data.path={path}", *more])


def pictures(path: Path, *more: str) -> Recipe:
    small = ["modality.size=16", "codec.unshuffle=1", f"data.path={path}"]
    return load_recipe("image_folder", [*COMMON, *small, *more])


def tone(k: int, seconds: float = 1.5) -> np.ndarray:
    t = np.arange(round(RATE * seconds)) / RATE
    return (0.3 * np.sin(2 * np.pi * (220 + 55 * k) * t)).astype(np.float32)


def losses(folder: Path) -> list[float]:
    return [row["loss"] for row in training_log.read(folder) if "loss" in row]


def statistics(folder: Path) -> dict[str, Tensor]:
    """What a run keeps of its codec."""
    tensors = load_tensors(folder / "weights.safetensors")
    return {name: value for name, value in tensors.items() if name.startswith("codec.")}


def test_a_film_in_seven_point_one_trains_with_the_rest(tmp_path: Path) -> None:
    wave = np.zeros((8, 48000 * 2), np.float32)
    wave[0] = 0.3 * np.sin(2 * np.pi * 440 * np.arange(96000) / 48000)
    (tmp_path / "data").mkdir()
    for name, codec in {"a.mkv": "flac", "b.m4a": "aac", "c.flac": "flac", "d.caf": "pcm_s16le"}.items():
        encode(tmp_path / "data" / name, wave, codec, 48000, bits=0)
    soundfile.write(tmp_path / "data" / "s.wav", tone(0), RATE)
    folder = runs.train(sounds(tmp_path / "data"), out=tmp_path / "run", device="cpu", quiet=True)
    assert len(losses(folder)) == 3
    assert all(math.isfinite(loss) for loss in losses(folder))


def test_sounds_that_are_not_finite_are_skipped_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The codec's statistics are those of the good files alone, and no loss is NaN."""
    for name in ("good", "mixed"):
        (tmp_path / name).mkdir()
        for k in range(6):
            soundfile.write(tmp_path / name / f"s{k}.wav", tone(k, 1.0), RATE, subtype="FLOAT")
    for name, value in (("bad", np.nan), ("huge", 1e29)):
        wave = tone(9, 1.0)
        wave[5000:5100] = value
        soundfile.write(tmp_path / "mixed" / f"{name}.wav", wave, RATE, subtype="FLOAT")
    more = ["train.bad_media=0.5", "data.held_out=0", "train.steps=6"]
    kept = {}
    for name in ("good", "mixed"):
        with caplog.at_level(logging.WARNING):
            folder = runs.train(
                sounds(tmp_path / name, *more), out=tmp_path / f"run-{name}", device="cpu", quiet=True
            )
        assert all(math.isfinite(loss) for loss in losses(folder)) and len(losses(folder)) == 6
        kept[name] = statistics(folder)
    assert kept["good"] and kept["good"].keys() == kept["mixed"].keys()
    for name, value in kept["good"].items():
        torch.testing.assert_close(kept["mixed"][name], value, atol=1e-4, rtol=1e-3)
    said = sorted(r.getMessage() for r in caplog.records if r.getMessage().startswith("skipped: "))
    assert [line.split(": ")[1].rpartition("/")[2] for line in said] == ["bad.wav", "huge.wav"]
    assert "not finite" in said[0] and "at 0.227 s" in said[0]
    # Two of eight are more than the default allows: the message names the file, not the learning rate.
    with pytest.raises(TrainingError, match=r"2 of 8 items could not be read.*(bad|huge)\.wav: samples"):
        runs.train(sounds(tmp_path / "mixed", *more[1:]), out=tmp_path / "strict", device="cpu", quiet=True)


def test_media_that_are_not_finite_are_refused_in_edits_and_evaluations(tmp_path: Path) -> None:
    wave = tone(0)
    wave[100] = np.nan
    for k in range(8):
        soundfile.write(tmp_path / f"s{k}.wav", wave if k == 5 else tone(k), RATE, subtype="FLOAT")
    values = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    values[3, 3] = np.inf
    (tmp_path / "pictures").mkdir()
    PillowImage.fromarray(values).save(tmp_path / "pictures" / "a.tif")
    model = Model(sounds(tmp_path), device="cpu")
    with pytest.raises(MediaError, match=r"s5\.wav: samples are not finite"):
        read_original(model, tmp_path / "s5.wav")
    with pytest.raises(MultigenError, match="the medium: some values are not finite"):
        read_original(model, torch.full((1, 100), math.nan))
    with pytest.raises(MediaError, match=r"s5\.wav: samples are not finite"):
        folder_set(MediaFolder(tmp_path, Audio(rate=RATE, seconds=1.0)), "mine")
    with pytest.raises(MediaError, match=r"a\.tif: cannot be read \(some values are not finite\)"):
        Image(size=16).read(tmp_path / "pictures" / "a.tif")
    with pytest.raises(MediaError, match=r"a\.tif: .*not finite"):
        Folder(modality=Image(size=16), path=str(tmp_path / "pictures"))[0]


class Fragile(Audio):
    """Its decoder crashes on some files, as a fault in C code does."""

    def read(self, path: object, **span: float | None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        if "evil" in str(path):
            ctypes.string_at(0)
        return super().read(path, **span)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_on_which_the_decoder_crashes_is_one_unreadable_item(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, workers: int
) -> None:
    (tmp_path / "data").mkdir()
    for k in range(6):
        soundfile.write(tmp_path / "data" / f"s{k}.wav", tone(k, 1.0), RATE)
    soundfile.write(tmp_path / "data" / "evil.wav", tone(7, 1.0), RATE)
    monkeypatch.setattr("multigen.modalities.audio.Audio", Fragile)
    recipe = sounds(tmp_path / "data", "train.bad_media=0.3", f"train.workers={workers}", "data.held_out=0")
    with caplog.at_level(logging.WARNING):
        folder = runs.train(recipe, out=tmp_path / "run", device="cpu", quiet=True)
    assert len(losses(folder)) == 3
    said = [r.getMessage() for r in caplog.records if "evil.wav" in r.getMessage()]
    assert len(said) == 1
    assert said[0].endswith("evil.wav: cannot be read: its decoder crashed (SIGSEGV)")


def test_one_picture_and_sounds_shorter_than_a_clip_train(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    PillowImage.new("RGB", (40, 40), (200, 30, 30)).save(tmp_path / "one" / "only.jpg")
    run = runs.train(
        pictures(tmp_path / "one", "train.held_out_every=2"), out=tmp_path / "r1", device="cpu", quiet=True
    )
    assert len(losses(run)) == 3
    (tmp_path / "short").mkdir()
    for k in range(6):
        soundfile.write(tmp_path / "short" / f"hit{k}.wav", tone(k, 0.25), RATE)
    soundfile.write(tmp_path / "short" / "tick.wav", np.full(3, 0.5, np.float32), RATE)
    recipe = sounds(tmp_path / "short", "train.held_out_every=2", "data.held_out=0.3")
    run = runs.train(recipe, out=tmp_path / "r2", device="cpu", quiet=True)
    assert all(math.isfinite(loss) for loss in losses(run)) and len(losses(run)) == 3
    data = Folder(modality=Audio(rate=RATE, seconds=1.0), path=str(tmp_path / "short"))
    items = {item["id"]: item["media"] for item in (data[k] for k in range(len(data)))}
    assert len(items) == 7
    np.testing.assert_allclose(items["tick.wav"][0, :4], [0.5, 0.5, 0.5, 0], atol=1e-4)
    assert float(items["hit0.wav"][0, round(0.25 * RATE) :].abs().max()) == 0


def test_a_run_inside_the_data_folder_does_not_train_on_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    for k in range(4):
        PillowImage.new("RGB", (20, 20), (200, 30 * k, 30)).save(f"a{k}.jpg")
    own = ["train.batch=2", "train.preview_every=1"]
    with caplog.at_level(logging.INFO, logger="multigen"):
        folder = runs.run(pictures(Path("."), *own, "train.steps=2"), device="cpu", quiet=True)
        assert list(folder.glob("previews/*.png")) and list(folder.glob("media/*.png"))
        runs.run(pictures(Path("."), *own, "train.steps=4"), device="cpu", quiet=True)
    counts = [r.getMessage() for r in caplog.records if " pictures, " in r.getMessage()]
    assert len(counts) == 2
    assert all(line.startswith("image_folder: 4 pictures, 0 with captions") for line in counts)
    assert counts[1].endswith("left out, as multigen made them: runs/image_folder")


def test_a_recipe_that_follows_text_is_refused_where_there_is_none(tmp_path: Path) -> None:
    for k in range(3):
        PillowImage.new("RGB", (20, 20), (200, 30 * k, 30)).save(tmp_path / f"a{k}.jpg")
    auto = "data.captions=auto"
    with pytest.raises(
        RecipeError, match=r"none of the media has a caption.*text follows captions.*data.captions=none"
    ):
        runs.train(pictures(tmp_path, auto), out=tmp_path / "run", device="cpu", quiet=True)
    unconditional = [auto, "conditioner.name=none", "guide.name=plain"]
    assert runs.train(
        pictures(tmp_path, *unconditional), out=tmp_path / "run", device="cpu", quiet=True
    ).is_dir()
    (tmp_path / "a1.txt").write_text("red")
    runs.train(pictures(tmp_path, auto), out=tmp_path / "run2", device="cpu", quiet=True)
