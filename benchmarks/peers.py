"""Other projects that multigen is compared with: their networks, beside a U-Net of ours of the same size, and samplers.

All but diffusers are optional (`INSTALL`). They import torchvision for what is not used here: empty modules stand in
for it while they are imported, here and nowhere else.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from multigen.backbones.unet import UNet
from multigen.core.conditioning import Cond, CondSpec
from multigen.storage.torchaudio_shim import import_torchaudio

TOLERANCE = 0.02  # of parameters and of FLOPs, between the two networks of a row


INSTALL = "python -m pip install --no-deps -r benchmarks/peers.txt"
# Optional peers, and the modules that importing them takes.
MODULES = {
    "k-diffusion": ("k_diffusion", "scipy", "torchdiffeq", "torchsde", "trampoline"),
    "denoising-diffusion-pytorch": (
        "denoising_diffusion_pytorch",
        "accelerate",
        "ema_pytorch",
        "psutil",
        "scipy",
    ),
}
_TORCHVISION = (
    "torchvision",
    "torchvision.transforms",
    "torchvision.transforms.functional",
    "torchvision.utils",
)


def missing() -> list[str]:
    """Optional peers that are not installed, or not with all that they need."""
    return [peer for peer, modules in MODULES.items() if not all(find_spec(name) for name in modules)]


def note() -> str:
    """What is left out for want of a peer and how to have it, on one line; "" if nothing is."""
    absent = missing()
    return f"not installed, and left out: {', '.join(absent)}. Install with: {INSTALL}" if absent else ""


class Pair(NamedTuple):
    """Two networks of one size, with a call each: x [B, 3, H, W], noise [B] -> [B, 3, H, W]."""

    name: str
    multigen: UNet
    peer: nn.Module
    call_multigen: Callable[[Tensor, Tensor], Tensor]
    call_peer: Callable[[Tensor, Tensor], Tensor]


class Size(NamedTuple):
    """Parameters of a network, and FLOPs of one forward pass as torch counts them."""

    parameters: int
    flops: int


def size(network: nn.Module, call: Callable[[Tensor, Tensor], Tensor], x: Tensor, noise: Tensor) -> Size:
    """Parameters, and FLOPs of one forward pass as in training, where convolutions take all their products."""
    with FlopCounterMode(display=False) as counter, torch.enable_grad():
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


def lucidrains_pair() -> Pair | None:
    """denoising-diffusion-pytorch's Unet (48; 1, 2, 3); None where it is not installed."""
    if "denoising-diffusion-pytorch" in missing():
        return None
    with _torchvision_stand_in():
        unet = importlib.import_module("denoising_diffusion_pytorch").Unet
    peer = unet(dim=48, dim_mults=(1, 2, 3), flash_attn=True)
    mine = image_unet((64, 96, 128), 1, embedding=288)
    return Pair(
        "denoising-diffusion-pytorch Unet",
        mine,
        peer,
        lambda x, noise: mine(x, noise, Cond()),
        lambda x, noise: peer(x, noise),
    )


def k_sampling() -> ModuleType | None:
    """`k_diffusion.sampling`; None where it is not installed.

    The package's own `__init__`, which imports all of it, is not run.
    """
    if "k-diffusion" in missing():
        return None
    if "k_diffusion.sampling" not in sys.modules:
        spec = find_spec("k_diffusion")
        assert spec is not None  # as it is not missing
        package = ModuleType("k_diffusion")
        package.__path__ = list(spec.submodule_search_locations or ())
        package.__spec__ = spec
        sys.modules["k_diffusion"] = package
        with _torchvision_stand_in():
            importlib.import_module("k_diffusion.sampling")
    return sys.modules["k_diffusion.sampling"]


@contextmanager
def _torchvision_stand_in() -> Iterator[None]:
    """Empty modules in torchvision's place; whoever asks for it later finds what was there before."""
    before = {name: sys.modules.get(name) for name in _TORCHVISION}
    for name in _TORCHVISION:
        sys.modules[name] = module = ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
