"""Networks that are measured: pairs of equal FLOPs, and the shapes of Stable Diffusion 1.5 and XL, made-up weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.peers import Size, size
from multigen.backbones.unet import UNet
from multigen.core.backbone import Backbone
from multigen.core.conditioning import Cond, CondSpec
from multigen.storage.torchaudio_shim import import_torchaudio

Call = Callable[[Tensor, Tensor], Tensor]  # x [B, C, *D], noise level [B] -> as x
TINY = (32, 64)


class Pair(NamedTuple):
    """A U-Net of ours and diffusers' UNet2DModel of the same size."""

    ours: nn.Module
    peer: nn.Module
    sizes: tuple[Size, Size]


def pair(widths: tuple[int, ...], side: int, device: torch.device) -> tuple[Callable[[], nn.Module], ...]:
    """Makers of ours and of the peer: RGB pictures, two blocks a level, attention on the last, scale-shift."""

    def ours() -> nn.Module:
        with device:
            return UNet(axes=2, channels=3, out_channels=3, cond=CondSpec(), widths=widths, blocks=2)

    def peer() -> nn.Module:
        import_torchaudio()
        from diffusers.models.unets.unet_2d import UNet2DModel

        plain = len(widths) - 1
        with device:
            return UNet2DModel(
                sample_size=side,
                in_channels=3,
                out_channels=3,
                block_out_channels=widths,
                layers_per_block=2,
                down_block_types=("DownBlock2D",) * plain + ("AttnDownBlock2D",),
                up_block_types=("AttnUpBlock2D",) + ("UpBlock2D",) * plain,
                resnet_time_scale_shift="scale_shift",
                attention_head_dim=32,
            )

    return ours, peer


def called(network: nn.Module) -> Call:
    """The network as a function of x and the noise level alone."""
    if isinstance(network, UNet):
        return lambda x, noise: network(x, noise, Cond())
    return lambda x, noise: network(x, noise, return_dict=False)[0]


def measured(make: Callable[[], nn.Module], side: int) -> Size:
    """Parameters, and FLOPs of a picture, counted on the meta device by a maker for it."""
    with torch.device("meta"):
        network = make()
        return size(network, called(network), torch.zeros(1, 3, side, side), torch.zeros(1))


def own(axes: int, device: torch.device, *, tiny: bool) -> tuple[UNet, tuple[int, ...]]:
    """A U-Net of ours for sound, pictures or video without condition, and the shape of a sample."""
    shape = {1: (64, 256), 2: (3, 64, 64), 3: (3, 16, 32, 32)}[axes]
    shape = (shape[0], *(n // 4 for n in shape[1:])) if tiny else shape
    widths = TINY if tiny else {1: (256, 320, 384), 2: (128, 256, 384), 3: (96, 192, 256)}[axes]
    with device:
        network = UNet(
            axes=axes, channels=shape[0], out_channels=shape[0], cond=CondSpec(), widths=widths, blocks=1
        )
    return network, shape


class Stable(Backbone):
    """A UNet2DConditionModel behind our backbone's interface; x is fp32 outside it, and cast to its weights' dtype."""

    c_noise = "index"

    def __init__(self, network: Any, more: Mapping[str, Tensor] | None = None) -> None:
        super().__init__()
        self.network, self.more = network, more

    def forward(self, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        """x [B, C, H, W], c_noise [B], cond.tokens [B, L, K] -> as x."""
        dtype = next(self.network.parameters()).dtype
        more = None
        if self.more is not None:
            more = {k: v.expand(len(x), *v.shape[1:]) for k, v in self.more.items()}
        assert cond.tokens is not None
        (out,) = self.network(
            x.to(dtype), c_noise, cond.tokens.to(dtype), added_cond_kwargs=more, return_dict=False
        )
        return out.to(x.dtype)


class Shape(NamedTuple):
    """A foreign network's settings, the side of its latents and what it is conditioned on."""

    settings: dict[str, Any]
    side: int
    width: int
    pooled: bool


SD15 = Shape(
    {"block_out_channels": (320, 640, 1280, 1280), "cross_attention_dim": 768, "attention_head_dim": 8},
    64, 768, False,
)  # fmt: skip
SDXL = Shape(
    {
        "block_out_channels": (320, 640, 1280),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "transformer_layers_per_block": (1, 2, 10),
        "cross_attention_dim": 2048,
        "attention_head_dim": (5, 10, 20),
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    },
    128, 2048, True,
)  # fmt: skip
SMALL = Shape(
    {
        "block_out_channels": (32, 64),
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "layers_per_block": 1,
        "cross_attention_dim": 32,
        "attention_head_dim": 8,
    },
    16, 32, False,
)  # fmt: skip


def stable(shape: Shape, device: torch.device, dtype: torch.dtype) -> Stable:
    """A network of that shape with made-up weights, made where it shall be."""
    import_torchaudio()
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            network = UNet2DConditionModel(sample_size=shape.side, **shape.settings)
    finally:
        torch.set_default_dtype(before)
    more = None
    if shape.pooled:
        ids = torch.tensor([[1024.0, 1024, 0, 0, 1024, 1024]], device=device, dtype=dtype)
        more = {"text_embeds": torch.randn(1, 1280, device=device, dtype=dtype), "time_ids": ids}
    return Stable(network.eval().requires_grad_(False), more)


def tokens(shape: Shape, seed: int, device: torch.device) -> Cond:
    """Made-up states of one prompt, [1, 77, K]."""
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(1, 77, shape.width, generator=generator).to(device)
    return Cond(tokens=states, mask=torch.ones(1, 77, dtype=torch.bool, device=device))
