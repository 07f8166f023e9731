"""200 wrong command lines, made from the parsers: one clear line, exit code 2, nothing written, torch not imported."""

from __future__ import annotations

import argparse
import itertools
import random
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType

import pytest

from multigen.cli.arguments import Parser
from multigen.cli.datasets import NAMES
from multigen.cli.main import COMMANDS, main
from multigen.datasets.fetch import FETCHABLE
from multigen.recipe.dump import to_yaml
from multigen.recipe.load import load_recipe

WRONG_VALUES = {
    "count": ("0", "-1", "x", "1.5", ""),
    "whole": ("x", "1.5", ""),
    "seed": ("-1", "x", "9" * 30),
}
WRONG_VALUES |= {"number": ("x", ""), "positive": ("0", "-1", "nan", "x"), "size": ("0", "8x", "axb", "-4")}
WRONG_VALUES |= {"device": ("gpu", "cuda:x", "tpu"), "path": ("", "  ", "~no-such-user-here/x")}
# A right command line of each command, to which something wrong is done. What it names is there.
RIGHT = {
    "run": ["image_digits"],
    "train": ["image_digits", "weights=null"],
    "sample": ["image_digits", "--prompt", "7"],
    "edit": ["image_digits", "--input", "a.png"],
    "evaluate": ["image_digits"],
    "explain": ["image_digits", "--prompt", "7"],
    "export": ["image_digits", "new.safetensors"],
    "shrink": ["image_digits", "new.safetensors", "--int8"],
    "convert": ["a.pt", "new.safetensors"],
    "pack": ["image_digits", "--out", "new"],
    "sheet": ["a.png", "new", "--cut", "--cell", "8"],
    "film": ["video_moving_emoji", "--input", "a.png", "--out", "new.mp4"],
    "verify": ["."],
    "info": ["a.png"],
    "recipes": [],
    "datasets": ["list"],
    "parts": [],
    "doctor": [],
    "serve": ["image_digits"],
    "completion": ["bash"],
}
MISSING = {
    "run": [["no_such_recipe"], ["no/such.yaml"], ["."], ["image_folder"], ["image_folder", "data.path=none"],
            ["image_digits", "weights=none.safetensors"], ["image_digits", "--out", "a.png"],
            ["image_digits", "--out", "a.png/below"], ["image_folder", "data.path=a.png"]],
    "train": [["image_folder", "data.path=~/no-such-folder-of-mine"], ["image_digits", "train.init=none"],
              ["image_digits", "train.init=none.safetensors"], ["image_digits", "--out", "a.png"]],
    "sample": [["none.safetensors"], ["a.png"], ["image_folder"], ["."], ["image_digits", "--prompts", "none.txt"],
               ["image_digits", "--prompts", "empty.txt"], ["image_digits", "--out", "a.png"],
               ["image_digits", "--blend", "1"], ["image_digits", "--to-seed", "3"], ["image_digits", "--clip"],
               ["image_digits", "--tile"], ["image_digits", "--per-class", "3"],
               ["image_digits", "--format", "mp3"], ["image_digits", "--duration", "3"],
               ["audio_music", "--format", "aiff"], ["audio_music", "--size", "64"],
               ["video_moving_emoji", "--format", "wav"], ["image_digits", "--prompts", "request.txt"],
               ["image_digits", "--sampler", "dimm"], ["image_digits", "--sampler", "{name: ddim, etaa: 1}"],
               ["image_digits", "--guide", "{name: cfg, scale: x}"],
               ["image_digits", "--blend", "4", "--prompt", "1", "--prompt", "2", "--prompt", "3"]],
    "edit": [["image_digits", "--input", "none.png"], ["image_digits", "--input", "."],
             ["image_digits", "--input", "a.png"], ["audio_music", "--input", "a.png"],
             ["video_moving_emoji", "--input", "a.png"], ["video_moving_emoji", "--input", "a.pt"],
             ["image_digits", "--input", "nothing.png"],
             ["audio_music", "--input", "a.png", "--mask", "a.png"],
             ["audio_music", "--input", "a.png", "--restore", "downsample"],
             ["image_digits", "--input", "a.png", "--restore", "frames"],
             ["image_digits", "--input", "a.png", "--mask", "none.png"], ["none.safetensors", "--input", "a.png"],
             *(["image_digits", "--input", "a.png", *more] for more in (
                 ["--strength", "0"], ["--strength", "1.5"], ["--strength", "nan"], ["--keep", "2s:1s"],
                 ["--keep", "first"], ["--keep", "1s:1s"], ["--extend", "1,2,3"], ["--extend", "-8"],
                 ["--feather", "-1"], ["--feather", "inf"], ["--noise", "-1"], ["--restore", "upscale"],
                 ["--restore", "blur", "--strength", "0.5"],
                 ["--restore", "{name: blur, sigmas: 1}"], ["--out", "a.png"]))],
    "explain": [["none.safetensors", "--prompt", "7"], ["a.png", "--prompt", "7"],
                ["image_digits", "--prompt", "7", "--out", "a.png"]],
    "evaluate": [["none.safetensors"], ["image_digits", "--media", "none"], ["image_digits", "--media", "a.png"],
                 ["image_digits", "--convert"], ["image_digits", "evaluate.m=3"], ["image_folder"]],
    "export": [["image_digits", "new.pt"], ["image_digits", "there.safetensors"],
               ["none.safetensors", "n.safetensors"],
               ["image_digits", "a.png/n.safetensors"]],
    "shrink": [["image_digits", "new.safetensors"], ["image_digits", "new.pt", "--int8"],
               ["none.safetensors", "n.safetensors", "--int8"], ["image_digits", "there.safetensors", "--int8"],
               ["image_digits", "n.safetensors", "--prune", "2"],
               ["image_digits", "n.safetensors", "--int8", "--recover", "3"]],
    "convert": [["none.pt", "new.safetensors"], ["a.pt", "new.pt"], ["a.pt", "there.safetensors"]],
    "pack": [["no-such-folder", "--out", "new"], ["image_digits", "--out", "a.png"]],
    "sheet": [["none.png", "x.png"], ["a.png", "x.jpg"], ["a.png", "x.png", "--cell", "8"], [".", "x", "--cut"],
              ["a.png", "x", "--cut"], ["a.png", "x", "--cut", "--cell", "8", "--grid", "2"]],
    "film": [["none.safetensors", "--input", "a.png", "--out", "new.mp4"],
             ["video_moving_emoji", "--input", "none.mp4", "--out", "new.mp4"]],
    "verify": [["none"], ["."], ["a.png", "--trust", "none.pem"], ["a.png", "--trust", "a.png"]],
    "info": [["none.png"], ["."], ["a.png", "none.png"]],
    "datasets": [["fetch"], ["list", "emoji"], ["fetch", "emojis"]],
    "parts": [["samplr"]],
    "serve": [["no_such_recipe"], ["image_folder"], ["a=none.safetensors"], ["image_digits", "image_digits"], ["a b=x"],
              ["image_digits", "--host", "0.0.0.0"], ["image_digits", "--port", "65536"], ["keys"], ["keys", "ad"],
              ["keys", "add", "keys.json"], ["keys", "list", "none.json"], ["image_digits", "--scope", "read"]],
    "completion": [["csh"]],
}  # fmt: skip
OVERRIDES = (
    "train.stepz=1", "train.steps=many", "sampler.name=euler_a2", "sampler=heun", "guide.name=cgf", "smaple.n=3",
    "sample.n=0", "seed=-1", "sample.steps=0", "=3", "sample.steps", "a b c", "sample.steps=1,2", "hydra.run.dir=x",
    "sample.prompts=[]", "sampler.etaa=1", "sampler={name: ddim, eta: x}", "modifiers=[{name: rescale, by: 2}]",
    "timesteps={name: list}", "guide.scale=[1]", "evaluate.metrics=[{name: hue, sat: 1}]",
)  # fmt: skip


