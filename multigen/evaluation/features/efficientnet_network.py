"""The layers of EfficientNet-Lite0 (Tan & Le 2019, arXiv:1905.11946)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

WIDTH, CLASSES = 1280, 1000  # features, classes

# Tan & Le 2019, table 1, without squeeze-and-excitation: (repeats, kernel, stride, expansion, channels).
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
# The last block at 1/2, 1/4, 1/8 and 1/16 of the size; deeper ones say what is shown more than how it looks.
_LAST = (0, 2, 4, 10)
_AT = tuple(k in _LAST for k in range(_LAST[-1] + 1))


class Network(nn.Module):
    """[B, 3, H, W] -> features [B, 1280]. Layers are named as in the weights."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = _Same(3, 32, 3, stride=2)
        self._bn0 = _norm(32)
        blocks: list[nn.Module] = []
        channels = 32
        for repeats, kernel, stride, expansion, out in _STAGES:
            for k in range(repeats):
                blocks.append(Block(channels, out, kernel, stride if k == 0 else 1, expansion))
                channels = out
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = nn.Conv2d(channels, WIDTH, 1, bias=False)
        self._bn1 = _norm(WIDTH)
        self._fc = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, 1280]: features pooled over the picture."""
        x = F.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        return F.relu6(self._bn1(self._conv_head(x))).mean((2, 3))

    def maps(self, x: Tensor) -> list[Tensor]:
        """[B, 3, H, W] -> the output of the last block of each size down to 1/16: [B, channels, h, w] each."""
        x, found = F.relu6(self._bn0(self._conv_stem(x))), []
        for block, last in zip(self._blocks[: _LAST[-1] + 1], _AT, strict=True):
            x = block(x)
            if last:
                found.append(x)
        return found

    def logits(self, features: Tensor) -> Tensor:
        """Features [B, 1280] -> logits [B, 1000]."""
        return self._fc(features)


class Block(nn.Module):
    """Inverted bottleneck (Sandler et al. 2018, fig. 3b): expand, convolve each channel on its own, project."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = channels * expansion
        self._expands, self._adds = expansion > 1, stride == 1 and channels == out
        if self._expands:
            self._expand_conv = nn.Conv2d(channels, wide, 1, bias=False)
            self._bn0 = _norm(wide)
        self._depthwise_conv = _Same(wide, wide, kernel, stride=stride, groups=wide)
        self._bn1 = _norm(wide)
        self._project_conv = nn.Conv2d(wide, out, 1, bias=False)
        self._bn2 = _norm(out)

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, H, W] -> [B, out, ceil(H / stride), ceil(W / stride)]."""
        y = F.relu6(self._bn0(self._expand_conv(x))) if self._expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self._adds else y


class _Same(nn.Conv2d):
    """A convolution padded like TensorFlow's SAME: output of ceil(size / stride), the odd zero at the end."""

    def __init__(self, channels: int, out: int, kernel: int, *, stride: int, groups: int = 1) -> None:
        super().__init__(channels, out, kernel, stride=stride, groups=groups, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        pads: list[int] = []
        for size, kernel, stride in zip(input.shape[:1:-1], self.kernel_size, self.stride, strict=True):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return super().forward(F.pad(input, pads))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)
