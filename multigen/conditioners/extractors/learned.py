"""Features that are learned with the network: a small convolutional encoder of frames, pictures or sounds."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multigen.conditioners.extractors import Extractor, check_axes
from multigen.modalities import HEIGHT, TIME, WIDTH, Modality
from multigen.registry import Given

_PICTURE = (HEIGHT, WIDTH)
_CELLS = 4  # along each side, into which what is seen is pooled


class Frames(Extractor):
    """Each frame of a video as `features` numbers, or a picture as one row of them: learned with the network.

    Three convolutions that halve the sides, pooled to 4 x 4 cells, and for videos a convolution over time.

    features  numbers of each frame
    hidden    channels of the first convolution
    """

    def __init__(self, *, modality: Given[Modality], features: int = 16, hidden: int = 16) -> None:
        super().__init__()
        check_axes(modality, ((TIME, *_PICTURE), _PICTURE), "frames")
        for name, value in {"features": features, "hidden": hidden}.items():
            if value < 1:
                raise ValueError(f"{name}: {value} is not allowed. Allowed: 1 or more.")
        self.width = features
        self.axes = (TIME,) if TIME in modality.axes else ()
        widths = (modality.shape()[0], hidden, 2 * hidden, 2 * hidden)
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths))
        self.project = nn.Linear(widths[-1] * _CELLS**2, features)
        self.over_time = nn.Conv1d(features, features, 3, padding=1)

    def forward(self, media: Tensor) -> Tensor:
        """[B, C, T, H, W] -> [B, features, T]; [B, C, H, W] -> [B, features]."""
        timed = media.ndim == 5
        x = media.transpose(1, 2).flatten(0, 1) if timed else media
        for layer in self.layers:
            x = F.silu(layer(x))
        x = self.project(F.adaptive_avg_pool2d(x, _CELLS).flatten(1))
        if not timed:
            return torch.tanh(x)
        x = x.unflatten(0, (len(media), -1)).transpose(1, 2)
        return torch.tanh(x + self.over_time(F.silu(x)))
