"""Curves: the log-SNR lambda(t) = log(alpha²/sigma²) of continuous schedules, and its inverse.

    flow     sigma/alpha = t/(1 - t)                                   Liu et al. 2022 (arXiv:2209.03003), eq. 1
    cosine   alpha² = cos²(u)/cos²(u0),  u = (t + s)/(1 + s) pi/2      Nichol & Dhariwal 2021 (arXiv:2102.09672), eq. 17
    sigmoid  alpha² = (S(e) - S(u))/(S(e) - S(b)),  u = b + (e - b) t  Jabri et al. 2022 (arXiv:2212.11972), alg. 1
    Karras   sigma^(1/rho) linear in t                                 Karras et al. 2022 (arXiv:2206.00364), eq. 5

with u0 = u(t = 0), S the logistic function, b = start/tau and e = end/tau.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Curve(Protocol):
    """The log-SNR as a falling function of t, in float64; it may be infinite at t = 0 and t = 1 only."""

    def log_snr(self, t: Tensor) -> Tensor:
        """t in [0, 1] -> log-SNR, in the shape of t."""
        ...

    def time(self, log_snr: Tensor) -> Tensor:
        """Finite log-SNR -> t, in its shape."""
        ...


@dataclass(frozen=True)
class FlowCurve:
    """Rectified flow."""

    def log_snr(self, t: Tensor) -> Tensor:
        """Compute 2 log((1 - t)/t)."""
        return 2 * (torch.log1p(-t) - torch.log(t))

    def time(self, log_snr: Tensor) -> Tensor:
        """Compute S(-lambda/2)."""
        return torch.sigmoid(-log_snr / 2)


@dataclass(frozen=True)
class CosineCurve:
    """Cosine schedule with offset s."""

    s: float

    def _angles(self) -> tuple[float, float]:
        """u0, and du/dt."""
        rate = math.pi / 2 / (1 + self.s)
        return self.s * rate, rate

    def log_snr(self, t: Tensor) -> Tensor:
        """Compute log(cos² u/(cos² u0 - cos² u))."""
        u0, rate = self._angles()
        du = t * rate
        # cos² u0 - cos² u as a product: a difference of squares would lose its digits near t = 0.
        clean, noisy = torch.cos(du + u0), torch.sin(du) * torch.sin(du + 2 * u0)
        return torch.where(t >= 1, -torch.inf, torch.log(clean.square() / noisy))

    def time(self, log_snr: Tensor) -> Tensor:
        """Compute t from tan² u = (1 - alpha² cos² u0)/(alpha² cos² u0), again without a difference."""
        u0, rate = self._angles()
        cos, sin = math.cos(u0), math.sin(u0)
        noisy = torch.sqrt(sin**2 + cos**2 * torch.sigmoid(-log_snr))
        return (torch.atan2(noisy, cos * torch.sigmoid(log_snr).sqrt()) - u0) / rate


@dataclass(frozen=True)
class SigmoidCurve:
    """Sigmoid schedule.

    With d = e - b and S(x) - S(y) = sinh((x - y)/2)/(2 cosh(x/2) cosh(y/2)), the formula keeps its digits at both ends:

        alpha²/sigma² = sinh(d (1 - t)/2)/sinh(d t/2) cosh(b/2)/cosh(e/2)
    """

    start: float
    end: float
    tau: float

    def _constants(self) -> tuple[float, float]:
        """d, and cosh(e/2)/cosh(b/2)."""
        ratio = math.cosh(self.end / self.tau / 2) / math.cosh(self.start / self.tau / 2)
        return (self.end - self.start) / self.tau, ratio

    def log_snr(self, t: Tensor) -> Tensor:
        """Compute the logarithm of the formula above."""
        d, ratio = self._constants()
        return torch.log(torch.sinh(d / 2 * (1 - t)) / torch.sinh(d / 2 * t) / ratio)

    def time(self, log_snr: Tensor) -> Tensor:
        """Compute t from e^(d t) = 1 + (e^(d/2) - e^(-d/2))/(ratio SNR + e^(-d/2))."""
        d, ratio = self._constants()
        return torch.log1p(2 * math.sinh(d / 2) / (torch.exp(log_snr) * ratio + math.exp(-d / 2))) / d


@dataclass(frozen=True)
class KarrasCurve:
    """EDM's schedule: sigma from sigma_min to sigma_max, and exactly 0 at t = 0."""

    sigma_min: float
    sigma_max: float
    rho: float

    # The smallest t that `time` returns: at t = 0 itself sigma jumps from sigma_min to 0.
    tiny = 1e-9

    def _roots(self) -> tuple[float, float]:
        return self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)

    def log_snr(self, t: Tensor) -> Tensor:
        """Compute -2 log sigma(t)."""
        low, high = self._roots()
        snr = -2 * self.rho * torch.log(low + t * (high - low))
        return torch.where(t <= 0, torch.inf, snr)

    def time(self, log_snr: Tensor) -> Tensor:
        """Compute t from sigma = e^(-lambda/2)."""
        low, high = self._roots()
        return ((torch.exp(-log_snr / (2 * self.rho)) - low) / (high - low)).clamp_min(self.tiny)
