"""Smaller and larger copies: what a mean, a frame and a frequency become, and that both ways fit together."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from multigen.cascades.resample import enlarged, reduced
from multigen.core.noise import normal


def test_pixels_become_the_mean_of_their_area() -> None:
    media = normal((2, 3, 16, 24), 0)
    assert torch.allclose(reduced(media, (4, 4)), F.avg_pool2d(media, 4), atol=1e-6)
    assert reduced(media, (2, 3)).shape == (2, 3, 8, 8)
    assert reduced(normal((1, 1, 10, 7), 0), (4, 4)).shape == (1, 1, 3, 2)  # rounded up


def test_a_smooth_picture_comes_back() -> None:
    y, x = torch.meshgrid(torch.linspace(0, math.pi, 64), torch.linspace(0, math.pi, 64), indexing="ij")
    media = (y.sin() * x.cos())[None, None]
    back = enlarged(reduced(media, (4, 4)), (64, 64))
    assert (back - media)[..., 8:-8, 8:-8].abs().max() < 0.01
    assert enlarged(torch.ones(1, 1, 4, 4), (16, 16)).max() == 1  # bicubic overshoots; media do not


def test_frames_are_left_out_and_stay_at_their_time() -> None:
    media = torch.arange(8.0).div(8).view(1, 1, 8, 1, 1).expand(1, 1, 8, 4, 4)
    few = reduced(media, (2, 2, 2))
    assert few[0, 0, :, 0, 0].tolist() == [0, 0.25, 0.5, 0.75]
    many = enlarged(few, (8, 4, 4))
    assert torch.allclose(many[0, 0, :7], media[0, 0, :7])  # what lies between is on the line
    assert torch.equal(many[0, 0, 7], many[0, 0, 6])  # the last frame goes on


@pytest.mark.parametrize(("hertz", "kept"), [(20, True), (200, False)])
def test_a_sound_keeps_what_is_below_its_new_nyquist_frequency(hertz: int, kept: bool) -> None:
    media = torch.sin(torch.arange(1000) * 2 * math.pi * hertz / 1000)[None, None]
    back = enlarged(reduced(media, (4,)), (1000,))  # 250 samples, up to 125 periods
    assert (back - media).abs().max() < 1e-4 if kept else back.abs().max() < 1e-4
