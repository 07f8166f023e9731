"""Options that a modality declares reach a request from the command line, a line of JSON and Python, unasked."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import multigen
from multigen import parts, registry
from multigen.cli.completion import words
from multigen.cli.main import main
from multigen.cli.request_options import parse
from multigen.cli.sample import parser
from multigen.errors import MultigenError
from multigen.model.model import Model
from multigen.options import BUILTIN, Option
from multigen.recipe.schema import Recipe, Sample, Train
from multigen.registry import Part, register
from tests.model.test_fourth_modality import Curves

VOICES = {"soprano": 1.0, "alto": 0.5, "bass": 0.25}


@register("modality", "voices")
class Voices(Curves):
    """Curves that a voice makes louder or softer, and that may be turned round."""

    name = "voices"
    options = (
        Option("voice", str, "soprano", "who sings", choices=tuple(VOICES)),
        Option("gain", float, 1.0, "amplitude", above=0, metavar="X"),
        Option("turned_round", bool, False, "backwards"),
    )

    def finish(self, media: Tensor, options: Mapping[str, Any]) -> Tensor:
        out = media * VOICES[options["voice"]] * options["gain"]
        return out.flip(-1) if options["turned_round"] else out


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An untrained model of voices, and the working folder."""
    monkeypatch.chdir(tmp_path)
    recipe = Recipe(
        name="choir",
        modality=Part("voices", {"length": 32}),
        data=Part("sine_curves"),
        codec=Part("pixels"),
        backbone=Part("unet", {"widths": [8, 16], "blocks": 1, "attention": [False, False]}),
        train=Train(steps=1),
        sample=Sample(n=1, steps=2),
    )
    return Model(recipe, device="cpu").save("choir.safetensors")


def read(folder: str) -> list[Tensor]:
    curves = Curves()
    return [curves.read(path) for path in sorted(Path(folder, "media").glob("*.csv"))]


def close(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a, b, atol=2e-6)  # of what is written with six digits


FAST = ["--device", "cpu", "--quiet", "--seed", "5"]


def test_all_three_ways_say_the_same(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", str(weights), *FAST, "--out", "plain"]) == 0
    (plain,) = read("plain")
    own = ["--voice", "alto", "--gain=0.5", "--turned-round"]
    assert main(["sample", str(weights), *FAST, *own, "--out", "flags"]) == 0
    (by_flags,) = read("flags")
    assert close(by_flags, 0.25 * plain.flip(-1))
    (entry,) = json.loads(Path("flags/manifest.json").read_text())["files"]
    assert entry["options"] == {"voice": "alto", "gain": 0.5, "turned_round": True}
    line = {"prompt": "", "voice": "alto", "gain": 0.5, "turned_round": True}
    Path("requests.txt").write_text(f'{json.dumps(line)}\n{{"prompt": "", "seed": 5}}\n')
    assert main(["sample", str(weights), *FAST, "--prompts", "requests.txt", "--out", "lines"]) == 0
    by_line, other = read("lines")
    assert close(by_line, by_flags) and close(other, plain)
    values = {"voice": "alto", "gain": 0.5, "turned_round": True}
    model = multigen.load(weights, device="cpu")
    (by_python,) = model.generate(seed=5, options=values)
    assert close(by_python.tensor, by_flags)
    (streamed,) = model.stream(multigen.Request(options=values), seed=5)
    assert torch.equal(streamed.tensor, by_python.tensor)


def test_a_request_says_what_the_command_leaves_open(weights: Path) -> None:
    Path("requests.txt").write_text('{"prompt": "", "voice": "bass"}\n')
    argv = ["sample", str(weights), *FAST, "--prompts", "requests.txt", "--gain", "2", "--out", "out"]
    assert main(argv) == 0
    assert main(["sample", str(weights), *FAST, "--out", "plain"]) == 0
    assert close(read("out")[0], 0.5 * read("plain")[0])


def test_an_edit_takes_them_too_and_keeps_its_source(weights: Path) -> None:
    Curves().write(torch.linspace(-0.5, 0.5, 32)[None], Path("source.csv"))
    model = multigen.load(weights, device="cpu")
    keep = torch.zeros(32, dtype=torch.bool)
    keep[:16] = True
    how: dict[str, Any] = {"keep": keep, "feather": 0, "seed": 5}
    plain, quiet = (model.edit("source.csv", options=o, **how)[0].tensor for o in ({}, {"voice": "bass"}))
    assert torch.equal(quiet[:, :16], plain[:, :16])
    assert close(quiet[:, 16:], 0.25 * plain[:, 16:])
    argv = ["edit", str(weights), "--input", "source.csv", "--strength", "0.5", "--voice", "bass"]
    assert main([*argv, *FAST, "--out", "edited"]) == 0


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--voice", "tenor"], "argument --voice: 'tenor' is not allowed. Allowed: soprano, alto, bass."),
        (["--gain", "0"], "argument --gain: 0.0 is not allowed; give a number above 0"),
        (["--voise", "alto"], "'--voise' is not allowed"),
        (["--prompts", "wrong.txt"], "request 1: voise: 'voise' is not allowed"),
        (["--prompts", "type.txt"], "request 1: gain: 'loud' is not allowed"),
        (["--prompts", "value.txt"], "voice: 'tenor' is not allowed. Allowed: soprano, alto, bass."),
    ],
)
def test_mistakes_name_the_nearest(
    weights: Path, capsys: pytest.CaptureFixture[str], argv: list[str], said: str
) -> None:
    for name, line in (
        ("wrong", {"voise": "alto"}),
        ("type", {"gain": "loud"}),
        ("value", {"voice": "tenor"}),
    ):
        Path(f"{name}.txt").write_text(json.dumps(line))
    assert main(["sample", str(weights), *argv, *FAST, "--out", "out"]) == 2
    error = capsys.readouterr().err
    assert said in error
    if "voise" in error:
        assert "Did you mean '--voice'?" in error or "Did you mean 'voice'?" in error
    assert not Path("out").exists()