def options(parser: Parser) -> Iterator[argparse.Action]:
    yield from (a for a in parser.actions if a.option_strings and a.dest not in ("help", "debug"))


def wrong_lines() -> list[list[str]]:
    """The same 200 lines each time: every kind of mistake in every command."""
    each: list[list[list[str]]] = []
    for name, command in COMMANDS.items():
        parser, right = command.parser(), RIGHT[name]
        lines: list[list[str]] = [
            [name, *right, "--no-such-option"],
            [name, *right, *["one-more-argument"] * 3],
        ]
        lines += [[name, *more] for more in MISSING.get(name, [])]
        for action in options(parser):
            flag = action.option_strings[-1]
            lines.append([name, *right, f"{flag[:-1]}"] if len(flag) > 4 else [name, *right, f"{flag}q"])
            if action.nargs == 0:
                lines.append([name, *right, f"{flag}=yes"])
                continue
            lines.append([name, *right, flag])  # without its value
            if action.choices:
                lines.append([name, *right, flag, "no-such-choice"])
            kind = action.type.__name__ if isinstance(action.type, FunctionType) else ""
            if kind == "checked" and action.metavar in ("K", "N", "X", "S", "PX"):  # numbers of a request
                kind = "number"
            lines += [[name, *right, flag, value] for value in WRONG_VALUES.get(kind, ())]
        if any(a.dest == "overrides" for a in parser.actions):
            lines += [[name, *right, override] for override in OVERRIDES]
        random.Random(16).shuffle(lines)
        each.append(lines)
    in_turn = [line for row in itertools.zip_longest(*each) for line in row if line is not None]
    return in_turn[:200]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("a.png", "a.pt", "there.safetensors"):
        Path(name).write_bytes(b"something")
    Path("empty.txt").write_bytes(b"\xef\xbb\xbf\r\n\r\n")
    Path("nothing.png").touch()
    Path("request.txt").write_text('{"prompt": "7", "duration": 3}\n', encoding="utf-8")
    return tmp_path


