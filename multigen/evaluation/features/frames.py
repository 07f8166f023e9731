"""Video features from an image extractor: what the frames show, and how much it changes."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn

from multigen import registry
from multigen.errors import MultigenError
from multigen.evaluation.features import Facts, Feature
from multigen.evaluation.features.checks import check_media, check_modality
from multigen.modalities import Modality
from multigen.modalities.image import Image
from multigen.registry import Given, Part

_AT_ONCE = 64  # frames per call of the image extractor


class Frames(nn.Module, Feature):
    """Video: an image extractor's features of every frame: their mean over time and the mean of their changes.

    image: name of the image feature
    weights: weights file of the image feature, if it needs one

    Twice as wide as the image feature: first mean_t f(x_t), then mean_t |f(x_t+1) - f(x_t)|, which is 0 for a still
    and large for flicker. It cannot tell a video from the same video played backwards. It needs no video network;
    if you have I3D's weights, prefer `i3d`, which FVD is defined on.
    """

    def __init__(
        self, *, modality: Given[Modality], image: str = "efficientnet_lite0", weights: str | None = None
    ) -> None:
        super().__init__()
        check_modality(modality, 3, "frames")
        channels, _, height, width = modality.shape()
        if channels not in (1, 3):
            raise MultigenError(f"frames: {channels} channels are not allowed. Allowed: 1, 3.")
        part = Part(image, {} if weights is None else {"weights": weights})
        still = Image(size=(height, width), channels=channels)
        self.image: Feature = registry.build("feature", part, where="image", given={"modality": still})
        inner = self.image.facts
        self.facts = Facts(
            name=f"frames of {inner.name}",
            width=2 * inner.width,
            takes=f"every frame, {inner.takes}",
            normalisation=inner.normalisation,
            licence=inner.licence,
            weights=inner.weights,
        )

    @torch.no_grad()
    def forward(self, media: Tensor) -> Tensor:
        """[B, C, T, H, W] in [-1, 1] -> [B, 1, 2 * width]; the changes of a single frame are 0."""
        check_media(media, 3, "frames")
        stills = rearrange(media, "b c t h w -> (b t) c h w")
        found = torch.cat([self.image(part).mean(1) for part in stills.split(_AT_ONCE)])
        found = rearrange(found, "(b t) w -> b t w", b=len(media))
        if found.shape[1] == 1:
            return torch.cat([found, torch.zeros_like(found)], 2)
        changes = (found[:, 1:] - found[:, :-1]).abs().mean(1)
        return torch.cat([found.mean(1), changes], 1)[:, None]
