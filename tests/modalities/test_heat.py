"""Heat lies where it is strong: on the picture, on the frame and at the moment."""

from __future__ import annotations

import numpy as np
import torch

from multigen.modalities.audio import Audio
from multigen.modalities.image import Image
from multigen.modalities.video import Video
from multigen.modalities.volume import Volume


def test_a_corner_of_a_picture() -> None:
    levels = torch.zeros(1, 8, 8)
    levels[0, :4, 4:] = 1
    drawn = np.asarray(Image(size=32).heat(torch.zeros(3, 32, 32), levels), dtype=float).sum(-1)
    side = drawn.shape[0]
    hot, cold = (
        drawn[side // 8 : side // 4, -side // 4 : -side // 8],
        drawn[-side // 4 : -side // 8, side // 8 : side // 4],
    )
    assert hot.min() > 400 and cold.max() < 250
    assert Image(size=32).preview([torch.zeros(3, 32, 32)]).size == (side, side)


def test_a_frame_of_a_clip_and_a_slice_of_a_volume() -> None:
    for modality, media in (
        (Video(size=32, frames=4), torch.zeros(3, 4, 32, 32)),
        (Volume(size=32, depth=4), torch.zeros(1, 4, 32, 32)),
    ):
        levels = torch.zeros(4, 2, 2)
        levels[2] = 1
        drawn = np.asarray(modality.heat(media, levels), dtype=float).sum(-1)
        cells = np.array_split(drawn[8:-8], 4, axis=1)
        light = [float(np.median(cell)) for cell in cells]
        assert light[2] > 400 and max(light[0], light[1], light[3]) < 250


def test_a_moment_of_a_sound() -> None:
    sound = Audio(rate=16000, seconds=1.0)
    levels = torch.zeros(1, 1, 16)
    levels[..., 8:] = 1
    noise = torch.rand(1, 16000, generator=torch.Generator().manual_seed(0)) - 0.5
    picture = sound.heat(noise, levels)
    assert picture.size == sound.preview([noise]).size
    drawn = np.asarray(picture, dtype=float).sum(-1)
    half = drawn.shape[1] // 2
    assert drawn[:, half + 40 :].mean() > 1.8 * drawn[:, : half - 40].mean()
