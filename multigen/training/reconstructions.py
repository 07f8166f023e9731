"""Reconstruction losses (kind "reconstruction"): how far the copies of a VAE are from their originals."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multigen import registry
from multigen.codecs.fidelity import LogMel
from multigen.modalities import Modality
from multigen.modalities.image import Image
from multigen.registry import Given, Part
from multigen.training.spectra import magnitudes_apart


class Reconstruction(nn.Module, ABC):
    """A loss of copies: `forward(made, real)`, both [B, C, *D], returns a mean over the rows, 0-d.

    It is built for a modality, and has no weights that learn.
    """

    @abstractmethod
    def forward(self, made: Tensor, real: Tensor) -> Tensor:
        """Return the loss of copies `made` of `real`, both [B, C, *D] in [-1, 1], though copies may go beyond."""


class _Maps(Protocol):
    def maps(self, media: Tensor) -> list[Tensor]: ...


class Pictures(Reconstruction):
    """Pictures, and the frames of videos: mean absolute error, mean squared error and a perceptual distance.

    The perceptual distance compares the features of an image classifier from an installed package, each place's scaled
    to unit length: their squared distance, mean over places and layers (Zhang et al. 2018, arXiv:1801.03924, eq. 1,
    without its learned weights).

    feature     image feature with `maps` from which the perceptual distance is computed
    perceptual  weight of the perceptual distance; 0: the feature is not needed
    squared     weight of the mean squared error, which PSNR measures

    Raises ValueError for a modality without height and width, and for weights below 0.
    """

    def __init__(
        self,
        *,
        modality: Given[Modality],
        feature: str = "efficientnet_lite0",
        perceptual: float = 0.1,
        squared: float = 1.0,
    ) -> None:
        super().__init__()
        shape = modality.shape()
        if len(shape) < 3:
            raise ValueError(f"it compares pictures and videos; for {modality.name} take sounds")
        if perceptual < 0 or squared < 0:
            raise ValueError("perceptual and squared must be at least 0.")
        self.perceptual, self.squared = perceptual, squared
        self.feature: _Maps | None = None
        if perceptual > 0:
            channels, *_, height, width = shape
            if channels not in (1, 3, 4):
                raise ValueError(
                    f"a perceptual distance of {channels} channels is not known. Allowed: 1, 3, 4."
                )
            still = Image(size=(height, width), channels=channels)
            self.feature = registry.build(
                "feature", Part(feature), where="train.reconstruction.feature", given={"modality": still}
            )

    def forward(self, made: Tensor, real: Tensor) -> Tensor:
        """Return the loss of copies [B, C, H, W] or [B, C, T, H, W]."""
        if made.ndim == 5:
            made, real = (x.transpose(1, 2).flatten(0, 1) for x in (made, real))
        loss = F.l1_loss(made, real) + self.squared * F.mse_loss(made, real)
        if self.feature is None:
            return loss
        with torch.no_grad():
            wanted = self.feature.maps(real)
        found = self.feature.maps(made)
        far = [(_unit(a) - _unit(b)).square().sum(1).mean() for a, b in zip(found, wanted, strict=True)]
        return loss + self.perceptual * torch.stack(far).mean()


class Sounds(Reconstruction):
    """Sounds: STFT magnitudes of several sizes, log-mel frames, and the samples themselves.

    mel      weight of the log-mel error
    samples  weight of the mean absolute error of the samples, relative to their mean magnitude

    Raises ValueError for a modality that is not audio, and for weights below 0.
    """

    def __init__(self, *, modality: Given[Modality], mel: float = 1.0, samples: float = 1.0) -> None:
        super().__init__()
        if len(modality.shape()) != 2:
            raise ValueError(f"it compares sounds; for {modality.name} take pictures")
        if mel < 0 or samples < 0:
            raise ValueError("mel and samples must be at least 0.")
        self.mel, self.samples = mel, samples
        self.log_mel = LogMel(modality.shape(duration=1.0)[1])

    def forward(self, made: Tensor, real: Tensor) -> Tensor:
        """Return the loss of copies [B, C, N]."""
        flat, wanted = (x.flatten(0, 1)[:, None] for x in (made, real))
        loss = magnitudes_apart(flat, wanted) + self.mel * self.log_mel(made, real).mean()
        return loss + self.samples * F.l1_loss(made, real) / real.abs().mean().clamp_min(1e-3)


def _unit(x: Tensor) -> Tensor:
    """[B, C, h, w] with vectors of unit length at each place."""
    return x / (x.square().sum(1, keepdim=True) + 1e-6).sqrt()
