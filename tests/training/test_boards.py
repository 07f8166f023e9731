"""Boards: TensorBoard and Weights & Biases get what the log gets; nothing is sent unless the environment says so."""

from __future__ import annotations

import importlib.util
import io
import math
import re
import time
from pathlib import Path

import pytest
import torch
from PIL import Image as PillowImage

from multigen.errors import MultigenError, RecipeError
from multigen.modalities import Modality
from multigen.modalities.audio import Audio
from multigen.modalities.image import Image
from multigen.modalities.media import Media
from multigen.modalities.video import Video
from multigen.recipe.load import load_recipe
from multigen.recipe.schema import Train
from multigen.runs import jobs as runs
from multigen.training import boards
from multigen.training import log as training_log
from multigen.training.shown import shown
from tests.training.toys import trainer

SETTINGS = {"steps": 6, "log_every": 2, "held_out_every": 6, "checkpoint_every": 6}


def test_tensorboard_gets_the_log(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    trainer(tmp_path, tensorboard=True, **SETTINGS).run()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [e.step for e in events.Scalars("train/loss")] == [2, 4, 6]
    logged = [row["loss"] for row in training_log.read(tmp_path) if "loss" in row]
    assert [e.value for e in events.Scalars("train/loss")] == pytest.approx(logged)
    assert {"held_out/mean", "train_level/0.0"} <= set(events.Tags()["scalars"])


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    for name in ("WANDB_MODE", "WANDB_PROJECT", "WANDB_NAME", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)


def offline(folder: Path, last: bytes) -> bytes:
    """What the one offline run of a run folder holds, once `last` is in it: a process of wandb's own writes it."""
    until, content = time.monotonic() + 30, b""
    while last not in content and time.monotonic() < until:
        time.sleep(0.1)
        (path,) = (folder / "wandb").glob("offline-run-*/run-*.wandb")
        content = path.read_bytes()
    return content


@pytest.mark.usefixtures("wandb")
def test_wandb_gets_the_log_and_the_recipe_without_a_network(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("name: a_toy_of_ours\n")
    trainer(tmp_path, wandb=True, **SETTINGS).run()
    content = offline(tmp_path, b"held_out/mean")
    logged = [row["loss"] for row in training_log.read(tmp_path) if "loss" in row]
    assert len(logged) == 3
    for loss in logged:
        assert str(loss).encode() in content
    for name in (b"train/loss", b"train_level/0.0", b"held_out/mean", b"a_toy_of_ours"):
        assert name in content
    assert not list((tmp_path / "wandb").glob("run-*"))  # what would be sent


MODALITIES: tuple[Modality, ...] = (Image(size=8), Audio(rate=8000, seconds=0.5), Video(size=8, frames=3))


def made(modality: Modality) -> list[Media]:
    values = torch.linspace(-0.5, 0.5, math.prod(modality.shape())).reshape(modality.shape())
    return [Media(values * (k + 1) / 2, modality, f"prompt {k}", k) for k in range(2)]


@pytest.mark.parametrize("modality", MODALITIES, ids=lambda m: m.name)
def test_tensorboard_shows_and_plays_previews(tmp_path: Path, modality: Modality) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    t = trainer(tmp_path, tensorboard=True, preview_every=2, **SETTINGS)
    t.monitor.preview = lambda step: made(modality)
    t.run()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [e.step for e in events.Images("preview")] == [2, 4]  # the last step is the result's
    picture = PillowImage.open(io.BytesIO(events.Images("preview")[0].encoded_image_string))
    assert picture.size == modality.preview([m.tensor for m in made(modality)]).size
    if modality.name == "audio":
        (tmp_path / "heard.wav").write_bytes(events.Audio("preview/1")[0].encoded_audio_string)
        heard = modality.read(tmp_path / "heard.wav")
        torch.testing.assert_close(heard, made(modality)[1].tensor, rtol=0, atol=1e-4)
    if modality.name == "video":
        clip = PillowImage.open(io.BytesIO(events.Images("preview/1")[0].encoded_image_string))
        assert clip.format == "GIF" and getattr(clip, "n_frames", 1) == 3


@pytest.mark.usefixtures("wandb")
def test_wandb_gets_previews(tmp_path: Path) -> None:
    (audio,) = (m for m in MODALITIES if m.name == "audio")
    with boards.opened(tmp_path, Train(tensorboard=False, wandb=True)) as opened:
        opened[0].show(3, shown(made(audio)))
    content = offline(tmp_path, b"preview/1")
    assert b"audio-file" in content and b"image-file" in content
    (run,) = (tmp_path / "wandb").glob("offline-run-*")
    assert len([*run.rglob("*.wav")]) == 2 and [*run.rglob("*.png")]


@pytest.mark.usefixtures("wandb")
def test_going_on_continues_the_run_of_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    for steps in (2, 4):
        with boards.opened(tmp_path, Train(steps=steps, tensorboard=False, wandb=True)) as opened:
            opened[0].write(steps, {"train/loss": 1.0})
    names = [p.name for p in (tmp_path / "wandb").glob("offline-run-*")]
    run = (tmp_path / "wandb" / "id").read_text()
    assert re.fullmatch(r"\w{8}", run) and names and all(run in n for n in names)


def test_a_missing_package_is_said_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "wandb" else found(name, *a)
    )
    recipe = load_recipe("image_digits", ["weights=null", "train.wandb=true"])
    with pytest.raises(RecipeError, match=r'train\.wandb: .* pip install -e ".*\[wandb\]"'):
        runs.train(recipe, out=tmp_path / "run", device="cpu", quiet=True)
    assert not (tmp_path / "run" / "recipe.yaml").exists()


@pytest.mark.usefixtures("wandb")
def test_what_wandb_refuses_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "ofline")
    with pytest.raises(MultigenError, match=r"WANDB_MODE: 'ofline' is not allowed.* Did you mean 'offline'"):
        boards.check(Train(wandb=True))
    import wandb

    def refuse(**settings: object) -> None:
        raise wandb.errors.UsageError("No API key configured. Use `wandb login` to log in.\nmore")

    monkeypatch.setattr(wandb, "init", refuse)
    said = r"^train\.wandb: No API key .* log in\. WANDB_MODE=offline needs no account and no network\.$"
    with (
        pytest.raises(MultigenError, match=said),
        boards.opened(tmp_path, Train(tensorboard=False, wandb=True)),
    ):
        pass


def test_nobody_asked_for_wandb() -> None:
    assert not Train().wandb
