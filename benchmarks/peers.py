"""The networks of other projects that multigen's U-Net is compared with, and our U-Net of the same size as each.

denoising-diffusion-pytorch imports torchvision for reading pictures, which no network needs: an empty module stands in
for it while that package is imported, here and nowhere else.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from multigen.backbones.unet import UNet
from multigen.core.conditioning import Cond, CondSpec
from multigen.modalities.torchaudio_shim import import_torchaudio

TOLERANCE = 0.02  # of parameters and of FLOPs, between the two networks of a row


class Pair(NamedTuple):
    """Two networks of one size, with a call each: x [B, 3, H, W], noise [B] -> [B, 3, H, W]."""

    name: str
    multigen: UNet
    peer: nn.Module
    call_multigen: Callable[[Tensor, Tensor], Tensor]
    call_peer: Callable[[Tensor, Tensor], Tensor]


class Size(NamedTuple):
    parameters: int
    flops: int  # of one forward pass, as torch counts


def size(network: nn.Module, call: Callable[[Tensor, Tensor], Tensor], x: Tensor, noise: Tensor) -> Size:
    """Parameters, and FLOPs of one forward pass."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        call(x, noise)
    return Size(sum(p.numel() for p in network.parameters()), counter.get_total_flops())


def image_unet(widths: tuple[int, ...], blocks: int, embedding: int | None = None) -> UNet:
    """An unconditional U-Net for RGB images, attention on its last level."""
    return UNet(
        axes=2, channels=3, out_channels=3, cond=CondSpec(), widths=widths, blocks=blocks, embedding=embedding
    )


def diffusers_pair() -> Pair:
    """diffusers' UNet2DModel of three levels, attention on the last, scale-shift conditioning as ours."""
    import_torchaudio()  # diffusers imports transformers, which imports torchaudio
    from diffusers.models.unets.unet_2d import UNet2DModel

    peer = UNet2DModel(
        sample_size=32,
        in_channels=3,
        out_channels=3,
        block_out_channels=(64, 128, 256),
        layers_per_block=2,
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        resnet_time_scale_shift="scale_shift",
        attention_head_dim=32,
    )
    mine = image_unet((64, 128, 256), 2)
    return Pair(
        "diffusers UNet2DModel",
        mine,
        peer,
        lambda x, noise: mine(x, noise, Cond()),
        lambda x, noise: peer(x, noise, return_dict=False)[0],
    )


def lucidrains_pair() -> Pair:
    """denoising-diffusion-pytorch's Unet (48; 1, 2, 3)."""
    with_stand_in = find_spec("torchvision") is None
    names = ("torchvision", "torchvision.transforms", "torchvision.utils")
    if with_stand_in:
        for name in names:
            sys.modules[name] = ModuleType(name)
            sys.modules[name].__spec__ = ModuleSpec(name, None)
        for name in names[1:]:
            setattr(sys.modules["torchvision"], name.partition(".")[2], sys.modules[name])
    try:
        from denoising_diffusion_pytorch import Unet  # pyright: ignore[reportMissingImports]
    finally:
        for name in names if with_stand_in else ():
            sys.modules.pop(name, None)
    peer = Unet(dim=48, dim_mults=(1, 2, 3), flash_attn=True)
    mine = image_unet((64, 96, 128), 1, embedding=288)
    return Pair(
        "denoising-diffusion-pytorch Unet",
        mine,
        peer,
        lambda x, noise: mine(x, noise, Cond()),
        lambda x, noise: peer(x, noise),
    )
