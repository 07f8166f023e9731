"""What extractors compute of media whose motion, onsets, pitch and edges are known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from multigen import registry
from multigen.conditioners.extractors.drawn import edges
from multigen.conditioners.extractors.heard import STEPS, onset_strength, pitch
from multigen.conditioners.extractors.moving import trace
from multigen.errors import RecipeError
from multigen.modalities import Modality
from multigen.modalities.audio import Audio
from multigen.modalities.image import Image
from multigen.modalities.video import Video
from multigen.registry import Part

RATE = 16000


def built(name: str, modality: Modality, **args: object) -> torch.nn.Module:
    return registry.build("extractor", Part(name, args), given={"modality": modality})


def square(x: int, y: int, ground: float = 1.0) -> Tensor:
    frame = torch.full((3, 32, 32), ground)
    frame[:, y : y + 8, x : x + 8] = -0.5
    return frame


@pytest.mark.parametrize("ground", [1.0, 0.3])
def test_the_thing_is_where_it_is_on_any_ground(ground: float) -> None:
    video = torch.stack([square(4 + k, 20 - 2 * k, ground) for k in range(6)], 1)[None]
    found = trace(video)[0]
    middle = torch.arange(6.0)
    torch.testing.assert_close(found[0], (8 + middle) / 16 - 1, atol=1e-4, rtol=0)
    torch.testing.assert_close(found[1], 1 - (24 - 2 * middle) / 16, atol=1e-4, rtol=0)
    features = built("thing", Video())(video)
    # Two pixels of 32 a frame, times 8.
    torch.testing.assert_close(features[0, 4, :-1], torch.full((5,), 0.5), atol=1e-3, rtol=0)
    assert built("thing", Video())(torch.full((1, 3, 4, 32, 32), ground)).abs().max() == 0


def test_motion_says_where_things_change() -> None:
    still = square(4, 4)[:, None].expand(-1, 5, -1, -1)[None]
    assert built("motion", Video())(still).abs().max() == 0
    video = torch.stack([square(4, 4), square(4, 4), square(7, 4), square(7, 4)], 1)[None]
    change = built("motion", Video())(video)[0]
    assert change[0].count_nonzero() == 1 and change[0, 2] > 0
    assert change[1, 2] > 0 and change[4, 2] == 0  # in the upper left quarter, not in the lower right


def test_onsets_are_where_noise_begins_and_no_glide_is_one() -> None:
    t = torch.arange(2 * RATE) / RATE
    glide = 0.2 * torch.sin(2 * math.pi * (300 * t + 150 * t.square()))[None]
    noise = torch.randn(1, 2 * RATE, generator=torch.Generator().manual_seed(0)) * 0.3
    beat = glide + noise * (t >= 1.2) * torch.exp(-(t - 1.2).clamp_min(0) / 0.04)
    assert onset_strength(glide, RATE).max() < 0.3
    strength = onset_strength(beat, RATE)[0]
    assert abs(int(strength.argmax()) - 1.2 * STEPS) <= 3 and strength.max() > 0.7
    quiet = 0.002 * noise
    assert onset_strength(quiet, RATE).max() < 0.1


@pytest.mark.parametrize("hertz", [130.0, 220.0, 440.0, 880.0, 1200.0])
def test_the_pitch_of_a_tone_with_overtones(hertz: float) -> None:
    t = torch.arange(RATE) / RATE
    tone = sum(0.2 / k * torch.sin(2 * math.pi * k * hertz * t) for k in (1, 2, 3))
    assert isinstance(tone, Tensor)
    found, clear = (x[0, 10:-10] for x in pitch(tone[None], RATE))
    assert (found / hertz).log2().abs().max() < 0.07  # a lag is a whole number of samples
    assert clear.min() > 0.9
    assert pitch(torch.zeros(1, RATE), RATE)[1].max() == 0


def test_edges_are_thin_and_where_colours_meet() -> None:
    red_on_green = torch.stack([torch.full((24, 24), v) for v in (-0.2, 0.5, -1.0)])
    red_on_green[:, :, 12:] = torch.tensor([0.9, -0.6, -1.0])[:, None, None]
    found = edges(red_on_green[None])[0, 0]
    assert torch.equal((found > 0.01).sum(1), torch.ones(24, dtype=torch.long))
    assert set(found.argmax(1).tolist()) <= {11, 12}
    assert edges(torch.full((1, 3, 16, 16), 0.4)).abs().max() < 1e-6


def test_alpha_is_laid_on_white() -> None:
    clear = torch.full((1, 4, 16, 16), -1.0)
    assert edges(clear).abs().max() < 1e-6
    clear[:, 3:, :, 8:] = 1.0  # black becomes opaque
    assert edges(clear).max() > 0.9


def test_frames_learn_and_give_what_they_say() -> None:
    video = torch.randn(2, 3, 7, 20, 24)
    frames = built("frames", Video(), features=5)
    out = frames(video)
    assert out.shape == (2, 5, 7)
    out.square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in frames.parameters())
    assert built("frames", Image(), features=5)(video[:, :, 0]).shape == (2, 5)


@pytest.mark.parametrize(
    ("name", "modality"), [("thing", Audio()), ("onsets", Video()), ("edges", Audio()), ("frames", Audio())]
)
def test_an_extractor_of_other_media_is_refused(name: str, modality: Modality) -> None:
    with pytest.raises(RecipeError, match=rf"conditioner\.extract: {name} takes media of .*{modality.name}"):
        built(name, modality)
