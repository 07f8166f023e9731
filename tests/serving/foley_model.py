"""A small untrained model that makes sounds for clips, and a clip, for tests of servers."""

from __future__ import annotations

from pathlib import Path

import torch

from multigen.modalities.video import Video
from multigen.model.model import Model
from multigen.recipe.load import load_recipe

SMALL = ["weights=null", "backbone.widths=[16,32]", "backbone.attention=[false,true]", "codec.iterations=2"]


def saved_foley(folder: Path) -> str:
    """The model, as a file."""
    model = Model(load_recipe("audio_for_video", SMALL), device="cpu")
    with torch.no_grad():
        for k, p in enumerate(model.denoiser.parameters()):
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(k)))
    rng = torch.Generator().manual_seed(0)
    model.codec.fit([0.3 * torch.randn(model.modality.shape(), generator=rng) for _ in range(2)])
    return str(model.save(folder / "model.safetensors"))


def written_clip(folder: Path) -> Path:
    """A clip of 3 s."""
    path = folder / "clip.mp4"
    video = torch.ones(3, 24, 32, 32)
    video[:, :, 8:16, 8:16] = -1.0
    Video(size=32, fps=8.0).write(video, path)
    return path
