"""Schedules: `t -> (alpha, sigma)` with `x_t = alpha x0 + sigma eps`, t in [0, 1], 0 = data, 1 = noise.

A schedule is a *family*, which fixes alpha and sigma once the log-SNR is known, and a *curve*, which gives the
log-SNR `log(alpha²/sigma²)` at each t:

- `vp` (variance preserving): alpha² + sigma² = 1
- `flow` (straight paths): alpha + sigma = 1
- `ve` (variance exploding): alpha = 1

So a log-SNR shift (Hoogeboom et al. 2023, arXiv:2301.11093, eq. 4; for flow it is the time shift of Esser et al.
2024, arXiv:2403.03206, eq. 23) is one subtraction for every schedule.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor

Family = Literal["vp", "flow", "ve"]


class AlphaSigma(NamedTuple):
    """Coefficients of `x_t = alpha x0 + sigma eps`, each of the shape of t."""

    alpha: Tensor
    sigma: Tensor


class Curve(Protocol):
    """Log-SNR as a decreasing function of t, in float64; may be infinite at t = 0 and t = 1 only."""

    def log_snr(self, t: Tensor) -> Tensor: ...
    def time(self, log_snr: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Schedule:
    """A family, a curve and a log-SNR shift.

    `shift` multiplies sigma/alpha at each t; above 1 it spends more of the time in noise (larger media).
    `steps` is the length of the table for schedules that came from one, else None.
    """

    family: Family
    curve: Curve
    shift: float = 1.0
    steps: int | None = None

    def __post_init__(self) -> None:
        if not (self.shift > 0 and math.isfinite(self.shift)):
            raise ValueError(f"shift must be a finite number above 0, not {self.shift}")

    def log_snr(self, t: Tensor) -> Tensor:
        """log(alpha²/sigma²) at t; infinite where sigma or alpha is 0. Same shape and dtype as t."""
        return (self.curve.log_snr(t.double()) - 2 * math.log(self.shift)).to(t.dtype)

    def __call__(self, t: Tensor) -> AlphaSigma:
        snr = self.curve.log_snr(t.double()) - 2 * math.log(self.shift)
        if self.family == "vp":
            alpha, sigma = torch.sigmoid(snr).sqrt(), torch.sigmoid(-snr).sqrt()
        elif self.family == "flow":
            alpha, sigma = torch.sigmoid(snr / 2), torch.sigmoid(-snr / 2)
        else:
            alpha, sigma = torch.ones_like(snr), torch.exp(-snr / 2)
        return AlphaSigma(alpha.to(t.dtype), sigma.to(t.dtype))

    def inverse(self, log_snr: Tensor) -> Tensor:
        """t of a finite log-SNR, clamped to [0, 1]. Same shape and dtype as the input."""
        return self.curve.time(log_snr.double() + 2 * math.log(self.shift)).clamp(0, 1).to(log_snr.dtype)


# --- curves -----------------------------------------------------------------------------------------------------


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

    def _angle(self, t: Tensor | float) -> Tensor:
        return (torch.as_tensor(t, dtype=torch.float64) + self.s) / (1 + self.s) * (math.pi / 2)

    def log_snr(self, t: Tensor) -> Tensor:
        u, u0 = self._angle(t), self._angle(0.0).to(t.device)
        # 1 - alpha² as a product: the difference of the two squares would lose its digits near t = 0.
        snr = 2 * torch.log(torch.cos(u)) - torch.log(torch.sin(u - u0) * torch.sin(u + u0))
        return torch.where(t >= 1, -torch.inf, snr)

    def time(self, log_snr: Tensor) -> Tensor:
        u0 = self._angle(0.0).to(log_snr.device)
        u = torch.acos(torch.sigmoid(log_snr).sqrt() * torch.cos(u0))
        return u * (1 + self.s) / (math.pi / 2) - self.s


@dataclass(frozen=True)
class SigmoidCurve:
    """alpha² falls from 1 to 0 along a sigmoid. Jabri et al. 2022 (arXiv:2212.11972), algorithm 1."""

    start: float
    end: float
    tau: float

    def _ends(self) -> tuple[float, float]:
        return 1 / (1 + math.exp(-self.start / self.tau)), 1 / (1 + math.exp(-self.end / self.tau))

    def log_snr(self, t: Tensor) -> Tensor:
        low, high = self._ends()
        value = torch.sigmoid((t * (self.end - self.start) + self.start) / self.tau)
        snr = torch.log((high - value).clamp_min(0)) - torch.log((value - low).clamp_min(0))
        return torch.where(t >= 1, -torch.inf, torch.where(t <= 0, torch.inf, snr))

    def time(self, log_snr: Tensor) -> Tensor:
        low, high = self._ends()
        value = low + (high - low) * torch.sigmoid(-log_snr)
        return (torch.logit(value) * self.tau - self.start) / (self.end - self.start)


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
            raise ValueError("alphas_cumprod must be a falling list of at least two numbers, 1 > a[0] > ... >= 0")
        self.log_ratio = 0.5 * (torch.log1p(-bars) - torch.log(bars))  # [N] log(sigma/alpha)

    def log_snr(self, t: Tensor) -> Tensor:
        table = self.log_ratio.to(t.device)
        n = table.numel()
        place = t * n - 1  # index, from -1 at t = 0 to N-1 at t = 1
        left = place.floor().clamp(0, n - 2).long()
        part = place - left
        a, b = table[left], table[left + 1]
        ratio = a + part * (b - a)
        # Where b is infinite: alpha/sigma = exp(-a) (1 - part).
        ratio = torch.where(torch.isinf(b), a - torch.log1p(-part.clamp(max=1)), ratio)
        ratio = torch.where(place < 0, table[0] + torch.log((place + 1).clamp_min(0)), ratio)
        return -2 * ratio

    def time(self, log_snr: Tensor) -> Tensor:
        table = self.log_ratio.to(log_snr.device)
        n = table.numel()
        ratio = -log_snr / 2
        left = (torch.searchsorted(table, ratio.contiguous()) - 1).clamp(0, n - 2)
        a, b = table[left], table[left + 1]
        part = torch.where(torch.isinf(b), 1 - torch.exp(a - ratio), (ratio - a) / (b - a))
        place = torch.where(ratio < table[0], torch.exp(ratio - table[0]) - 1, left + part)
        return (place + 1) / n


# --- schedules by name ------------------------------------------------------------------------------------------


def flow(*, shift: float = 1.0) -> Schedule:
    """Rectified flow: alpha = 1 - t, sigma = t (Liu et al. 2022, arXiv:2209.03003)."""
    return Schedule("flow", FlowCurve(), shift)


def cosine(*, s: float = 0.008, shift: float = 1.0) -> Schedule:
    """Cosine (Nichol & Dhariwal 2021, arXiv:2102.09672, eq. 17)."""
    return Schedule("vp", CosineCurve(s), shift)


def sigmoid(*, start: float = -3.0, end: float = 3.0, tau: float = 1.0, shift: float = 1.0) -> Schedule:
    """Sigmoid (Jabri et al. 2022, arXiv:2212.11972, algorithm 1)."""
    if not (start < end and tau > 0):
        raise ValueError(f"sigmoid needs start < end and tau > 0, not start={start}, end={end}, tau={tau}")
    return Schedule("vp", SigmoidCurve(start, end, tau), shift)


def edm(
    *, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0, shift: float = 1.0
) -> Schedule:
    """Variance exploding, sigma by Karras et al. 2022 (arXiv:2206.00364), eq. 5, and 0 at t = 0."""
    if not 0 < sigma_min < sigma_max:
        raise ValueError(f"edm needs 0 < sigma_min < sigma_max, not {sigma_min} and {sigma_max}")
    return Schedule("ve", KarrasCurve(sigma_min, sigma_max, rho), shift)


def discrete(
    *, alphas_cumprod: Sequence[float], zero_terminal_snr: bool = False, shift: float = 1.0
) -> Schedule:
    """Variance preserving, from a table of alphas_cumprod, as foreign checkpoints carry it."""
    return _table(torch.tensor(list(alphas_cumprod), dtype=torch.float64), zero_terminal_snr, shift)


def linear(
    *,
    beta_start: float = 1e-4,
    beta_end: float = 0.02,
    steps: int = 1000,
    zero_terminal_snr: bool = False,
    shift: float = 1.0,
) -> Schedule:
    """DDPM: beta linear in the index (Ho et al. 2020, arXiv:2006.11239, section 4)."""
    betas = torch.linspace(beta_start, beta_end, steps, dtype=torch.float64)
    return _table(torch.cumprod(1 - betas, 0), zero_terminal_snr, shift)


def scaled_linear(
    *,
    beta_start: float = 0.00085,
    beta_end: float = 0.012,
    steps: int = 1000,
    zero_terminal_snr: bool = False,
    shift: float = 1.0,
) -> Schedule:
    """Stable Diffusion: the square root of beta linear in the index (Rombach et al. 2022, arXiv:2112.10752)."""
    betas = torch.linspace(beta_start**0.5, beta_end**0.5, steps, dtype=torch.float64) ** 2
    return _table(torch.cumprod(1 - betas, 0), zero_terminal_snr, shift)


def _table(alphas_cumprod: Tensor, zero_terminal_snr: bool, shift: float) -> Schedule:
    if zero_terminal_snr:
        # Lin et al. 2023 (arXiv:2305.08891), algorithm 1: shift alpha so that its last entry is 0, keep the first.
        alpha = alphas_cumprod.sqrt()
        first, last = alpha[0].clone(), alpha[-1].clone()
        alphas_cumprod = ((alpha - last) * first / (first - last)) ** 2
    return Schedule("vp", TableCurve(alphas_cumprod), shift, steps=alphas_cumprod.numel())