def test_they_are_200_and_of_every_command() -> None:
    lines = wrong_lines()
    assert len({tuple(line) for line in lines}) > 190
    assert {line[0] for line in lines} == COMMANDS.keys()


def test_each_is_refused_with_one_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(here.rglob("*"))
    bad = []
    for line in wrong_lines():
        code = main(line)
        out, err = capsys.readouterr()
        clear = err.startswith("multigen: error: ") and err.count("\n") == 1 and "Errno" not in err
        if code != 2 or out or not clear or "Traceback" in err:
            bad.append((line, code, out[:80], err[:300]))
        if sorted(here.rglob("*")) != before:
            bad.append((line, "wrote something"))
            break
    assert bad == []


def test_torch_is_not_imported_to_refuse_them(here: Path) -> None:
    """In one process, so that it is quick: whatever a line imports stays."""
    code = f"""
        import contextlib, io, sys
        from multigen.cli.main import main
        for line in {wrong_lines()!r}:
            with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
                main(line)
            assert "torch" not in sys.modules, line
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=here, timeout=300)
    assert done.returncode == 0, done.stderr[-500:]


@pytest.mark.parametrize("more", [[], ["data.path=none"], ["data.path=here", "train.init=none"]])
@pytest.mark.parametrize("command", ["run", "train"])
def test_a_finished_run_of_other_files_does_not_hide_that_these_are_missing(
    here: Path, capsys: pytest.CaptureFixture[str], command: str, more: list[str]
) -> None:
    (here / "here").mkdir()
    folder = here / "runs" / "image_folder"
    folder.mkdir(parents=True)
    recipe = load_recipe("image_folder", [f"data.path={here / 'here'}"])
    (folder / "recipe.yaml").write_text(to_yaml(recipe), encoding="utf-8")
    (folder / "weights.safetensors").touch()
    assert main([command, "image_folder", *more]) == 2
    said = capsys.readouterr().err
    assert said.startswith(
        "multigen: error: train.init: 'none'" if len(more) == 2 else "multigen: error: data.path: "
    )
    assert said.count("\n") == 1  # not that another folder was chosen for it


def test_the_data_sets_that_can_be_fetched_are_known_without_torch() -> None:
    assert tuple(FETCHABLE) == NAMES
