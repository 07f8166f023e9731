"""Traces: the medium is the one that would have been made anyway, and what is told of its way is true."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from multigen.cli.main import main
from multigen.generation.parts import decode, words
from multigen.generation.request import Request
from multigen.model.model import Model
from multigen.recipe.load import load_recipe
from tests.model.test_model import small


def emoji() -> Model:
    model = Model(
        load_recipe("image_emoji", ["weights=null", "modality.size=16", "backbone.widths=[16,32]",
                                    "backbone.attention=[false,true]"]),
        device="cpu",
    )  # fmt: skip
    with torch.no_grad():
        for k, p in enumerate(model.denoiser.parameters()):
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(k)))
    return model


@pytest.mark.parametrize("name", ["image_digits", "audio_music", "video_moving_emoji", "image_latent"])
def test_a_trace_changes_nothing(name: str) -> None:
    model = small(name)
    prompt = "3" if name == "image_digits" else ""
    trace = model.trace(Request(prompt, seed=4, steps=3))
    assert trace.medium is not None
    plain = model.generate(prompt, seed=4, steps=3)[0]
    assert torch.equal(trace.medium.tensor, plain.tensor)
    assert len(trace.times) == len(trace.x) == len(trace.x0) == len(trace.guidance)
    assert trace.times[0] == pytest.approx(1.0)
    assert sorted(trace.times, reverse=True) == trace.times
    assert {"noisy", "clean"} <= trace.pictures(model).keys()


def test_guidance_is_the_distance_from_the_conditional_answer() -> None:
    model = small("image_digits")
    off = model.trace(Request("3", seed=4, steps=3, guidance_scale=1.0))
    assert max(off.guidance) == 0
    two, three = (
        model.trace(Request("3", seed=4, steps=3, guidance_scale=s)).guidance[0] for s in (2.0, 3.0)
    )
    assert two > 0
    assert abs(three / two - 2) < 1e-3  # (scale - 1) times the difference


def test_attention_to_words_is_kept() -> None:
    model = emoji()
    trace = model.trace(Request("red apple", seed=1, steps=2))
    tokens = words(model, "red apple")
    assert tokens == ["[CLS]", "red", "apple", "[SEP]"]
    assert trace.maps is not None
    assert trace.maps.shape[0] == len(tokens)
    total = trace.maps.sum(0)
    torch.testing.assert_close(
        total, torch.full_like(total, float(total.mean()))
    )  # shares add up to one a block
    assert trace.pictures(model)["attention"].width > 3 * 128  # of all noise levels, and of each step
    assert torch.equal(trace.medium.tensor, model.generate("red apple", seed=1, steps=2)[0].tensor)


def test_the_report_shows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    argv = [
        "sample",
        "image_digits",
        "--prompt",
        "3",
        "--prompt",
        "8",
        "-n",
        "1",
        "--steps",
        "3",
        "--trajectory",
    ]
    assert main([*argv, "--quiet", "--device", "cpu", "--out", "out"]) == 0
    names = sorted(p.name for p in Path("out/trajectories").iterdir())
    assert names == [f"{k:03d}{end}" for k in (0, 1) for end in ("-clean.png", "-noisy.png", ".json")]
    found = json.loads(Path("out/trajectories/000.json").read_text())
    assert len(found["times"]) == len(found["guidance"]) == 5
    report = Path("out/report.html").read_text()
    assert "trajectory 000: what the network saw" in report
    assert "how far it moves the estimate of x0" in report and "guidance of trajectory 001" in report


@pytest.mark.parametrize("name", ["image_digits", "audio_music", "video_moving_emoji", "image_latent"])
def test_a_clip_has_a_frame_for_each_query(name: str, tmp_path: Path) -> None:
    model = small(name)
    trace = model.trace(Request("3" if name == "image_digits" else "", seed=4, steps=3))
    trace.save(model, tmp_path, "000", clip=True)
    frames = trace.frames(model)
    assert len(frames) == len(trace.times)
    pair = [decode(model, x[-1], "", 4).tensor for x in (trace.x, trace.x0)]
    assert frames[-1].tobytes() == model.modality.preview(pair).tobytes()
    with Image.open(tmp_path / "000-clip.webp") as clip:
        assert clip.n_frames == len(frames)
        for k, frame in enumerate(frames):
            clip.seek(k)
            assert clip.convert("RGB").tobytes() == frame.convert("RGB").tobytes()


def test_the_report_shows_the_clip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    argv = ["sample", "image_digits", "--prompt", "3", "-n", "1", "--steps", "3", "--clip", "--quiet"]
    assert main([*argv, "--out", "out"]) == 2
    assert "--clip goes with --trajectory" in capsys.readouterr().err
    assert main([*argv, "--trajectory", "--device", "cpu", "--out", "out"]) == 0
    clip = base64.b64encode(Path("out/trajectories/000-clip.webp").read_bytes()).decode()
    report = Path("out/report.html").read_text()
    assert "trajectory 000: both, query by query" in report
    assert f"data:image/webp;base64,{clip}" in report
