"""Curves of schedules: the log-SNR `log(alpha²/sigma²)` at each t, and its inverse."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Curve(Protocol):
    """Log-SNR as a decreasing function of t, in float64; may be infinite at t = 0 and t = 1 only."""

    def log_snr(self, t: Tensor) -> Tensor:
        """t in [0, 1] -> log-SNR, of the same shape."""
        ...

    def time(self, log_snr: Tensor) -> Tensor:
        """The inverse, for a finite log-SNR."""
        ...


@dataclass(frozen=True)
class FlowCurve:
    """sigma/alpha = t/(1-t). Liu et al. 2022 (arXiv:2209.03003); Lipman et al. 2022 (arXiv:2210.02747)."""

    def log_snr(self, t: Tensor) -> Tensor:
        return 2 * (torch.log1p(-t) - torch.log(t))

    def time(self, log_snr: Tensor) -> Tensor:
        return torch.sigmoid(-log_snr / 2)


@dataclass(frozen=True)
class CosineCurve:
    """alpha² = cos²(u)/cos²(u0), u = (t+s)/(1+s) π/2. Nichol & Dhariwal 2021 (arXiv:2102.09672), eq. 17."""

    s: float

    def _angles(self) -> tuple[float, float]:
        """u0 = u(t = 0), and du/dt."""
        rate = math.pi / 2 / (1 + self.s)
        return self.s * rate, rate

    def log_snr(self, t: Tensor) -> Tensor:
        u0, rate = self._angles()
        du = t * rate
        # cos²(u0) (1 - alpha²) as a product: a difference of two squares would lose its digits near t = 0.
        clean, noisy = torch.cos(du + u0), torch.sin(du) * torch.sin(du + 2 * u0)
        return torch.where(t >= 1, -torch.inf, torch.log(clean.square() / noisy))

    def time(self, log_snr: Tensor) -> Tensor:
        u0, rate = self._angles()
        cos, sin = math.cos(u0), math.sin(u0)
        # tan² u = (1 - alpha² cos² u0) / (alpha² cos² u0), again without a difference.
        noisy = torch.sqrt(sin**2 + cos**2 * torch.sigmoid(-log_snr))
        return (torch.atan2(noisy, cos * torch.sigmoid(log_snr).sqrt()) - u0) / rate


@dataclass(frozen=True)
class SigmoidCurve:
    """alpha² falls from 1 to 0 along a sigmoid. Jabri et al. 2022 (arXiv:2212.11972), algorithm 1.

    alpha² = (S(e) - S(u)) / (S(e) - S(b)) with S the logistic function, b = start/tau, e = end/tau, u = b + (e-b) t.
    As S(x) - S(y) = sinh((x-y)/2) / (2 cosh(x/2) cosh(y/2)), with d = e - b:
    alpha²/sigma² = sinh(d (1-t)/2) / sinh(d t/2) * cosh(b/2) / cosh(e/2), which keeps its digits at both ends.
    """

    start: float
    end: float
    tau: float

    def _constants(self) -> tuple[float, float]:
        """d, and cosh(e/2) / cosh(b/2)."""
        ratio = math.cosh(self.end / self.tau / 2) / math.cosh(self.start / self.tau / 2)
        return (self.end - self.start) / self.tau, ratio

    def log_snr(self, t: Tensor) -> Tensor:
        d, ratio = self._constants()
        return torch.log(torch.sinh(d / 2 * (1 - t)) / torch.sinh(d / 2 * t) / ratio)

    def time(self, log_snr: Tensor) -> Tensor:
        d, ratio = self._constants()
        # e^(d t) = 1 + (e^(d/2) - e^(-d/2)) / (ratio SNR + e^(-d/2))
        return torch.log1p(2 * math.sinh(d / 2) / (torch.exp(log_snr) * ratio + math.exp(-d / 2))) / d


@dataclass(frozen=True)
class KarrasCurve:
    """sigma^(1/rho) linear in t. Karras et al. 2022 (arXiv:2206.00364), eq. 5. sigma is exactly 0 at t = 0."""

    sigma_min: float
    sigma_max: float
    rho: float

    # The smallest t that `time` returns: at t = 0 itself sigma jumps from sigma_min to 0.
    tiny = 1e-9

    def _roots(self) -> tuple[float, float]:
        return self.sigma_min ** (1 / self.rho), self.sigma_max ** (1 / self.rho)

    def log_snr(self, t: Tensor) -> Tensor:
        low, high = self._roots()
        snr = -2 * self.rho * torch.log(low + t * (high - low))
        return torch.where(t <= 0, torch.inf, snr)

    def time(self, log_snr: Tensor) -> Tensor:
        low, high = self._roots()
        return ((torch.exp(-log_snr / (2 * self.rho)) - low) / (high - low)).clamp_min(self.tiny)


class TableCurve:
    """A table of alphas_cumprod [N], index i at t = (i+1)/N; log(sigma/alpha) is linear in t between indices.

    Below index 0 sigma/alpha falls linearly to 0 at t = 0. Where the last entry is 0 (zero terminal SNR),
    alpha/sigma falls linearly to 0 over the last interval.
    """

    def __init__(self, alphas_cumprod: Tensor) -> None:
        bars = alphas_cumprod.detach().to("cpu", torch.float64)
        inside = bars.numel() > 1 and bool((bars < 1).all()) and bool((bars[:-1] > 0).all()) and bars[-1] >= 0
        if bars.ndim != 1 or not inside or not bool((bars.diff() < 0).all()):
            raise ValueError(
                "alphas_cumprod must be a falling list of at least two numbers, 1 > a[0] > ... >= 0"
            )
        self.log_ratio = 0.5 * (torch.log1p(-bars) - torch.log(bars))  # [N] log(sigma/alpha)
        self.pure = bool(bars[-1] == 0)
        # Interval k runs from place k to k + 1, place = t N: log-SNR there begins at _start[k] and falls by _fall[k].
        # The two curved intervals, the first and that to alpha = 0, are flat here; log_snr adds their curve.
        self._start = -2 * torch.cat([self.log_ratio[:1], self.log_ratio[:-1]])  # [N]
        self._fall = torch.nan_to_num(-2 * self.log_ratio - self._start, neginf=0.0)  # [N]

    def log_snr(self, t: Tensor) -> Tensor:
        place = t * self._start.numel()
        left = place.long().clamp_(0, self._start.numel() - 1)
        start, fall = self._start.to(t.device).take(left), self._fall.to(t.device).take(left)
        snr = torch.addcmul(start, fall, place - left).sub_(place.clamp(0, 1).log_(), alpha=2)
        if self.pure:
            snr.add_((self._start.numel() - place).clamp_(0, 1).log_(), alpha=2)
        return snr

    def time(self, log_snr: Tensor) -> Tensor:
        table = self.log_ratio.to(log_snr.device)
        n = table.numel()
        ratio = -log_snr / 2
        left = (torch.searchsorted(table, ratio.contiguous()) - 1).clamp(0, n - 2)
        a, b = table[left], table[left + 1]
        part = torch.where(torch.isinf(b), 1 - torch.exp(a - ratio), (ratio - a) / (b - a))
        place = torch.where(ratio < table[0], torch.exp(ratio - table[0]) - 1, left + part)
        return (place + 1) / n
