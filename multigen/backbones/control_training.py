"""A ControlNet that learns beside a frozen U-Net (Zhang et al. 2023, arXiv:2302.05543, section 3).

It begins as a copy of the half of the U-Net that goes down, with convolutions of zeros where it is added.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from multigen.backbones.controlnet import fitted, led_by
from multigen.core.noise import stream
from multigen.storage import diffusers_folder

_WIDTHS = (16, 32, 96, 256)  # of the layers that reduce the picture, each to half but the first


@contextmanager
def learning(network: Any, control: nn.Module, picture: Tensor, x: Tensor, factor: int) -> Iterator[None]:
    """Inside the block the U-Net is led by a ControlNet, which gradients reach.

    picture  [B, 3, H, W], or one for all, in [-1, 1]
    x        what the U-Net is called with, [B, C, h, w]
    factor   pixels of a latent along each side
    """
    told = fitted(picture, tuple(x.shape[1:]), factor)
    with led_by(network, lambda _: control, told.expand(len(x), *told.shape[1:])):
        yield


def from_unet(network: Any, factor: int, seed: int) -> nn.Module:
    """Make a ControlNetModel of a U-Net, for pictures of `factor` pixels a latent. Its draws are keyed by the seed."""
    kind = diffusers_folder.imported("diffusers").ControlNetModel
    widths = _WIDTHS[: factor.bit_length()]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream(seed, "controlnet").initial_seed())
        made: nn.Module = kind.from_unet(network, conditioning_embedding_out_channels=widths)
    place = next(network.parameters())
    return made.to(place.device, torch.float32).requires_grad_()
