"""Sets of one file or a few, and files shorter than a clip: trained on, with what they allow (cases 19 and 27)."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from multigen.cli.main import main
from multigen.modalities.image import Image

SMALL = [
    "train.batch=4", "train.preview_every=0", "train.log_every=1", "train.minutes=null", "train.tensorboard=false",
    "train.warmup=1", "backbone.widths=[16,16,16]", "backbone.attention=[false,false,false]", "conditioner.name=none",
    "sample.prompts=['']", "--quiet", "--device", "cpu",
]  # fmt: skip


def pictures(folder: Path, n: int) -> str:
    folder.mkdir(parents=True)
    for k in range(n):
        Image(size=28, channels=3).write(torch.full((3, 40, 40), k / 8 - 0.5), folder / f"{k}.png")
    return f"data.path={folder}"


def rows(run: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(run, "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(("n", "held_out"), [(1, []), (4, [2, 3])])
def test_one_picture_and_four(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n: int, held_out: list[int]
) -> None:
    """One picture cannot be held out; of four one is, and measured."""
    monkeypatch.chdir(tmp_path)
    steps = ["train.steps=3", "train.held_out_every=2", "modality.size=16"]
    assert main(["train", "image_folder", pictures(Path("set"), n), *steps, *SMALL, "--out", "r"]) == 0
    found = rows("r")
    assert [r["step"] for r in found if "loss" in r] == [1, 2, 3]
    assert all(math.isfinite(r["loss"]) for r in found if "loss" in r)
    assert [r["step"] for r in found if "held_out" in r] == held_out
    assert main(["sample", "r", "-n", "1", "--steps", "1", "--quiet", "--out", "s"]) == 0
    (made,) = Path("s/media").iterdir()
    assert Image(size=16).read(made).shape == (3, 16, 16)


def test_sounds_that_are_shorter_than_a_clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of a second, and three samples: padded with silence, none is left out."""
    monkeypatch.chdir(tmp_path)
    Path("set").mkdir()
    t = np.arange(22050 // 4) / 22050
    for k in range(6):
        tone = 0.5 * np.sin(2 * np.pi * (200 + 50 * k) * t)
        soundfile.write(f"set/hit{k}.wav", tone.astype(np.float32), 22050)
    soundfile.write("set/tick.wav", np.full(3, 0.5, np.float32), 22050)
    steps = ["train.steps=3", "train.held_out_every=0", "data.path=set", "modality.seconds=0.5"]
    assert main(["train", "audio_folder", *steps, *SMALL, "--out", "r"]) == 0
    found = rows("r")
    assert [r["step"] for r in found] == [1, 2, 3]
    assert all(math.isfinite(r["loss"]) for r in found)
    assert "tick.wav" not in Path("r/report.html").read_text(encoding="utf-8")  # nothing is unreadable


def test_going_on_with_other_settings_and_after_a_cut_checkpoint(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    own = ["train.held_out_every=0", "modality.size=16", "train.checkpoint_every=5", "train.lr=1e-3"]
    base = ["train", "image_folder", pictures(Path("set"), 4), *own, *SMALL, "--out", "r"]
    assert main([*base, "train.steps=10"]) == 0
    weights = Path("r/weights.safetensors").read_bytes()
    for change, row in (
        ("train.batch=8", "train.batch: 4 -> 8"),
        ("train.lr=1e-5", "train.lr: 0.001 -> 1e-05"),
    ):
        assert main([*base, "train.steps=20", change]) == 2
        assert f"r holds another training of image_folder ({row})" in capsys.readouterr().err
        assert Path("r/weights.safetensors").read_bytes() == weights
    assert main([*base, "train.steps=20"]) == 0
    assert "the learning rate goes up from 0 to 0.0005" in caplog.text
    assert [r["step"] for r in rows("r")] == list(range(1, 21))
    newest = Path("r/checkpoints/step-00000020")
    with (newest / "weights.safetensors").open("r+b") as file:
        file.truncate(100)
    assert main([*base, "train.steps=25"]) == 0
    assert "step-00000020 is broken: weights.safetensors has 100 bytes" in caplog.text
    assert [r["step"] for r in rows("r")] == list(range(1, 26))
