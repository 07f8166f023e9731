"""Reconstruction losses: a perfect copy costs nothing, a worse one more, and what looks alike less."""

from __future__ import annotations

import pytest
import torch

from multigen.errors import RecipeError
from multigen.modalities.image import Image
from multigen.modalities.video import Video
from multigen.registry import Part
from multigen.training.autoencoding import build_reconstruction
from multigen.training.spectra import magnitudes_apart
from tests.codecs.vaes import MODALITIES


@pytest.mark.parametrize("name", MODALITIES)
def test_a_perfect_copy_costs_nothing_and_a_worse_one_more(name: str) -> None:
    modality = MODALITIES[name]
    part = None if name == "audio" else Part("pictures", {"perceptual": 0})
    loss = build_reconstruction(part, modality)
    real = torch.rand(2, *modality.shape(), generator=torch.Generator().manual_seed(0)) - 0.5
    noise = torch.randn(real.shape, generator=torch.Generator().manual_seed(1))
    costs = [loss(real + level * noise, real).item() for level in (0.0, 0.01, 0.1)]
    assert costs[0] == 0
    assert 0 < 2 * costs[1] < costs[2]


@pytest.mark.parametrize(
    "modality", [Image(size=64), Video(size=64, frames=2, fps=8.0), Image(size=64, channels=1)]
)
def test_what_looks_alike_costs_less(modality: Image | Video) -> None:
    """Blur of the same squared error is further away than a change of brightness: an eye sees so, pixels do not."""
    loss = build_reconstruction(Part("pictures", {"perceptual": 1.0}), modality)
    plain = build_reconstruction(Part("pictures", {"perceptual": 0}), modality)
    shape = modality.shape()
    real = (torch.rand(2, *shape, generator=torch.Generator().manual_seed(0)) - 0.5).round() + 0.3
    flat = real.reshape(-1, 1, 64, 64)
    blurred = torch.nn.functional.avg_pool2d(flat, 3, 1, 1).reshape(real.shape)
    rms = (blurred - real).square().mean().sqrt()
    brighter = (real + rms).requires_grad_()
    seen = [(loss(made, real) - plain(made, real)).item() for made in (brighter, blurred)]
    assert seen[0] < 0.5 * seen[1]
    loss(brighter, real).backward()
    assert brighter.grad is not None and bool(brighter.grad.isfinite().all())
    assert not [p for p in loss.parameters() if p.requires_grad]


@pytest.mark.parametrize(
    ("part", "name", "said"),
    [
        (Part("pictures"), "audio", "for audio take sounds"),
        (Part("sounds"), "image", "for image take pictures"),
        (Part("pictures", {"perceptual": -1.0}), "image", "at least 0"),
        (Part("pictures", {"feature": "shapes"}), "image", r"train\.reconstruction\.feature\.name: 'shapes'"),
    ],
)
def test_refusals(part: Part, name: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        build_reconstruction(part, MODALITIES[name])


def test_magnitudes_do_not_hear_a_change_of_sign_but_of_pitch() -> None:
    t = torch.arange(4096) / 8000
    tone, other = (torch.sin(6.28318 * f * t)[None, None] for f in (440.0, 550.0))
    assert magnitudes_apart(-tone, tone).item() < 1e-5
    assert magnitudes_apart(other, tone).item() > 0.5
    short = torch.ones(1, 1, 200)
    assert magnitudes_apart(short, short).item() == 0
