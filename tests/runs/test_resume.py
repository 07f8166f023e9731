"""Going on in a run folder: the same bits in every modality, the same training or a refusal that says what differs."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from multigen.errors import Interrupted, MultigenError, RecipeError, TrainingError
from multigen.modalities.image import Image
from multigen.model.export import export
from multigen.recipe.dump import to_yaml
from multigen.recipe.load import load_recipe
from multigen.recipe.schema import Recipe
from multigen.runs import jobs as runs
from multigen.runs.resume import same_run
from multigen.training import checkpoint as checkpoints
from multigen.training import log as training_log
from multigen.training import trainer as trainers
from tests.training.toys import trainer

COMMON = [
    "weights=null",
    "train.steps=7",
    "train.minutes=null",
    "train.batch=4",
    "train.checkpoint_every=100",
    "train.held_out_every=3",
    "train.preview_every=3",
    "train.tensorboard=false",
    "train.warmup=2",
    "backbone.blocks=1",
    "sample.steps=2",
    "sample.n=1",
]
MODALITIES = {
    "image_digits": [
        "backbone.widths=[8,16]",
        "backbone.attention=[false,true]",
        "train.sizes=[14,[28,20],28]",
        "sample.prompts=['3']",
    ],
    "audio_folder": [
        "backbone.widths=[16]",
        "backbone.attention=[false]",
        "modality.seconds=0.5",
        "train.durations=[0.2,0.5]",
        "sample.duration=null",
        "conditioner.name=none",
        "sample.prompts=['']",
    ],
    "video_moving_emoji": [
        "backbone.widths=[8,16]",
        "backbone.attention=[false,false]",
        "modality.size=8",
        "modality.frames=2",
        "train.sizes=[4,8]",
        "train.durations=[0.125,0.25]",
        "conditioner.name=none",
        "sample.prompts=['']",
    ],
    "vae_folder": [
        "codec={name: kl_vae, widths: [8,16]}",
        "modality.size=16",
        "train.sizes=[8,16]",
        "train.critic={name: patches, channels: 4, start: 0.4}",
        "train.reconstruction={name: pictures, perceptual: 0}",
    ],
}


def small(name: str, folder: Path, *overrides: str) -> Recipe:
    own = list(MODALITIES[name])
    if name == "audio_folder":
        own.append(f"data.path={tones(folder / 'tones')}")
    if name == "vae_folder":
        own.append(f"data.path={discs(folder / 'discs')}")
    common = [one for one in COMMON if name != "vae_folder" or not one.startswith("backbone.")]
    return load_recipe(name, [*common, *own, *overrides])


def discs(folder: Path) -> Path:
    """Ten pictures of 20 x 24 pixels."""
    if not folder.is_dir():
        folder.mkdir(parents=True)
        for k in range(10):
            media = torch.rand(3, 20, 24, generator=torch.Generator().manual_seed(k)) * 2 - 1
            Image().write(media, folder / f"{k}.png")
    return folder


def tones(folder: Path) -> Path:
    """Ten files of half a second, one pitch each."""
    import numpy as np
    import soundfile

    if not folder.is_dir():
        folder.mkdir(parents=True)
        for k in range(10):
            wave = 0.5 * np.sin(2 * np.pi * (220 + 40 * k) * np.arange(11025) / 22050)
            soundfile.write(folder / f"{k}.wav", wave, 22050)
    return folder


def digest(run: Path) -> str:
    newest = checkpoints.newest(run / "checkpoints")
    assert newest is not None and newest.name == "step-00000007"
    loaded = checkpoints.load(newest)
    assert {"weights", "ema", "optimizer"} <= loaded.tensors.keys()
    assert any(name.endswith("exp_avg_sq") for name in loaded.tensors["optimizer"])
    return checkpoints.digest(loaded)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODALITIES)
def test_an_interrupted_training_ends_with_the_same_bits(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped at step 5, in mid-epoch, by SIGTERM, with readers, previews, changing sizes; moved, and gone on with."""
    recipe = small(name, tmp_path, "train.workers=1")
    whole = runs.train(recipe, out=tmp_path / "whole", device="cpu", quiet=True)
    update = trainers.Trainer._update

    def stop(self: Any, batch: Any) -> dict[str, float]:
        if self.step == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return update(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(trainers.Trainer, "_update", stop)
        with pytest.raises(Interrupted) as stopped:
            runs.train(recipe, out=tmp_path / "parts", device="cpu", quiet=True)
    assert (stopped.value.code, stopped.value.step) == (143, 5)
    moved = tmp_path / "elsewhere" / "moved"
    moved.parent.mkdir()
    (tmp_path / "parts").rename(moved)
    with (moved / "log.jsonl").open("ab") as file:  # a machine that went down while it wrote
        file.write(b'{"step": 5, "los\0\xff')
    runs.train(load_recipe(str(moved)), out=moved, device="cpu", quiet=True)
    assert digest(moved) == digest(whole)
    weights = [(run / "weights.safetensors").read_bytes() for run in (moved, whole)]
    assert weights[0].partition(b"}}")[2] == weights[1].partition(b"}}")[2]
    assert {p.name for p in (moved / "previews").glob("*.png")} == {f"step-0000000{k}.png" for k in (3, 6)}
    rows = training_log.read(moved)
    assert [r["step"] for r in rows if "held_out" in r] == [3, 6, 7]
    assert not [p for p in moved.rglob(".*") if p.name != ".lock"]


# --- another training --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with checkpoints at steps 1 and 2, its training not over."""
    folder = tmp_path_factory.mktemp("resume") / "run"
    recipe = digits("train.steps=2", "train.checkpoint_every=1")
    runs.train(recipe, out=folder, device="cpu", quiet=True)
    (folder / "weights.safetensors").unlink()
    return folder


def digits(*overrides: str) -> Recipe:
    quiet = ["train.held_out_every=0", "train.preview_every=0"]
    return small("image_digits", Path(), *quiet, *overrides)


def test_another_vocoder_is_no_other_training(tmp_path: Path) -> None:
    """What sounds is made after sampling: nothing that was trained knows it."""
    before = load_recipe("audio_music", ["weights=null", "codec.vocoder=griffin_lim"])
    (tmp_path / "recipe.yaml").write_text(to_yaml(before))
    same_run(load_recipe("audio_music", ["weights=null"]), tmp_path, force=False)
    with pytest.raises(RecipeError, match=r"codec\.bins: 229 -> 200"):
        same_run(load_recipe("audio_music", ["weights=null", "codec.bins=200"]), tmp_path, force=False)


def test_what_may_change_passes_and_the_rest_is_listed(stopped: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(stopped, tmp_path / "run"))
    free = [
        "steps=3", "minutes=50", "workers=1", "checkpoint_every=2", "keep=5", "keep_every=7", "keep_best=true",
        "skip=0", "log_every=1", "held_out_every=9", "preview_every=9", "bad_media=0.2",
    ]  # fmt: skip
    runs.train(digits(*(f"train.{f}" for f in free)), out=run, device="cpu", quiet=True)
    assert checkpoints.newest(run / "checkpoints") == run / "checkpoints" / "step-00000003"
    changed = [
        "train.lr=1",
        "train.ema_decay=0.5",
        "train.batch=8",
        "schedule.name=cosine",
        "seed=5",
        "train.grad_clip=3",
    ]
    with pytest.raises(RecipeError, match="holds another training of image_digits.*--force") as error:
        runs.train(digits("train.steps=4", *changed), out=run, device="cpu", quiet=True)
    for row in (
        "train.lr: ",
        "-> 1.0",
        "train.ema_decay: ",
        "train.batch: 4 -> 8",
        "schedule.name",
        "seed: 0 -> 5",
    ):
        assert row in str(error.value)
    forced = digits("train.steps=4", "train.lr=0.01", "train.batch=8")
    runs.train(forced, out=run, device="cpu", quiet=True, force=True)
    assert load_recipe(str(run)).train.batch == 8


def test_a_checkpoint_of_another_network_says_what_made_it(stopped: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(stopped, tmp_path / "run"))
    other = digits("train.steps=3", "backbone.widths=[8,24]")
    with pytest.raises(
        MultigenError, match=r"another model.*is \[.*expected \[.*made by recipe image_digits"
    ):
        runs.train(other, out=run, device="cpu", quiet=True, force=True)
    assert checkpoints.newest(run / "checkpoints") == run / "checkpoints" / "step-00000002"


def test_a_broken_checkpoint_is_named_and_the_one_before_used(
    stopped: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Path(shutil.copytree(stopped, tmp_path / "run"))
    (run / "checkpoints" / ".step-00000009.tmp").mkdir()
    (run / ".recipe.4194305.tmp.yaml").write_text("half")
    (run / "checkpoints" / "step-00000002" / "ema.safetensors").write_bytes(b"cut")
    runs.train(digits("train.steps=2", "train.keep=9"), out=run, device="cpu", quiet=True)
    assert "step-00000002 is broken: ema.safetensors has 3 bytes" in caplog.text
    names = sorted(p.name for p in (run / "checkpoints").iterdir())
    assert names == ["latest", "step-00000001", "step-00000002"]
    assert not list(run.glob(".recipe*"))


def test_where_no_checkpoint_verifies_nothing_is_lost_unasked(stopped: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(stopped, tmp_path / "run"))
    for path in checkpoints.found(run / "checkpoints"):
        (path / "manifest.json").write_text("{}")
    before = sorted(run.rglob("*"))
    with pytest.raises(TrainingError, match="no checkpoint there verifies.*--force"):
        runs.train(digits("train.steps=3"), out=run, device="cpu", quiet=True)
    assert sorted(run.rglob("*")) == before
    runs.train(digits("train.steps=3"), out=run, device="cpu", quiet=True, force=True)
    names = [p.name for p in checkpoints.found(run / "checkpoints")]
    assert names == ["step-00000003"]


def test_another_torch_is_named(stopped: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from multigen.runs.resume import note_versions

    state = checkpoints.load(stopped / "checkpoints" / "step-00000002")
    note_versions(state)
    assert not caplog.records
    note_versions(checkpoints.Checkpoint({}, {"versions": {"torch": "1.0"}}))
    assert "with torch 1.0" in caplog.text
    for strange in ({}, {"versions": 3}, {"versions": {}}):
        note_versions(checkpoints.Checkpoint({}, strange))


# --- at any time -------------------------------------------------------------------------------------------------


def _saving(folder: Path, steps: int) -> None:
    """A training that does little but save, in a process of its own."""
    t = trainer(folder, steps=steps, checkpoint_every=1, keep=1)
    checkpoints.tidy(folder / "checkpoints")
    newest = checkpoints.newest(folder / "checkpoints")
    if newest is not None:
        t.restore(checkpoints.load(newest))
    t.run()


def started(folder: Path) -> Any:
    process = multiprocessing.get_context("fork").Process(target=_saving, args=(folder, 100000))
    process.start()
    return process


@pytest.mark.skipif(os.name != "posix", reason="fork and SIGKILL")
def test_killed_while_saving_it_goes_on_from_the_save_before(tmp_path: Path) -> None:
    place, at = tmp_path / "checkpoints", 0
    for k in range(8):
        process = started(tmp_path)
        until = time.monotonic() + 60
        while time.monotonic() < until:
            saving = sorted(place.glob(".step-*.tmp"))
            if saving and int(saving[-1].name[6:-4]) > at + 2:
                break
        time.sleep(0.001 * k)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        begun = [int(p.name[6:-4]) for p in place.glob(".step-*.tmp")]
        checkpoints.tidy(place)
        newest = checkpoints.newest(place)
        assert newest is not None
        assert checkpoints.step_of(newest) >= max([at + 1, *(step - 1 for step in begun)])
        at = checkpoints.step_of(newest)
        assert not [p.name for p in place.iterdir() if p.name.startswith(".")]
        assert (place / "latest").read_text().strip() == newest.name


@pytest.mark.skipif(os.name != "posix", reason="fork and SIGKILL")
def test_export_while_the_training_goes_on_elsewhere(stopped: Path, tmp_path: Path) -> None:
    """Each export is whole, and the training does not notice."""
    run = Path(shutil.copytree(stopped, tmp_path / "run"))
    ctx = multiprocessing.get_context("fork")
    more = digits("train.steps=100000", "train.checkpoint_every=1", "train.keep=1")
    process = ctx.Process(
        target=runs.train, args=(more,), kwargs={"out": run, "device": "cpu", "quiet": True}
    )
    process.start()
    try:
        steps = set()
        end = time.monotonic() + 60
        while len(steps) < 4 and time.monotonic() < end:
            out = tmp_path / f"{time.monotonic_ns()}.safetensors"  # nothing is replaced
            steps.add(export(str(run), out).read_bytes())
        assert process.is_alive()
        assert len(steps) > 1  # it did go on
    finally:
        process.terminate()
        process.join(60)
    newest = checkpoints.newest(run / "checkpoints")
    assert newest is not None and checkpoints.step_of(newest) > 2