def test_python_refuses_what_is_not_declared(weights: Path) -> None:
    model = multigen.load(weights, device="cpu")
    with pytest.raises(MultigenError, match=r"options: 'voise' is not allowed.*Did you mean 'voice'"):
        model.generate(options={"voise": "alto"})
    with pytest.raises(MultigenError, match="gain: 'loud' is not allowed"):
        model.generate(options={"gain": "loud"})
    digits = multigen.load("image_digits", device="cpu")
    with pytest.raises(MultigenError, match="has no options"):
        digits.generate("3", options={"voice": "alto"})


def test_the_help_of_a_source_lists_them(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (["sample", str(weights), "--help"], ["sample", "--seed", "3", str(weights), "-h"]):
        with pytest.raises(SystemExit):
            main(argv)
        text = capsys.readouterr().out
        assert "--voice {soprano,alto,bass}" in text
        assert "who sings (default: soprano)" in text
    with pytest.raises(SystemExit):
        main(["sample", "--help"])
    assert "--voice" not in capsys.readouterr().out


def test_the_modality_is_looked_at_only_where_an_option_is_unknown() -> None:
    asked: list[str] = []

    def declared(source: str) -> tuple[Option, ...]:
        asked.append(source)
        return Voices.options

    a, own = parse(parser(), ["x", "--seed", "3", "-n4", "--prompt", "y"], declared)
    assert (a.source, a.seed, a.n, own, asked) == ("x", 3, 4, {}, [])
    a, own = parse(parser(), ["--seed", "3", "-n4", "--out=here", "x", "--voice", "bass", "k=v"], declared)
    assert (a.source, a.overrides, own, asked) == ("x", ["k=v"], {"voice": "bass"}, ["x"])
    with pytest.raises(MultigenError, match="'--voice' is not allowed"):
        parse(parser(), ["--voice", "bass", "x"], declared)  # the source comes first
    assert "--voice" not in words(parser()).names


def test_what_the_built_in_modalities_declare_is_known_without_them() -> None:
    assert BUILTIN.keys() == parts.BUILTIN["modality"].keys()
    for name, declared in BUILTIN.items():
        assert registry.lookup("modality", name).options == declared


def test_a_recipe_says_the_options_of_its_modality(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", "audio_music", "--lufs", "-23", "--format", "mp3", "--cfg", "job"]) == 0
    shown = capsys.readouterr().out
    assert "lufs: -23" in shown and "suffix: .mp3" in shown
    assert main(["train", "audio_music", "weights=null", "--lufs=-60.5", "--cfg", "job"]) == 2
    assert main(["run", "audio_music", "sample.options.lufz=-23", "--cfg", "job"]) == 2
    assert "Did you mean 'lufs'?" in capsys.readouterr().err
    assert main(["run", "audio_music", "sample.options={lufs: 3}", "--cfg", "job"]) == 2
    assert "from -60 to 0" in capsys.readouterr().err
    assert main(["run", "image_digits", "--lufs", "-23"]) == 2
    assert main(["run", "image_digits", "sample.options.lufs=-23"]) == 2


def test_what_a_recipe_says_holds_where_a_request_says_nothing(weights: Path) -> None:
    model = multigen.load("choir.safetensors", device="cpu")
    (loud,) = model.generate("", seed=0)
    usual = dataclasses.replace(model.recipe.sample, options={"gain": 0.5})
    model.recipe = dataclasses.replace(model.recipe, sample=usual)
    (soft,), (asked,) = model.generate("", seed=0), model.generate("", seed=0, options={"gain": 2.0})
    assert torch.equal(soft.tensor, loud.tensor * 0.5)
    assert torch.equal(asked.tensor, loud.tensor * 2)
