"""Evaluation of VAEs: copies beside media of as many numbers; a perfect codec is at the ceiling."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from multigen.codecs.kl_vae import KLVAE
from multigen.errors import RecipeError
from multigen.evaluation.copies import measure_copies, reduced
from multigen.evaluation.evaluate import evaluate
from multigen.evaluation.tables import tables
from multigen.modalities.audio import Audio
from multigen.modalities.image import Image
from multigen.model.model import Model
from multigen.recipe.load import load_recipe
from tests.codecs.vaes import SOUND, TINY


def folder_of(path: Path, *, sounds: bool) -> Path:
    """Ten held-out files of smooth media, and one to train on."""
    path.mkdir()
    for k in range(11):
        if sounds:
            t = torch.arange(4096) / 8000
            Audio(rate=8000).write(0.5 * torch.sin(6.28318 * (150 + 40 * k) * t)[None], path / f"{k}.wav")
        else:
            line = torch.sin(torch.linspace(0, 3 + k, 32))
            Image().write((0.9 * line[:, None] * line.flip(0)).expand(3, 32, 32), path / f"{k}.png")
    return path


def model(folder: Path, network: list[str] = TINY) -> Model:
    own = [*network, f"data.path={folder}", "data.held_out=0.9", "evaluate.n=8"]
    return Model(load_recipe("vae_folder", own), device="cpu")


def test_pictures_are_measured_beside_smaller_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = model(folder_of(tmp_path / "media", sounds=False))
    report = evaluate(made, tmp_path / "out", quiet=True)
    found = {m.metric: m for m in report.measures}
    assert set(found) == {"psnr", "ssim"}
    assert found["psnr"].value < found["psnr"].floor  # an untrained VAE is worse than a smaller picture
    assert (found["psnr"].ceiling, found["ssim"].ceiling) == (math.inf, 1)
    assert found["ssim"].skill is not None and found["ssim"].skill < 0
    latents = report.facts["latents"]
    assert (latents["media"], latents["shape"], latents["share"]) == ([3, 16, 16], [3, 4, 4], 1 / 16)
    assert "6.25%" in str(tables(report)["Evaluation: latents"])
    assert "psnr" in str(report)
    # A codec that loses nothing.
    monkeypatch.setattr(KLVAE, "encode", lambda self, media: media)
    monkeypatch.setattr(KLVAE, "decode", lambda self, x: x)
    rows, _ = measure_copies(made)
    assert [row.value for row in rows] == [math.inf, pytest.approx(1)]


def test_sounds_are_measured_by_their_spectra(tmp_path: Path) -> None:
    rows, facts = measure_copies(model(folder_of(tmp_path / "media", sounds=True), SOUND))
    assert [row.metric for row in rows] == ["log_mel", "stft"]
    assert all(row.value > 0 == row.ceiling for row in rows)
    assert facts["latents"]["shape"] == [3, 1000]


def test_reduced_media_keep_what_is_slow() -> None:
    t = torch.arange(4096) / 4096
    low, high = (torch.sin(6.28318 * f * t)[None, None] for f in (40.0, 1500.0))
    torch.testing.assert_close(reduced(low + high, 0.25), low, atol=5e-3, rtol=0)
    rows = torch.linspace(-0.9, 0.9, 32)
    ramp = rows[:, None].expand(1, 3, 32, 32)
    noise = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) - 0.5
    assert apart(reduced(ramp, 1 / 16), ramp) < 0.05
    assert apart(reduced(noise, 1 / 16), noise) > 0.2
    clip = torch.stack([ramp, -ramp], 2)
    assert reduced(clip, 1 / 16).shape == clip.shape
    assert torch.equal(reduced(noise, 1.5), noise)


def apart(one: Tensor, other: Tensor) -> float:
    return (one - other).square().mean().sqrt().item()


def test_other_codecs_are_not_measured_by_copies() -> None:
    tiny = ["weights=null", "backbone.widths=[8]", "backbone.attention=[true]"]
    with pytest.raises(RecipeError, match="only a VAE is measured by its copies; this codec is pixels"):
        measure_copies(Model(load_recipe("image_digits", tiny), device="cpu"))
