"""Denoiser = backbone + schedule + prediction: `(x_t, t, cond) -> x0`, and the training loss."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from multigen.core.conditioning import Cond
from multigen.core.predictions import Prediction
from multigen.core.schedules import Schedule

LOG_SNR_LIMIT = 20.0


class Backbone(Protocol):
    """The network F. Knows nothing of schedules, samplers or prompts; an `nn.Module`."""

    def __call__(self, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        """[B, C, *D], [B], conditions -> [B, C', *D]."""
        ...


def rows(values: Tensor, like: Tensor) -> Tensor:
    """[B] -> [B, 1, ...] in the dtype and on the device of `like`."""
    return values.to(like.device, like.dtype).reshape(-1, *[1] * (like.ndim - 1))


class Denoiser(nn.Module):
    """Wraps a backbone so that samplers and objectives see x0 and [B] losses.

    `precision` is the autocast dtype of the network; x stays fp32 outside it. None: no autocast.
    """

    def __init__(
        self,
        backbone: nn.Module,
        schedule: Schedule,
        prediction: Prediction,
        *,
        precision: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.backbone, self.schedule, self.prediction = backbone, schedule, prediction
        self.precision = precision

    def network(self, x: Tensor, t: Tensor, cond: Cond) -> Tensor:
        """F(x, c_noise, cond) in fp32; x [B, C, *D] already scaled by c_in, t [B]."""
        c_noise = self.schedule.log_snr(t.double()).clamp(-LOG_SNR_LIMIT, LOG_SNR_LIMIT)
        device = x.device.type
        with torch.autocast(device, dtype=self.precision, enabled=self.precision is not None):
            return self.backbone(x, c_noise.to(x.device, x.dtype), cond).to(x.dtype)

    def forward(self, x: Tensor, t: Tensor, cond: Cond) -> Tensor:
        """x_t [B, C, *D], t [B] -> x0 [B, C, *D]."""
        alpha, sigma = self.schedule(t.double())
        c_in, c_skip, c_out = (rows(c, x) for c in self.prediction.coefficients(alpha, sigma))
        return c_skip * x + c_out * self.network(c_in * x, t, cond)

    def loss(self, x0: Tensor, t: Tensor, cond: Cond, eps: Tensor) -> Tensor:
        """Mean square error in F space, per sample: x0 and eps [B, C, *D], t [B] -> [B]."""
        alpha, sigma = self.schedule(t.double())
        c_in, _, _ = self.prediction.coefficients(alpha, sigma)
        a, s = rows(alpha, x0), rows(sigma, x0)
        answer = self.network(rows(c_in, x0) * (a * x0 + s * eps), t, cond)
        return (answer - self.prediction.target(x0, eps, a, s)).square().flatten(1).mean(1)
