"""Judging: a critic beside a distillation, which learns to tell the student's answers from its teacher's.

Sauer et al. 2023 (arXiv:2311.17042), section 3: an adversarial loss beside that of distillation keeps answers of few
steps sharp, where a squared error alone gives the mean of all that is possible.
"""

from __future__ import annotations

import torch
from torch import Tensor

from multigen.codecs import Codec
from multigen.core.conditioning import Cond
from multigen.core.denoiser import Denoiser, rows
from multigen.core.upload import upload
from multigen.training.critics import Critic

_LEAST = 0.05  # of a c_out that is divided by


class Judging:
    """What a critic says of answers, as media, beside what they should be.

    codec  decodes with a gradient

    `losses` collects pairs, which `teaching` and `critic_loss` hand out.
    """

    def __init__(self, critic: Critic, codec: Codec, denoiser: Denoiser) -> None:
        self.critic, self.codec, self.denoiser = critic, codec, denoiser
        self._pair: tuple[Tensor, Tensor] | None = None
        self._pairs: list[tuple[Tensor, Tensor]] = []

    def joined(self, progress: float) -> bool:
        """Whether the critic plays a part by now."""
        return progress >= self.critic.start

    def losses(self, x0: Tensor, t: Tensor, cond: Cond, eps: Tensor) -> Tensor:
        """Return the squared errors [B] of F, as `Denoiser.loss`, and keep the answers for the critic."""
        alpha, sigma = self.denoiser.schedule(t.double())
        c_out = self.denoiser.prediction.coefficients(alpha, sigma).c_out.abs().clamp_min(_LEAST)
        alpha, sigma, c_out = (rows(upload(one, x0.device, x0.dtype), x0) for one in (alpha, sigma, c_out))
        answer = self.denoiser(alpha * x0 + sigma * eps, t, cond)
        self._pair = (self.codec.decode(x0), self.codec.decode(answer))
        return ((answer - x0) / c_out).square().flatten(1).mean(1)

    def teaching(self) -> Tensor:
        """Return what the critic adds to the loss of the latest answers, a mean over them: 0-d."""
        assert self._pair is not None, "no answers were kept"
        real, made = self._pair
        self._pair = None
        self._pairs.append((real.detach(), made.detach()))
        return self.critic.teach(real, made)

    def critic_loss(self) -> Tensor:
        """Return the loss of the critic on the pairs since the last call: 0-d."""
        real, made = (torch.cat(column) for column in zip(*self._pairs, strict=True))
        self._pairs = []
        return self.critic.loss(real, made)
