"""Weights say what they know: those that are carried, a run's, an exported file's; prompts beyond it are warned of."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import torch

import multigen
from multigen.cli.main import main
from multigen.conditioners.knowledge import FILE
from multigen.model.export import export
from multigen.model.knowledge import with_loras
from multigen.recipe.load import load_recipe
from multigen.recipe.schema import WeightedLora
from multigen.runs import jobs as runs

KNOWN = {
    "image_emoji": ["red apple", "purple tomato", "green apple", "a slice of pizza", "🍎", "yellow mango"],
    "audio_music": [
        "church organ, G major, 92 bpm",
        "flute, E minor",
        "harpsichord, C major",
        "reed organ, 76 bpm",
    ],
    "video_moving_emoji": [
        "red apple moving left",
        "cat moving up",
        "dog moving left",
        "a rose moving right",
    ],
}
UNKNOWN = {
    "image_emoji": [
        "cat",
        "rocket",
        "blue heart",
        "electric guitar solo",
        "a portrait of a woman",
        "red car",
    ],
    "audio_music": ["electric guitar solo", "violin, D minor, 90 bpm", "techno, 128 bpm", "dog barking"],
    "video_moving_emoji": [
        "ocean waves",
        "a man walking in the street",
        "electric guitar solo",
        "dancing woman",
    ],
}


@pytest.mark.parametrize("name", KNOWN)
def test_shipped_models_tell_what_they_know(name: str) -> None:
    model = multigen.load(name, device="cpu")
    assert model.knowledge is not None and model.knowledge.about
    for prompt in [*KNOWN[name], *load_recipe(name).sample.prompts]:
        verdict = model.judge(prompt)
        assert verdict is not None and not verdict.is_new, prompt
    for prompt in UNKNOWN[name]:
        verdict = model.judge(prompt)
        assert verdict is not None and verdict.is_new, prompt
    assert model.judge("") is None


def test_a_prompt_it_does_not_know_is_warned_of_in_python() -> None:
    model = multigen.load("image_emoji", device="cpu")
    expected = r"'rocket' is unlike what image_emoji was trained on \(novelty 0\.\d\d, new words: rocket\).*" \
        r"image_emoji knows food and drink.*; nearest: \w+"  # fmt: skip
    with pytest.warns(UserWarning, match=expected):
        model.generate("rocket", steps=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.generate("red apple", steps=1)


def test_manifests_have_the_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["sample", "image_emoji", "--prompt", "red apple", "--prompt", "rocket", "-n", "1", "--steps", "1"]
    assert main([*argv, "--out", str(tmp_path / "out"), "--quiet"]) == 0
    known, new = json.loads((tmp_path / "out" / "manifest.json").read_text())["files"]
    assert known["novelty"] < 0.01
    assert new["novelty"] > 0.5


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of four steps on captioned pictures."""
    folder = tmp_path_factory.mktemp("run")
    for k, name in enumerate(["cat", "dog", "tree", "house"]):
        path = folder / "data" / f"{k}.png"
        path.parent.mkdir(exist_ok=True)
        multigen.modalities.image.Image().write(torch.full((3, 8, 8), k / 4), path)
        path.with_suffix(".txt").write_text(f"a drawing of a {name}\nthe {name}")
    options = [
        f"data.path={folder / 'data'}",
        "modality.size=16",
        "backbone.widths=[16,32]",
        "backbone.attention=[false,true]",
    ]
    options += [
        "train.steps=8",
        "train.batch=4",
        "train.warmup=0",
        "train.preview_every=0",
        "train.tensorboard=false",
    ]
    options += ["data.held_out=0", "sample.prompts=[the cat]", "train.ema_decay=0"]
    return runs.train(load_recipe("image_folder", options), out=folder / "run", device="cpu", quiet=True)


def test_a_training_writes_what_it_was_told(run: Path, tmp_path: Path) -> None:
    assert (run / FILE).is_file()
    model = multigen.load(run, device="cpu")
    assert model.knowledge is not None
    assert {"cat", "dog", "tree", "house"} <= model.knowledge.words
    known, new = model.judge("the cat"), model.judge("electric guitar solo")
    assert known is not None and not known.is_new
    assert new is not None and new.is_new
    file = export(run, tmp_path / "whole.safetensors")
    again = multigen.load(file, device="cpu")
    assert again.judge("electric guitar solo") == new
    assert again.weights_hash() == model.weights_hash()
    assert not any(k.startswith("knowledge") for k in again.state_dict())
    start = multigen.load(run, device="cpu")
    start.start_from(multigen.model.source.read_weights(file), "file")
    assert start.weights_hash() == model.weights_hash()


def test_loras_widen_it(run: Path, tmp_path: Path) -> None:
    base = multigen.load(run, device="cpu").knowledge
    assert base is not None
    assert with_loras(base, [WeightedLora(str(tmp_path), 1.0)]) is None  # trained on what it does not say
    assert with_loras(base, [WeightedLora(str(tmp_path), 0.0)]) is base
    joined = with_loras(base, [WeightedLora(str(run), 0.5)])
    assert joined is not None and len(joined.captions) == 2 * len(base.captions)


def test_a_run_that_only_sampled_is_a_start_for_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comments of the folder recipes said train.init=runs/audio_music, a folder of media without weights."""
    monkeypatch.chdir(tmp_path)
    assert main(["run", "image_digits", "sample.n=1", "sample.steps=1", "--quiet"]) == 0
    assert not (tmp_path / "runs" / "image_digits" / "weights.safetensors").exists()
    found = multigen.model.source.read_weights("runs/image_digits")
    shipped = multigen.model.source.read_weights("image_digits")
    assert found.keys() == shipped.keys()
    assert all(torch.equal(found[k], shipped[k]) for k in found)


@pytest.mark.parametrize("name", ["image", "audio", "video"])
def test_the_starts_that_the_folder_recipes_name_fit(name: str, tmp_path: Path) -> None:
    from multigen.model.model import Model
    from multigen.recipe.source import shipped

    text = shipped()[f"{name}_folder"].read_text(encoding="utf-8")
    (init,) = (word.removeprefix("train.init=") for word in text.split() if word.startswith("train.init="))
    model = Model(load_recipe(f"{name}_folder", [f"data.path={tmp_path}"]), device="cpu")
    model.start_from(multigen.model.source.read_weights(init), "train.init")
