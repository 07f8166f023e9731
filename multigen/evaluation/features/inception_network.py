"""The layers of InceptionV3 in the TensorFlow graph of 2015-12-05 (Szegedy et al. 2016, arXiv:1512.00567)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH, CLASSES = 2048, 1008  # features, classes


class Conv(nn.Module):
    """Convolution, normalisation, ReLU; `kernel` is its side or (height, width)."""

    def __init__(
        self, channels: int, out: int, kernel: int | tuple[int, int], stride: int = 1, pad: bool = True
    ) -> None:
        super().__init__()
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (height // 2, width // 2) if pad else (0, 0)
        self.conv = nn.Conv2d(channels, out, (height, width), stride=stride, padding=padding, bias=False)
        self.bn = nn.BatchNorm2d(out, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, H, W] -> [B, out, H, W]; smaller with a stride or without padding."""
        return F.relu(self.bn(self.conv(x)))


class BlockA(nn.Module):
    """At 35x35 (fig. 5 of the paper): [B, channels, H, W] -> [B, 224 + pooled, H, W]."""

    def __init__(self, channels: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = Conv(channels, 64, 1)
        self.branch5x5_1, self.branch5x5_2 = Conv(channels, 48, 1), Conv(48, 64, 5)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = Conv(channels, 64, 1), Conv(64, 96, 3)
        self.branch3x3dbl_3 = Conv(96, 96, 3)
        self.branch_pool = Conv(channels, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Concatenate the four branches."""
        fives = self.branch5x5_2(self.branch5x5_1(x))
        threes = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), fives, threes, self.branch_pool(_mean(x))], 1)


class BlockB(nn.Module):
    """From 35x35 to 17x17: [B, channels, H, W] -> [B, 480 + channels, (H - 1) // 2, (W - 1) // 2]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch3x3 = Conv(channels, 384, 3, stride=2, pad=False)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = Conv(channels, 64, 1), Conv(64, 96, 3)
        self.branch3x3dbl_3 = Conv(96, 96, 3, stride=2, pad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Concatenate the three branches."""
        threes = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), threes, F.max_pool2d(x, 3, 2)], 1)


class BlockC(nn.Module):
    """At 17x17 (fig. 6): [B, channels, H, W] -> [B, 768, H, W]; 7x7 kernels are factorised through `inner` channels."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        wide, high = (1, 7), (7, 1)
        self.branch1x1 = Conv(channels, 192, 1)
        self.branch7x7_1, self.branch7x7_2 = Conv(channels, inner, 1), Conv(inner, inner, wide)
        self.branch7x7_3 = Conv(inner, 192, high)
        self.branch7x7dbl_1, self.branch7x7dbl_2 = Conv(channels, inner, 1), Conv(inner, inner, high)
        self.branch7x7dbl_3, self.branch7x7dbl_4 = Conv(inner, inner, wide), Conv(inner, inner, high)
        self.branch7x7dbl_5 = Conv(inner, 192, wide)
        self.branch_pool = Conv(channels, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Concatenate the four branches."""
        sevens = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        twice = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        twice = self.branch7x7dbl_5(self.branch7x7dbl_4(twice))
        return torch.cat([self.branch1x1(x), sevens, twice, self.branch_pool(_mean(x))], 1)


class BlockD(nn.Module):
    """From 17x17 to 8x8: [B, channels, H, W] -> [B, 512 + channels, (H - 1) // 2, (W - 1) // 2]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.branch3x3_1 = Conv(channels, 192, 1)
        self.branch3x3_2 = Conv(192, 320, 3, stride=2, pad=False)
        self.branch7x7x3_1, self.branch7x7x3_2 = Conv(channels, 192, 1), Conv(192, 192, (1, 7))
        self.branch7x7x3_3 = Conv(192, 192, (7, 1))
        self.branch7x7x3_4 = Conv(192, 192, 3, stride=2, pad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Concatenate the three branches."""
        sevens = self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x)))
        threes = self.branch3x3_2(self.branch3x3_1(x))
        return torch.cat([threes, self.branch7x7x3_4(sevens), F.max_pool2d(x, 3, 2)], 1)


class BlockE(nn.Module):
    """At 8x8 (fig. 7): [B, channels, H, W] -> [B, 2048, H, W]. The last block uses max pooling."""

    def __init__(self, channels: int, max_pool: bool) -> None:
        super().__init__()
        wide, high = (1, 3), (3, 1)
        self._max_pool = max_pool
        self.branch1x1 = Conv(channels, 320, 1)
        self.branch3x3_1 = Conv(channels, 384, 1)
        self.branch3x3_2a, self.branch3x3_2b = Conv(384, 384, wide), Conv(384, 384, high)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = Conv(channels, 448, 1), Conv(448, 384, 3)
        self.branch3x3dbl_3a, self.branch3x3dbl_3b = Conv(384, 384, wide), Conv(384, 384, high)
        self.branch_pool = Conv(channels, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Concatenate the four branches, two of which are split once more."""
        threes = self.branch3x3_1(x)
        twice = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pooled = F.max_pool2d(x, 3, 1, 1) if self._max_pool else _mean(x)
        parts = [self.branch1x1(x), self.branch3x3_2a(threes), self.branch3x3_2b(threes)]
        parts += [self.branch3x3dbl_3a(twice), self.branch3x3dbl_3b(twice), self.branch_pool(pooled)]
        return torch.cat(parts, 1)


class Network(nn.Module):
    """[B, 3, H, W] -> features [B, 2048]; `fc` makes 1008 logits of them. Layers are named as in the weights."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Conv(3, 32, 3, stride=2, pad=False)
        self.Conv2d_2a_3x3 = Conv(32, 32, 3, pad=False)
        self.Conv2d_2b_3x3 = Conv(32, 64, 3)
        self.Conv2d_3b_1x1 = Conv(64, 80, 1)
        self.Conv2d_4a_3x3 = Conv(80, 192, 3, pad=False)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = BlockA(192, 32), BlockA(256, 64), BlockA(288, 64)
        self.Mixed_6a = BlockB(288)
        self.Mixed_6b, self.Mixed_6c = BlockC(768, 128), BlockC(768, 160)
        self.Mixed_6d, self.Mixed_6e = BlockC(768, 160), BlockC(768, 192)
        self.Mixed_7a = BlockD(768)
        self.Mixed_7b, self.Mixed_7c = BlockE(1280, False), BlockE(2048, True)
        self.fc = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] -> features [B, 2048], means over the picture."""
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(F.max_pool2d(x, 3, 2))))
        x = self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))
        x = self.Mixed_6e(self.Mixed_6d(x))
        return self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x))).mean((2, 3))


def _mean(x: Tensor) -> Tensor:
    """Mean of 3x3 pixels; as in TensorFlow, the padding does not count."""
    return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
