"""The layers of I3D, an Inception network inflated to video (Carreira & Zisserman 2017, arXiv:1705.07750)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH, CLASSES = 1024, 400  # features, classes

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


class Unit(nn.Module):
    """A convolution padded like TensorFlow's SAME, with normalisation and ReLU unless it is the last layer."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int = 1, last: bool = False) -> None:
        super().__init__()
        self._kernel, self._stride, self._last = (kernel,) * 3, (stride,) * 3, last
        self.conv3d = nn.Conv3d(channels, out, kernel, stride=stride, bias=last)
        if not last:
            self.bn = nn.BatchNorm3d(out, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, T, H, W] -> [B, out, ceil(T / stride), ceil(H / stride), ceil(W / stride)]."""
        x = self.conv3d(_padded(x, self._kernel, self._stride))
        return x if self._last else F.relu(self.bn(x))


class Mixed(nn.Module):
    """Four parallel branches (Szegedy et al. 2015, fig. 2b, in three dimensions)."""

    def __init__(self, channels: int, b0: int, b1a: int, b1b: int, b2a: int, b2b: int, b3b: int) -> None:
        super().__init__()
        self.b0 = Unit(channels, b0, 1)
        self.b1a, self.b1b = Unit(channels, b1a, 1), Unit(b1a, b1b, 3)
        self.b2a, self.b2b = Unit(channels, b2a, 1), Unit(b2a, b2b, 3)
        self.b3b = Unit(channels, b3b, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, T, H, W] -> [B, b0 + b1b + b2b + b3b, T, H, W]."""
        pooled = _max_pool(x, (3, 3, 3), (1, 1, 1))
        return torch.cat([self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)], 1)


class Network(nn.Module):
    """[B, 3, T, 224, 224] -> pooled features [B, 1024] and logits [B, 400]. Layers are named as in the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv3d_1a_7x7 = Unit(3, 64, 7, stride=2)
        self.Conv3d_2b_1x1 = Unit(64, 64, 1)
        self.Conv3d_2c_3x3 = Unit(64, 192, 3)
        self._mixed = tuple(_MIXED)
        for name, channels in _MIXED.items():
            self.add_module(name, Mixed(*channels))
        self.logits = Unit(WIDTH, CLASSES, 1, last=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled features and logits, both means over time."""
        x = _max_pool(self.Conv3d_1a_7x7(x), (1, 3, 3), (1, 2, 2))
        x = _max_pool(self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(x)), (1, 3, 3), (1, 2, 2))
        for name in self._mixed:
            if name == "Mixed_4b":
                x = _max_pool(x, (3, 3, 3), (2, 2, 2))
            elif name == "Mixed_5b":
                x = _max_pool(x, (2, 2, 2), (2, 2, 2))
            x = self.get_submodule(name)(x)
        x = F.avg_pool3d(x, (2, 7, 7), stride=1)
        return x.mean((2, 3, 4)), self.logits(x).mean((2, 3, 4))


def _padded(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """Zeros around the last three axes for an output of ceil(size / stride); the odd one stands at the end."""
    pads: list[int] = []
    for size, k, s in reversed(list(zip(x.shape[2:], kernel, stride, strict=True))):
        total = max((-(-size // s) - 1) * s + k - size, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads)


def _max_pool(x: Tensor, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> Tensor:
    return F.max_pool3d(_padded(x, kernel, stride), kernel, stride)
