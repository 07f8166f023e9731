"""Run folders: nothing mixed, nothing lost, whoever comes second; what needs no work is refused before any."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock

import multigen
from multigen.errors import MultigenError, RecipeError, TrainingError
from multigen.generation.request import Request
from multigen.modalities.image import Image
from multigen.model.compatibility import check_combination
from multigen.recipe.load import load_recipe
from multigen.recipe.manifest import verify
from multigen.runs import jobs as runs
from multigen.runs.media import Made, make_media
from multigen.runs.media_set import MediaSet
from multigen.runs.sample import sample
from multigen.storage.claim import claimed
from multigen.storage.lock import locked

TINY = [
    "weights=null",
    "train.steps=2",
    "train.minutes=null",
    "train.batch=4",
    "train.held_out_every=0",
    "train.preview_every=0",
    "train.tensorboard=false",
    "backbone.widths=[16,16]",
    "backbone.attention=[false,true]",
    "sample.steps=2",
    "sample.n=1",
    "sample.prompts=['3']",
]


def tiny(*overrides: str, name: str = "image_digits") -> multigen.Recipe:
    return load_recipe(name, [*TINY, *overrides])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.run(tiny(), out=tmp_path_factory.mktemp("run") / "digits", device="cpu", quiet=True)


def copy(folder: Path, to: Path) -> Path:
    import shutil

    return Path(shutil.copytree(folder, to))


def test_weights_without_checkpoints_are_sampled_and_kept(trained: Path, tmp_path: Path) -> None:
    import shutil

    folder = copy(trained, tmp_path / "given")
    shutil.rmtree(folder / "checkpoints")
    before = (folder / "weights.safetensors").read_bytes()
    runs.run(load_recipe(str(folder)), out=folder, device="cpu", quiet=True)
    assert (folder / "weights.safetensors").read_bytes() == before
    runs.run(load_recipe(str(folder), ["train.steps=7"]), out=folder, device="cpu", quiet=True)
    assert load_recipe(str(folder)).train.steps == 2  # the record is of what was trained
    with pytest.raises(MultigenError, match="no checkpoint to continue from.*train.init="):
        runs.train(load_recipe(str(folder)), out=folder, device="cpu", quiet=True)
    with pytest.raises(RecipeError, match="another training"):
        runs.run(tiny("backbone.widths=[16,32]"), out=folder, device="cpu", quiet=True)
    assert (folder / "weights.safetensors").read_bytes() == before


@pytest.mark.parametrize("steps", [2, 4])
def test_force_with_another_network_leaves_the_folder_as_it_was(
    trained: Path, tmp_path: Path, steps: int
) -> None:
    folder = copy(trained, tmp_path / "forced")
    other = tiny("backbone.widths=[16,32]", f"train.steps={steps}")
    with pytest.raises(MultigenError, match=r"another model.*expected \["):
        runs.run(other, out=folder, device="cpu", quiet=True, force=True)
    assert multigen.load(folder, device="cpu").generate("3", steps=1)


def test_a_second_command_is_refused_and_leaves_the_first_ones_lock(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    first = FileLock(folder / ".lock", timeout=0)
    with first:
        for _ in range(2):
            with pytest.raises(MultigenError, match="another multigen command"), locked(folder):
                raise AssertionError("got in")
        assert (folder / ".lock").exists()
    with locked(folder):
        (folder / "kept").touch()
    assert (folder / "kept").exists()


def test_errors_inside_are_not_blamed_on_the_folder(tmp_path: Path) -> None:
    with pytest.raises(PermissionError, match="elsewhere"), locked(tmp_path / "run"):
        raise PermissionError(13, "elsewhere")
    assert not (tmp_path / "run").exists()


def test_older_media_keep_their_manifest(trained: Path, tmp_path: Path) -> None:
    folder = copy(trained, tmp_path / "again")
    seeds = [entry["seed"] for entry in json.loads((folder / "manifest.json").read_text())["files"]]
    runs.run(tiny("seed=0", "train.steps=3"), out=folder, device="cpu", quiet=True)  # trains on: other media
    assert verify(folder) == []
    assert verify(folder / "media-1") == []
    kept = json.loads((folder / "media-1" / "manifest.json").read_text())["files"]
    assert [entry["seed"] for entry in kept] == seeds


def test_the_report_survives_a_missing_file_and_a_strangers_manifest(trained: Path, tmp_path: Path) -> None:
    folder = copy(trained, tmp_path / "shared")
    outside = tmp_path / "secret.png"
    Image(size=8).write(Image(size=8).fit(__import__("torch").zeros(3, 8, 8), (3, 8, 8)), outside)
    manifest = json.loads((folder / "manifest.json").read_text())
    entry = manifest["files"][0]
    manifest["files"] = [{**entry, "file": "../secret.png"}, {**entry, "file": "media/gone.png"}]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    runs.train(load_recipe(str(folder)), out=folder, device="cpu", quiet=True)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "secret" not in page
    assert "gone.png" in page


def test_samples_go_into_folders_of_their_own(trained: Path, tmp_path: Path) -> None:
    folder = copy(trained, tmp_path / "run")
    recipe = (folder / "recipe.yaml").read_text()
    one, two = (
        sample(
            str(folder),
            requests=[Request("4")],
            overrides=["sampler={name: ddim, eta: 0.5}"],
            device="cpu",
            quiet=True,
        )
        for _ in range(2)
    )
    (entry,) = json.loads((one / "manifest.json").read_text())["files"]
    assert entry["sampler"] == {"name": "ddim", "eta": 0.5}
    assert entry["polish"] == {"passes": 0, "noise": 0.1}
    assert {one.name, two.name} == {"samples-1", "samples-2"}
    assert "name: ddim" in (one / "sampled.yaml").read_text()
    assert (folder / "recipe.yaml").read_text() == recipe
    with pytest.raises(MultigenError, match="this is a run folder"):
        sample(str(folder), out=folder, device="cpu", quiet=True)
    with pytest.raises(MultigenError, match="not a run folder"):
        multigen.load(one)
    with pytest.raises(RecipeError, match="backbone: the weights of"):
        sample(str(folder), overrides=["backbone.widths=[8,8]"], device="cpu", quiet=True)


def test_a_refused_prompt_leaves_nothing_behind(trained: Path, tmp_path: Path) -> None:
    folder = copy(trained, tmp_path / "run")
    with pytest.raises(MultigenError, match="^prompt: 'elephant' is not allowed"):
        sample(str(folder), requests=[Request("elephant")], device="cpu", quiet=True)
    assert not list(folder.glob("samples-*"))


def test_classes_of_the_data_and_of_the_recipe_must_agree(tmp_path: Path) -> None:
    import torch

    for name in ("cats", "dogs"):
        for k in range(3):
            (tmp_path / "media" / name).mkdir(parents=True, exist_ok=True)
            Image().write(torch.rand(3, 12, 12) * 2 - 1, tmp_path / "media" / name / f"{k}.png")
    own = [
        f"data.path={tmp_path / 'media'}",
        "modality.size=8",
        "conditioner.name=label",
        "sample.prompts=[cats]",
    ]
    folder = runs.run(tiny(*own, name="image_folder"), out=tmp_path / "run", device="cpu", quiet=True)
    assert load_recipe(str(folder)).conditioner.args["classes"] == ["cats", "dogs"]
    (tmp_path / "media" / "ants").mkdir()
    Image().write(torch.rand(3, 12, 12) * 2 - 1, tmp_path / "media" / "ants" / "0.png")
    with pytest.raises(RecipeError, match=r"conditioner.classes: \['cats', 'dogs'\].*'ants', 'cats', 'dogs'"):
        runs.run(tiny(*own, "train.steps=3", name="image_folder"), out=folder, device="cpu", quiet=True)
    with pytest.raises(MultigenError, match="prompt.*catz.*Did you mean 'cats'"):
        runs.run(tiny(*own[:3], "sample.prompts=[catz]", name="image_folder"), out=tmp_path / "b", quiet=True)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["sample.suffix=.mp4"], r"sample.suffix: '.mp4'.*\.png"),
        (["sampler.name=ddim", "sampler.eta=3"], r"sampler \(ddim\).*eta"),
        (["train.objective.name=min_snr", "train.objective.gamma=-1"], r"train.objective \(min_snr\)"),
        (["backbone.widths=[16,16,16]"], "attention"),
        (["sample.prompts=[ten]"], "ten"),
        (["evaluate.nonsense=3"], "evaluate"),
        (["prediction.name=eps"], "alpha = 0"),
        (
            ["train.noise_level.name=logit_normal", "schedule.name=edm", "timesteps.name=karras"],
            "use log_normal",
        ),
    ],
)
def test_what_cannot_work_is_refused_before_any_work(overrides: list[str], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        check_combination(tiny(*overrides))


def test_a_device_that_is_not_here_and_missing_weights_come_first(tmp_path: Path) -> None:
    with pytest.raises(MultigenError, match="--device: 'nope'.*cpu"):
        runs.run(tiny(), out=tmp_path / "a", device="nope", quiet=True)
    with pytest.raises(MultigenError, match=r"gone\.safetensors: no such file"):
        runs.run(tiny("train.init=gone.safetensors"), out=tmp_path / "a", quiet=True)
    assert not (tmp_path / "a").exists()


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals to a process group")
@pytest.mark.parametrize("workers", [0, 1])
def test_ctrl_c_in_a_terminal_saves_and_says_how_to_go_on(tmp_path: Path, workers: int) -> None:
    settings = [*TINY, "train.steps=100000", f"train.workers={workers}", "train.log_every=1"]
    folder = tmp_path / "run"
    command = [
        sys.executable,
        "-m",
        "multigen",
        "run",
        "image_digits",
        *settings,
        "--quiet",
        "--out",
        str(folder),
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    until = time.monotonic() + 120
    while not (folder / "log.jsonl").is_file() or (folder / "log.jsonl").stat().st_size == 0:
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert f"all is saved. Resume with: multigen run {folder}" in stderr
    assert "Traceback" not in stderr
    again = [sys.executable, "-m", "multigen", "run", str(folder), "train.steps=1", "--quiet"]
    done = subprocess.run(again, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == str(folder)
    assert (folder / "report.html").is_file()


def _hold(folder: Path, ready: str) -> None:
    with locked(folder):
        Path(ready).touch()
        time.sleep(60)


def _read(folder: Path, ready: str) -> None:
    """As a reader of a killed training, which has the lock's file open until it notices."""
    import fcntl

    with (folder / ".lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        Path(ready).touch()
        time.sleep(0.5)


def _started(target: Callable[..., None], folder: Path, ready: Path) -> Any:
    process = multiprocessing.get_context("fork").Process(target=target, args=(folder, str(ready)))
    process.start()
    until = time.monotonic() + 60
    while not ready.exists() and time.monotonic() < until:
        time.sleep(0.01)
    return process


@pytest.mark.skipif(os.name != "posix", reason="fork and SIGKILL")
def test_the_lock_names_its_holder_and_is_stale_when_that_is_killed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "run"
    process = _started(_hold, folder, tmp_path / "held")
    held = f"another multigen command.*process {process.pid} on "
    with pytest.raises(MultigenError, match=held), locked(folder):
        raise AssertionError("got in")
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    reader = _started(_read, folder, tmp_path / "read")
    with locked(folder):
        (folder / "kept").touch()
        assert f"process {process.pid} has died; waiting for its readers" in caplog.text
        assert f'"pid": {os.getpid()}' in (folder / ".lock").read_text()
    reader.join()
    (folder / ".lock").write_text((folder / ".lock").read_text().replace(str(os.getpid()), "4194305"))
    with locked(folder):  # nobody holds it: no word is needed
        assert caplog.text.count("has died") == 1


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x"}', '{"pid": 1e999, "host": "", "since": ""}'])
def test_whatever_the_locks_file_holds_it_is_only_the_message_that_is_poorer(
    tmp_path: Path, text: str
) -> None:
    with FileLock(tmp_path / ".lock", timeout=0):
        (tmp_path / ".lock").write_text(text)
        with (
            pytest.raises(MultigenError, match="in this folder. Choose another folder with"),
            locked(tmp_path),
        ):
            raise AssertionError("got in")
    with locked(tmp_path):
        pass


def test_a_folder_that_cannot_be_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name in ("file", "file/below", "loop", "x" * 300):
        with pytest.raises(MultigenError, match="cannot be written to"), locked(tmp_path / name):
            raise AssertionError("got in")


def test_a_folder_removed_under_a_command_hides_no_error(tmp_path: Path) -> None:
    import shutil

    def work() -> None:
        with locked(tmp_path / "run"):
            shutil.rmtree(tmp_path / "run")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()


def test_media_that_are_not_finite_are_not_written_and_older_ones_stay(trained: Path, tmp_path: Path) -> None:
    model = multigen.load(trained, device="cpu")
    (good,) = model.generate("3", steps=1)
    bad = dataclasses.replace(good, tensor=torch.full_like(good.tensor, float("nan")))
    with claimed(tmp_path / "set") as claim:
        kept = MediaSet(model, claim, {"n": 2}, 2)
        with pytest.raises(TrainingError, match=r"media/001_.*not finite.*1 of 2 are in .*--resume"):
            make_media(kept, model, lambda *_: [Made(0, good), Made(1, bad)], quiet=True)
    (path,) = (tmp_path / "set" / "media").iterdir()
    assert path.name.startswith("000_")
    assert verify(tmp_path / "set") == []
    with claimed(tmp_path / "set") as claim:
        again = MediaSet(model, claim, {"n": 2}, 2)
        assert again.there == {0}
        assert make_media(again, model, lambda *_: [Made(1, good)], quiet=True)[0] == path
    with claimed(tmp_path / "none") as claim, pytest.raises(TrainingError):
        make_media(MediaSet(model, claim, {"n": 1}, 1), model, lambda *_: [Made(0, bad)], quiet=True)
    assert not (tmp_path / "none").exists()
