"""CLIP's image encoders (Radford et al. 2021, arXiv:2103.00020): what a picture says, as an embedding."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from multigen.storage import diffusers_folder
from multigen.storage.diffusers_folder import Component, Frozen

IMAGE_ENCODER = Component("transformers", ("CLIPVisionModelWithProjection",))
SIDE = 224  # pixels, where the configuration does not say
MEAN, DEVIATION = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class ImageEncoder:
    """A frozen image encoder, in its folder. MultigenError for one that is missing or of another class.

    width   of its embeddings
    states  width of its hidden states
    side    of the pictures that it sees, in pixels
    """

    def __init__(self, folder: Path) -> None:
        config = diffusers_folder.component(folder.parent, folder.name, IMAGE_ENCODER)
        read = functools.partial(diffusers_folder.entry, config, folder)
        self.side: int = read("image_size", int, SIDE)
        self.width: int = read("projection_dim", int, 512)
        self.states: int = read("hidden_size", int, 768)
        load = functools.partial(
            diffusers_folder.lone_network, folder, IMAGE_ENCODER.classes[0], "transformers"
        )
        self._network = Frozen(load)

    def embedding(self, pictures: Tensor) -> Tensor:
        """[B, 3, H, W] in [-1, 1] -> [B, width]."""
        return self._call(seen(pictures, self.side)).image_embeds

    def hidden(self, pictures: Tensor) -> Tensor:
        """[B, 3, H, W] in [-1, 1] -> the states before the last layer, [B, L, states]."""
        return self._call(seen(pictures, self.side)).hidden_states[-2]

    def hidden_of_nothing(self, like: Tensor) -> Tensor:
        """The states of a picture of zeros, as the encoder takes them: [1, L, states] on the device of `like`."""
        return self._call(like.new_zeros(1, 3, self.side, self.side)).hidden_states[-2]

    def embedding_of_nothing(self, like: Tensor) -> Tensor:
        """The embedding of a picture of zeros: [1, width] on the device of `like`."""
        return self._call(like.new_zeros(1, 3, self.side, self.side)).image_embeds

    @torch.no_grad()
    def _call(self, pixels: Tensor) -> Any:
        with torch.autocast(pixels.device.type, enabled=False):
            return self._network.on(pixels.device)(pixels.float(), output_hidden_states=True)


def seen(pictures: Tensor, side: int) -> Tensor:
    """Pictures [B, 3, H, W] in [-1, 1] as CLIP sees them: resized by the short side, cut to the middle, normalised."""
    return normalised(middle(shortest(pictures, side), side))


def normalised(
    pictures: Tensor, mean: Sequence[float] = MEAN, deviation: Sequence[float] = DEVIATION
) -> Tensor:
    """[B, 3, H, W] in [-1, 1] -> less the mean, by the standard deviation, of the channels in [0, 1]."""
    center, scale = (pictures.new_tensor(values).view(3, 1, 1) for values in (mean, deviation))
    return ((pictures + 1) / 2 - center) / scale


def shortest(pictures: Tensor, side: int) -> Tensor:
    """Pictures whose shorter side is `side` pixels; the longer one is rounded down."""
    sides = pictures.shape[-2:]
    if min(sides) == side:
        return pictures
    size = [n * side // min(sides) for n in sides]
    made = F.interpolate(pictures, size=size, mode="bicubic", antialias=True, align_corners=False)
    return made.clamp(-1, 1)


def middle(pictures: Tensor, side: int) -> Tensor:
    """The middle square of `side` pixels; smaller pictures stand on black."""
    top, left = ((n - side) // 2 for n in pictures.shape[-2:])
    if min(top, left) < 0:
        pictures = F.pad(
            pictures, [max(-left, 0), max(-left, 0) + 1, max(-top, 0), max(-top, 0) + 1], value=-1
        )
        top, left = max(top, 0), max(left, 0)
    return pictures[..., top : top + side, left : left + side]
