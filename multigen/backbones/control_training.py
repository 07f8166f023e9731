"""A ControlNet that learns beside a frozen U-Net (Zhang et al. 2023, arXiv:2302.05543, section 3).

It begins as a copy of the half of the U-Net that goes down, with convolutions of zeros where it is added.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from multigen.backbones.controlnet import residuals
from multigen.core.noise import stream
from multigen.storage import diffusers_folder

_WIDTHS = (16, 32, 96, 256)  # of the layers that reduce the picture, each to half but the first


class Led:
    """A UNet2DConditionModel, called as itself, led by a ControlNet whose gradients are kept.

    picture  [B, 3, H, W] in [-1, 1]
    factor   pixels of a latent along each side
    """

    def __init__(self, network: Any, control: nn.Module, picture: Tensor, factor: int) -> None:
        self._network, self._control, self._picture, self._factor = network, control, picture, factor

    def __call__(
        self, x: Tensor, c_noise: Tensor, tokens: Tensor, *, encoder_attention_mask: Tensor, **options: Any
    ) -> Any:
        """x [B, C, H, W] as the U-Net takes it, c_noise [B], tokens [B, L, K] -> what the U-Net returns."""
        down, middle = residuals(self._control, x, c_noise, tokens, self._picture, self._factor, options)
        return self._network(
            x,
            c_noise,
            tokens,
            encoder_attention_mask=encoder_attention_mask,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
            **options,
        )


def from_unet(network: Any, factor: int, seed: int) -> nn.Module:
    """Make a ControlNetModel of a U-Net, for pictures of `factor` pixels a latent. Its draws are keyed by the seed."""
    kind = diffusers_folder.imported("diffusers").ControlNetModel
    widths = _WIDTHS[: factor.bit_length()]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream(seed, "controlnet").initial_seed())
        made: nn.Module = kind.from_unet(network, conditioning_embedding_out_channels=widths)
    place = next(network.parameters())
    return made.to(place.device, place.dtype).requires_grad_()
