"""Edits of videos as people have them: size, frame rate and sound stay, and so does every kept frame."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

import multigen
from multigen.model.model import Model
from tests.modalities.test_video_sound import RATE, clip, heard


@pytest.fixture(scope="module")
def moving() -> Model:
    return multigen.load("video_moving_emoji", device="cpu")


@pytest.fixture
def before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moving: Model) -> torch.Tensor:
    """The frames of in.mp4: 1 s of 48 x 32 pixels at 30 frames/s, with a tone."""
    monkeypatch.chdir(tmp_path)
    clip(Path("in.mp4"), "aac")
    return moving.modality.native(Path("in.mp4")).read(Path("in.mp4"))


def test_kept_frames_size_rate_and_sound_stay(
    before: torch.Tensor, moving: Model, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="multigen"):
        (made,) = moving.edit("in.mp4", "red apple moving right", keep="0:10f,20f:", steps=1)
    assert "48 x 32 pixels at 30 frames/s; the model makes 32 x 32 pixels at 8 frames/s" in caplog.text
    assert made.tensor.shape == (3, 30, 32, 48)
    assert torch.equal(made.tensor[:, :10], before[:, :10])
    assert torch.equal(made.tensor[:, 20:], before[:, 20:])
    assert (made.tensor[:, 10:20] - before[:, 10:20]).abs().mean() > 0.05
    made.save("out.mp4")
    with av.open("out.mp4") as file:
        video = file.streams.video[0]
        assert (video.width, video.height, video.frames, float(video.average_rate or 0)) == (48, 32, 30, 30.0)
    assert (
        np.abs(heard(Path("out.mp4"))[: RATE // 2] - heard(Path("in.mp4"))[: RATE // 2]).max() == 0
    )  # copied


def test_a_mask_holds_for_all_frames(before: torch.Tensor, moving: Model) -> None:
    mask = PillowImage.new("L", (48, 32), 0)
    mask.paste(255, (0, 0, 24, 32))
    mask.save("mask.png")
    (made,) = moving.edit("in.mp4", "red apple moving right", mask="mask.png", steps=1)
    assert torch.equal(made.tensor[..., 24:], before[..., 24:])
    assert (made.tensor[..., :24] - before[..., :24]).abs().mean() > 0.05


def test_frames_before_the_clip_move_its_sound(before: torch.Tensor, moving: Model) -> None:
    (made,) = moving.edit("in.mp4", "red apple moving right", extend="0.5s,0.2s", steps=1)
    assert made.tensor.shape == (3, 51, 32, 48)
    assert torch.equal(made.tensor[:, 15:45], before)
    made.save("out.mp4")
    samples = heard(Path("out.mp4"))
    assert np.abs(samples[: int(0.45 * RATE)]).max() < 0.02
    assert np.abs(samples[int(0.55 * RATE) : int(0.6 * RATE)]).max() > 0.2


def test_the_command_writes_a_small_moving_preview(
    before: torch.Tensor, moving: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    from multigen.cli.main import main

    large = torch.zeros(3, 8, 300, 400)
    moving.modality.write(large, Path("large.mp4"))
    argv = [
        "edit",
        "video_moving_emoji",
        "--input",
        "large.mp4",
        "--strength",
        "0.2",
        "--steps",
        "1",
        "--quiet",
    ]
    assert main([*argv, "--prompt", "red apple moving right", "--device", "cpu", "--out", "out"]) == 0
    (film,) = Path("out/media").glob("*.mp4")
    (preview,) = Path("out/media").glob("*.webp")
    assert moving.modality.read(film).shape == (3, 8, 300, 400)
    assert PillowImage.open(preview).size == (256, 192)
    found = (
        Path("out/report.html").read_text().partition('<figure class="source">')[2].partition("</figure>")[0]
    )
    assert "<video" in found and "source: large.mp4" in found
    assert Path("out/sources/large.mp4").read_bytes() == Path("large.mp4").read_bytes()
