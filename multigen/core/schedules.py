"""Schedules: `t -> (alpha, sigma)` with `x_t = alpha x0 + sigma eps`, t in [0, 1], 0 = data, 1 = noise.

A schedule is a *family*, which fixes alpha and sigma once the log-SNR is known, and a *curve*, which gives the
log-SNR `log(alpha²/sigma²)` at each t (`multigen.core.curves`):

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
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from multigen.core.curves import CosineCurve, Curve, FlowCurve, KarrasCurve, SigmoidCurve, TableCurve

Family = Literal["vp", "flow", "ve"]


class AlphaSigma(NamedTuple):
    """Coefficients of `x_t = alpha x0 + sigma eps`, each of the shape of t."""

    alpha: Tensor
    sigma: Tensor


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
        _need(1e-3 <= self.shift <= 1e3, "a schedule", "0.001 <= shift <= 1000", shift=self.shift)

    def log_snr(self, t: Tensor) -> Tensor:
        """log(alpha²/sigma²) at t; infinite where sigma or alpha is 0. Same shape and dtype as t."""
        snr = self.curve.log_snr(t.double())
        return (snr if self.shift == 1 else snr - 2 * math.log(self.shift)).to(t.dtype)

    def levels(self, log_snr: Tensor) -> AlphaSigma:
        """alpha and sigma of a log-SNR (as `log_snr` gives it), of its shape and dtype.

        Each is computed from the log-SNR on its own, so that neither loses digits where it is small.
        """
        if self.family == "vp":
            return AlphaSigma(torch.sigmoid(log_snr).sqrt(), torch.sigmoid(-log_snr).sqrt())
        if self.family == "flow":
            half = log_snr / 2
            return AlphaSigma(torch.sigmoid(half), torch.sigmoid(-half))
        return AlphaSigma(torch.ones_like(log_snr), torch.exp(log_snr / -2))

    def __call__(self, t: Tensor) -> AlphaSigma:
        """alpha and sigma at t, of its shape and dtype; computed in float64."""
        alpha, sigma = self.levels(self.log_snr(t.double()))
        return AlphaSigma(alpha.to(t.dtype), sigma.to(t.dtype))

    def inverse(self, log_snr: Tensor) -> Tensor:
        """t of a finite log-SNR, clamped to [0, 1]. Same shape and dtype as the input."""
        return self.curve.time(log_snr.double() + 2 * math.log(self.shift)).clamp(0, 1).to(log_snr.dtype)

    def index(self, t: Tensor) -> Tensor:
        """Place of t's noise level in the table, 0 to steps - 1, between entries too. Same shape and dtype as t.

        What networks that were trained on a table take for the noise level. ValueError for a schedule without one.
        """
        if self.steps is None:
            raise ValueError(
                "this network takes the index of a table for the noise level; the schedule has none. Allowed: "
                "scaled_linear, linear, discrete"
            )
        place = t.double() if self.shift == 1 else self.curve.time(self.log_snr(t.double()))
        return (place * self.steps - 1).clamp(0, self.steps - 1).to(t.dtype)


# --- schedules by name ------------------------------------------------------------------------------------------


def flow(*, shift: float = 1.0) -> Schedule:
    """Rectified flow: alpha = 1 - t, sigma = t (Liu et al. 2022, arXiv:2209.03003)."""
    return Schedule("flow", FlowCurve(), shift)


def cosine(*, s: float = 0.008, shift: float = 1.0) -> Schedule:
    """Cosine (Nichol & Dhariwal 2021, arXiv:2102.09672, eq. 17)."""
    _need(0 <= s <= 1, "cosine", "0 <= s <= 1", s=s)
    return Schedule("vp", CosineCurve(s), shift)


def sigmoid(*, start: float = -3.0, end: float = 3.0, tau: float = 1.0, shift: float = 1.0) -> Schedule:
    """Sigmoid (Jabri et al. 2022, arXiv:2212.11972, algorithm 1)."""
    # Beyond 100 the hyperbolic functions leave the range of float64; a sigmoid is a step long before.
    good = 0 < tau <= 1e3 and -100 * tau <= start < end <= 100 * tau and end - start >= 1e-3 * tau
    allowed = "0 < tau <= 1000, start/tau and end/tau within -100 to 100, start + tau/1000 <= end"
    _need(good, "sigmoid", allowed, start=start, end=end, tau=tau)
    return Schedule("vp", SigmoidCurve(start, end, tau), shift)


def edm(
    *, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0, shift: float = 1.0
) -> Schedule:
    """Variance exploding, sigma by Karras et al. 2022 (arXiv:2206.00364), eq. 5, and 0 at t = 0."""
    good = 1e-6 <= sigma_min < sigma_max / 1.01 <= 1e6 and 1 <= rho <= 100
    allowed = "1e-6 <= sigma_min < sigma_max <= 1e6 (1% apart) and 1 <= rho <= 100"
    _need(good, "edm", allowed, sigma_min=sigma_min, sigma_max=sigma_max, rho=rho)
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
    return _of_betas("linear", beta_start, beta_end, steps, 1, zero_terminal_snr, shift)


def scaled_linear(
    *,
    beta_start: float = 0.00085,
    beta_end: float = 0.012,
    steps: int = 1000,
    zero_terminal_snr: bool = False,
    shift: float = 1.0,
) -> Schedule:
    """Stable Diffusion: the square root of beta linear in the index (Rombach et al. 2022, arXiv:2112.10752)."""
    return _of_betas("scaled_linear", beta_start, beta_end, steps, 2, zero_terminal_snr, shift)


def _of_betas(
    name: str, start: float, end: float, steps: int, power: int, zero_terminal_snr: bool, shift: float
) -> Schedule:
    """A table whose beta^(1/power) is linear in the index."""
    good = 0 < start <= end < 1 and 2 <= steps <= 100_000
    given = {"beta_start": start, "beta_end": end, "steps": steps}
    _need(good, name, "0 < beta_start <= beta_end < 1 and 2 <= steps <= 100000", **given)
    betas = torch.linspace(start ** (1 / power), end ** (1 / power), steps, dtype=torch.float64) ** power
    bars = torch.cumprod(1 - betas, 0)
    good = bars[0].item() <= 1 - 1e-12 and bars[-1].item() >= 1e-200
    _need(good, name, "betas with 1e-200 <= alphas_cumprod <= 1 - 1e-12", **given)
    return _table(bars, zero_terminal_snr, shift)


def _table(alphas_cumprod: Tensor, zero_terminal_snr: bool, shift: float) -> Schedule:
    curve = TableCurve(alphas_cumprod)
    if zero_terminal_snr:
        # Lin et al. 2023 (arXiv:2305.08891), algorithm 1: shift alpha so that its last entry is 0, keep the first.
        alpha = alphas_cumprod.sqrt()
        first, last = alpha[0].clone(), alpha[-1].clone()
        curve = TableCurve(((alpha - last) * first / (first - last)) ** 2)
    return Schedule("vp", curve, shift, steps=alphas_cumprod.numel())


def _need(good: bool, name: str, allowed: str, **given: float) -> None:
    if not good:
        said = ", ".join(f"{key}={value}" for key, value in given.items())
        raise ValueError(f"{name} needs {allowed}; given: {said}")
