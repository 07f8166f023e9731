"""Weights of noise levels, learned during training, so that no level dominates the others."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Uncertainty(nn.Module):
    """u(log-SNR), the logarithm of the loss of a network at a noise level.

    The loss becomes

        loss / exp(u) + u

    (Karras et al. 2024, arXiv:2312.02696, section 2.2 and appendix B.3, eq. 21, after Kendall et al. 2018,
    arXiv:1705.07115). Where u is the logarithm of the mean loss, every level counts as 1, so that all contribute
    gradients of similar size. A linear layer on Fourier features, zero at the start: training begins unweighted.
    """

    phases: Tensor
    frequencies: Tensor

    def __init__(self, features: int = 64) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(0)
        self.register_buffer("frequencies", torch.randn(features, generator=rng), persistent=False)
        self.register_buffer("phases", 2 * math.pi * torch.rand(features, generator=rng), persistent=False)
        self.weight = nn.Parameter(torch.zeros(features))
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, log_snr: Tensor) -> Tensor:
        """log-SNR [B], clamped to ±20 -> u [B]."""
        level = log_snr.clamp(-20, 20).float() / 4  # a quarter of log(sigma), twice, as c_noise of EDM2
        waves = math.sqrt(2) * torch.cos(level[:, None] * self.frequencies + self.phases)
        return waves @ self.weight / math.sqrt(len(self.weight)) + self.bias

    def loss(self, losses: Tensor, log_snr: Tensor) -> Tensor:
        """losses [B], without their graph, log-SNR [B] -> [B], minimal where u is the logarithm of the mean loss."""
        u = self(log_snr)
        return losses / u.exp() + u
