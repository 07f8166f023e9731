"""Operators: what is known of a medium that is to be restored, as a linear map of the medium.

`Operator.__call__` acts in model space, differentiably; `measured` makes of the user's medium what it should give.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

from multigen.codecs import Codec
from multigen.codecs.mel import Mel
from multigen.modalities import Modality
from multigen.registry import Given

_FAINT = 1e-4  # of the greatest singular value: what is below says nothing


class Operator(ABC):
    """`gain`: A A^T is about this times the identity. `deviation`: of what it gives, where the medium's is 1."""

    gain: float = 1.0
    deviation: float | Tensor = 1.0

    @abstractmethod
    def whole(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape [C, *D] of the medium that was measured to give the user's, of `shape`. ValueError if none could."""

    @abstractmethod
    def measured(self, medium: Tensor) -> Tensor:
        """The user's medium [1, C, *d] as what the operator gives of the whole in model space."""

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """Model space [B, C', *D'] -> what is known of it, [B, ...]."""


class _Pictures(Operator):
    """Of images and videos, whose model space is their pixels (a VAE's decoder stands between)."""

    def __init__(self, *, modality: Given[Modality], codec: Given[Codec]) -> None:
        if len(modality.shape()) < 3:
            raise ValueError("this operator is for images and videos; for sounds take band_limit")
        self.codec = codec

    def measured(self, medium: Tensor) -> Tensor:
        return medium

    def media(self, x: Tensor) -> Tensor:
        """[B, C', *D'] -> [B, C, *D], differentiable also beyond the range."""
        return self.codec.unclamped(x)


class Downsample(_Pictures):
    """Means of blocks of `factor` x `factor` pixels: restoring them is super-resolution."""

    def __init__(self, *, modality: Given[Modality], codec: Given[Codec], factor: int = 2) -> None:
        super().__init__(modality=modality, codec=codec)
        if factor < 2:
            raise ValueError(f"factor: {factor} is not allowed. Allowed: 2 or more.")
        self.factor, self.gain = factor, factor**-2.0

    def whole(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape [C, *D] of the whole medium; see `Operator.whole`."""
        *before, height, width = shape
        return (*before, height * self.factor, width * self.factor)

    def __call__(self, x: Tensor) -> Tensor:
        """Model space [B, C', *D'] -> what is known of it, [B, ...]."""
        media = self.media(x)
        flat = F.avg_pool2d(media.flatten(0, -3)[:, None], self.factor)[:, 0]
        return flat.unflatten(0, media.shape[:-2])


class Frames(_Pictures):
    """Every `every`-th frame of a video: restoring them raises the frame rate."""

    def __init__(self, *, modality: Given[Modality], codec: Given[Codec], every: int = 2) -> None:
        super().__init__(modality=modality, codec=codec)
        if len(modality.shape()) != 4:
            raise ValueError("frames are of videos")
        if every < 2:
            raise ValueError(f"every: {every} is not allowed. Allowed: 2 or more.")
        self.every = every

    def whole(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape [C, *D] of the whole medium; see `Operator.whole`."""
        return (shape[0], shape[1] * self.every, *shape[2:])

    def __call__(self, x: Tensor) -> Tensor:
        """Model space [B, C', *D'] -> what is known of it, [B, ...]."""
        return self.media(x)[:, :, :: self.every]


class Blur(_Pictures):
    """A Gaussian of deviation `sigma` pixels over both axes, the edges going on."""

    def __init__(self, *, modality: Given[Modality], codec: Given[Codec], sigma: float = 2.0) -> None:
        super().__init__(modality=modality, codec=codec)
        if not 0 < sigma <= 64:
            raise ValueError(f"sigma: {sigma} pixels is not allowed. Allowed: over 0, to 64.")
        reach = max(round(3 * sigma), 1)
        line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma).square())
        self.line, self.reach = line / line.sum(), reach

    def whole(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape [C, *D] of the whole medium; see `Operator.whole`."""
        return shape

    def __call__(self, x: Tensor) -> Tensor:
        """Model space [B, C', *D'] -> what is known of it, [B, ...]."""
        media = self.media(x)
        line, r = self.line.to(media), self.reach
        flat = F.pad(media.flatten(0, -3)[:, None], (r, r, r, r), mode="replicate")
        flat = F.conv2d(F.conv2d(flat, line.view(1, 1, -1, 1)), line.view(1, 1, 1, -1))[:, 0]
        return flat.unflatten(0, media.shape[:-2])


class BandLimit(Operator):
    """Of a sound what lies below `high` Hz, as the mel codec's bins there: restoring it extends the bandwidth.

    The known bins, A x + b of the codec's components x, count as their coordinates U^T (A x + b) / S along the singular
    vectors of A = U S V^T: A itself is far from orthogonal, as the first components say most of a frame. What a
    coordinate is worth follows from its S.
    """

    def __init__(self, *, modality: Given[Modality], codec: Given[Codec], high: float = 4000.0) -> None:
        if not isinstance(codec, Mel):
            raise ValueError("band_limit is for sounds through the mel codec")
        rate = modality.shape(duration=1.0)[1]
        # A bin counts if its filter ends below: its energy is then all known.
        edges = codec.filters.shape[0]
        highest = (codec.filters > 0).float().cumsum(0).argmax(0) * (rate / 2) / (edges - 1)
        self.known = highest < high
        if not bool(self.known.any()) or bool(self.known.all()):
            raise ValueError(
                f"high: {high} Hz is not allowed. Allowed: within the codec's range, under {rate / 2} Hz."
            )
        self.codec = codec
        u, s, _ = torch.linalg.svd((codec.basis * codec.scale)[self.known].double(), full_matrices=False)
        there = s > _FAINT * s[0]
        self.along = (u[:, there] / s[there]).float()
        self.deviation = (1 / s[there]).float()

    def whole(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape [C, *D] of the whole medium; see `Operator.whole`."""
        return shape

    def measured(self, medium: Tensor) -> Tensor:
        """[1, C, N] -> what the known bins of its log-mel frames say, [1, C, T, coordinates]."""
        frames = self.codec.log_mel(medium.flatten(0, 1).float())
        return frames.unflatten(0, medium.shape[:2])[..., self.known] @ self.along

    def __call__(self, x: Tensor) -> Tensor:
        """Model space [B, C', *D'] -> what is known of it, [B, ...]."""
        return self.codec.levels(x)[..., self.known] @ self.along
