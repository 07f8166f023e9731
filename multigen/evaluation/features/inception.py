"""InceptionV3 as FID uses it: the TensorFlow graph of 2015-12-05, with weights from the user's file."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multigen.evaluation.features import Facts, Feature
from multigen.evaluation.features.checks import check_media, check_modality
from multigen.evaluation.features.inception_network import CLASSES, WIDTH, Network
from multigen.evaluation.features.pictures import resized_tf1, rgb_levels
from multigen.evaluation.features.weights import freeze, load_weights, weights_file
from multigen.modalities import Modality
from multigen.registry import Given

_SIZE = 299
_SOURCE = (
    "pt_inception-2015-12-05-6726825d.pth of pytorch-fid, or weights-inception-2015-12-05-6726825d.pth of "
    "torch-fidelity (the same weights)"
)


class InceptionV3(nn.Module, Feature):
    """Images: the 2048 pooled features of InceptionV3 that FID, KID and the Inception Score are defined on.

    weights: path of your copy of the weights' file (PyTorch or safetensors, pytorch-fid's names)

    Szegedy et al. 2016 (arXiv:1512.00567), with the pooling, resizing and normalisation of the TensorFlow graph of
    2015-12-05 that FID is computed with (Heusel et al. 2017, arXiv:1706.08500). Probabilities come from the logits
    without their bias, 1008 classes, as in torch-fidelity's Inception Score.
    """

    classes = CLASSES

    def __init__(self, *, modality: Given[Modality], weights: str) -> None:
        super().__init__()
        check_modality(modality, 2, "inception_v3")
        path = weights_file(weights, _SOURCE)
        self.net = Network()
        digest = load_weights(self.net, path, "InceptionV3", ignored=("AuxLogits.",))
        freeze(self)
        self.facts = Facts(
            name="inception_v3",
            width=WIDTH,
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
