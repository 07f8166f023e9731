"""InceptionV3 as FID knows it: the graph of 2015-12-05, with the weights of the user's own file."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multigen.evaluation.features import Facts
from multigen.evaluation.features.common import (
    check_media,
    frozen,
    load_weights,
    needs,
    resized_tf1,
    rgb_levels,
    weights_file,
)
from multigen.modalities import Modality
from multigen.registry import Given

_SIZE, _WIDTH, _CLASSES = 299, 2048, 1008
_SOURCE = (
    "pt_inception-2015-12-05-6726825d.pth of pytorch-fid, or weights-inception-2015-12-05-6726825d.pth of "
    "torch-fidelity, which are the same"
)


class InceptionV3(nn.Module):
    """Images: the 2048 pooled features of InceptionV3 that FID, KID and the Inception Score are defined on.

    weights: path of your copy of the weights' file (PyTorch or safetensors, pytorch-fid's names)

    Szegedy et al. 2016 (arXiv:1512.00567) with the pooling of the TensorFlow graph of 2015-12-05 that FID is computed
    with (Heusel et al. 2017, arXiv:1706.08500); resized and normalised as that graph does it. Probabilities are those
    of the logits without their bias, 1008 classes, as torch-fidelity takes them for the Inception Score.
    """

    def __init__(self, *, modality: Given[Modality], weights: str) -> None:
        super().__init__()
        needs(modality, 2, "inception_v3")
        path = weights_file(weights, _SOURCE)
        self.net = Network()
        digest = load_weights(self.net, path, "InceptionV3", ignored=("AuxLogits.",))
        frozen(self)
        self.facts = Facts(
            name="inception_v3",
            width=_WIDTH,
            takes=f"{_SIZE}x{_SIZE} RGB, bilinear as TensorFlow 1",
            normalisation="level / 128 - 1, levels 0 to 255",
            licence="Apache-2.0; trained on ImageNet",
            weights=digest,
        )

    @torch.no_grad()
    def forward(self, media: Tensor) -> Tensor:
        """[B, C, H, W] in [-1, 1] -> [B, 1, 2048]."""
        return self.net(self._pictures(media))[:, None]

    @torch.no_grad()
    def probabilities(self, media: Tensor) -> Tensor:
        """[B, C, H, W] in [-1, 1] -> [B, 1008]."""
        return F.linear(self.net(self._pictures(media)), self.net.fc.weight).softmax(1)

    def _pictures(self, media: Tensor) -> Tensor:
        check_media(media, 2, "inception_v3")
        return (resized_tf1(rgb_levels(media), _SIZE, _SIZE) - 128) / 128


class Conv(nn.Module):
    """Convolution, normalisation, ReLU; a kernel's side or (height, width)."""

    def __init__(
        self, channels: int, out: int, kernel: int | tuple[int, int], stride: int = 1, pad: bool = True
    ) -> None:
        super().__init__()
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (height // 2, width // 2) if pad else (0, 0)
        self.conv = nn.Conv2d(channels, out, (height, width), stride=stride, padding=padding, bias=False)
        self.bn = nn.BatchNorm2d(out, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
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
        threes = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), threes, F.max_pool2d(x, 3, 2)], 1)


class BlockC(nn.Module):
    """At 17x17 (fig. 6): [B, channels, H, W] -> [B, 768, H, W], sevens factorised through `inner` channels."""

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
        sevens = self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x)))
        threes = self.branch3x3_2(self.branch3x3_1(x))
        return torch.cat([threes, self.branch7x7x3_4(sevens), F.max_pool2d(x, 3, 2)], 1)


class BlockE(nn.Module):
    """At 8x8 (fig. 7): [B, channels, H, W] -> [B, 2048, H, W]. The last block pools by the largest value."""

    def __init__(self, channels: int, largest: bool) -> None:
        super().__init__()
        wide, high = (1, 3), (3, 1)
        self._largest = largest
        self.branch1x1 = Conv(channels, 320, 1)
        self.branch3x3_1 = Conv(channels, 384, 1)
        self.branch3x3_2a, self.branch3x3_2b = Conv(384, 384, wide), Conv(384, 384, high)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = Conv(channels, 448, 1), Conv(448, 384, 3)
        self.branch3x3dbl_3a, self.branch3x3dbl_3b = Conv(384, 384, wide), Conv(384, 384, high)
        self.branch_pool = Conv(channels, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        threes = self.branch3x3_1(x)
        twice = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pooled = F.max_pool2d(x, 3, 1, 1) if self._largest else _mean(x)
        parts = [self.branch1x1(x), self.branch3x3_2a(threes), self.branch3x3_2b(threes)]
        parts += [self.branch3x3dbl_3a(twice), self.branch3x3dbl_3b(twice), self.branch_pool(pooled)]
        return torch.cat(parts, 1)


class Network(nn.Module):
    """[B, 3, H, W] -> [B, 2048]. Named as in the weights' file."""

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
        self.fc = nn.Linear(_WIDTH, _CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(F.max_pool2d(x, 3, 2))))
        x = self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))
        x = self.Mixed_6e(self.Mixed_6d(x))
        return self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x))).mean((2, 3))


def _mean(x: Tensor) -> Tensor:
    """Means of 3x3; zeros beyond the edge are not counted, as in TensorFlow."""
    return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
