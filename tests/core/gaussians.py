"""Truth to test against: data that are a mixture of Gaussians, whose denoiser and flow are known exactly."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from multigen.core import Cond, Schedule


class Analytic(nn.Module):
    """In place of a `Denoiser`: x0 in closed form, without a network."""

    def shared(self, cond: Cond) -> None:
        """Nothing: any samples share a call."""


class Mixture(Analytic):
    """E[x0 | x_t] for x0 ~ sum_k weight_k N(mean_k, std_k² I), in place of a `Denoiser`. x is [B, axes]."""

    def __init__(
        self,
        schedule: Schedule,
        weights: tuple[float, ...] = (0.3, 0.7),
        means: tuple[tuple[float, ...], ...] = ((-1.0,), (0.8,)),
        stds: tuple[float, ...] = (0.3, 0.2),
    ) -> None:
        super().__init__()
        self.schedule = schedule
        self.weights, self.means, self.stds = (
            torch.tensor(v, dtype=torch.float64) for v in (weights, means, stds)
        )

    def forward(self, x: Tensor, t: Tensor, cond: Cond) -> Tensor:
        """x [B, axes], t [B] -> x0 [B, axes]; exact from alpha = 0 to sigma = 0."""
        alpha, sigma = (c.to(torch.float64)[:, None] for c in self.schedule(t.double()))  # [B, 1]
        spread = alpha**2 * self.stds**2 + sigma**2  # [B, K] variance of x_t in each component
        off = x.double()[:, None] - alpha[..., None] * self.means  # [B, K, axes]
        axes = x.shape[1]
        logits = self.weights.log() - 0.5 * (off.square().sum(-1) / spread + axes * spread.log())
        gain = alpha * self.stds**2 / spread  # [B, K]
        each = self.means + gain[..., None] * off
        return (logits.softmax(1)[..., None] * each).sum(1).to(x.dtype)

    @property
    def mean(self) -> Tensor:
        return self.weights @ self.means  # [axes]

    @property
    def covariance(self) -> Tensor:
        centred = self.means - self.mean
        axes = self.means.shape[1]
        return torch.einsum("k,ki,kj->ij", self.weights, centred, centred) + (
            self.weights @ self.stds**2
        ) * torch.eye(axes, dtype=torch.float64)

    def share(self, x: Tensor) -> Tensor:
        """Of samples [n, axes], the share nearest to each mean: the weights, where the components stand apart."""
        nearest = torch.cdist(x.double(), self.means).argmin(1)
        return torch.bincount(nearest, minlength=len(self.weights)) / len(x)

    def cdf(self, y: Tensor, ratio: float) -> Tensor:
        """Distribution function of x0 + ratio eps, one axis: [B] -> [B]."""
        spread = (self.stds**2 + ratio**2).sqrt()
        return (self.weights * torch.special.ndtr((y[:, None] - self.means[:, 0]) / spread)).sum(1)

    def flow(self, x: Tensor, t: float, s: float) -> Tensor:
        """x_s [B, 1] of the probability-flow ODE through x_t [B, 1]: in one dimension it keeps every quantile."""
        (at, as_), (st, ss) = (c.tolist() for c in self.schedule(torch.tensor([t, s], dtype=torch.float64)))
        target = self.cdf(x[:, 0] / at, st / at)
        low, high = torch.full_like(target, -20.0), torch.full_like(target, 20.0)
        for _ in range(80):  # bisection, to the last bit
            middle = (low + high) / 2
            above = self.cdf(middle, ss / as_) > target
            low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        return as_ * ((low + high) / 2)[:, None]
