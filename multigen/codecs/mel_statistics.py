"""Mean and principal components of frames, summed in float64 as the frames come.

    mean = E f,    C = E (f - mean)(f - mean)^T = V diag(variance) V^T

Columns of V with the largest variances are the principal components (Jolliffe 2002, "Principal Component Analysis",
section 1.1).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


class FrameStatistics:
    """Sums over frames [*, bins], on the CPU, because some devices have no float64 (MPS)."""

    def __init__(self, bins: int) -> None:
        self.count, self.loudest = 0, -math.inf
        self._total = torch.zeros(bins, dtype=torch.float64)
        self._square = torch.zeros(bins, bins, dtype=torch.float64)
        # Near the mean, so that the sum of squares keeps its digits.
        self._shift: Tensor | None = None

    def add(self, frames: Tensor) -> None:
        """Add frames [*, bins]."""
        frames = frames.to("cpu").double()  # in this order: the device may not have float64
        self._shift = frames.mean(0) if self._shift is None else self._shift
        self.count, self.loudest = self.count + len(frames), max(self.loudest, frames.max().item())
        self._total += (frames - self._shift).sum(0)
        self._square += (frames - self._shift).T @ (frames - self._shift)

    def moments(self) -> tuple[Tensor, Tensor]:
        """Return the mean [bins] and the covariance [bins, bins] of one frame or more."""
        assert self._shift is not None, "no frames were added"
        mean = self._total / self.count
        return mean + self._shift, self._square / self.count - torch.outer(mean, mean)


def principal_components(covariance: Tensor, components: int) -> tuple[Tensor, Tensor]:
    """Return the principal components [bins, components] and the variance of each, the largest first."""
    variance, vectors = torch.linalg.eigh(covariance)
    variance, vectors = variance.flip(0)[:components], vectors.flip(1)[:, :components]
    # An eigenvector's sign is arbitrary: make its largest entry positive, the same on every machine.
    largest = vectors.abs().argmax(0, keepdim=True)
    return vectors * vectors.gather(0, largest).sign(), variance
