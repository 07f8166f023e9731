"""The schedule: a family, a curve and a shift."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from multigen.core.schedules.curves import Curve

Family = Literal["vp", "flow", "ve"]


class AlphaSigma(NamedTuple):
    """Coefficients of x_t = alpha x0 + sigma eps, each of the shape of t."""

    alpha: Tensor
    sigma: Tensor


@dataclass(frozen=True)
class Schedule:
    """alpha and sigma at each time.

    family  vp, flow or ve: alpha and sigma of a log-SNR
    curve   the log-SNR at each t
    shift   factor of sigma/alpha at each t, 0.001 to 1000; above 1 more of the time is spent in noise (larger media)
    steps   length N of the table that the schedule was made from; None: there is no table
    """

    family: Family
    curve: Curve
    shift: float = 1.0
    steps: int | None = None

    def __post_init__(self) -> None:
        require(1e-3 <= self.shift <= 1e3, "a schedule", "0.001 <= shift <= 1000", shift=self.shift)

    def log_snr(self, t: Tensor) -> Tensor:
        """Compute log(alpha²/sigma²) at t, in its shape and dtype; infinite where sigma or alpha is 0."""
        snr = self.curve.log_snr(t.double())
        return (snr if self.shift == 1 else snr - 2 * math.log(self.shift)).to(t.dtype)

    def levels(self, log_snr: Tensor) -> AlphaSigma:
        """Compute alpha and sigma of a log-SNR, in its shape and dtype.

        Each is computed from the log-SNR itself, so that neither loses digits where it is small.
        """
        if self.family == "vp":
            return AlphaSigma(torch.sigmoid(log_snr).sqrt(), torch.sigmoid(-log_snr).sqrt())
        if self.family == "flow":
            half = log_snr / 2
            return AlphaSigma(torch.sigmoid(half), torch.sigmoid(-half))
        return AlphaSigma(torch.ones_like(log_snr), torch.exp(log_snr / -2))

    def __call__(self, t: Tensor) -> AlphaSigma:
        """Compute alpha and sigma at t, in its shape and dtype; inside in float64."""
        alpha, sigma = self.levels(self.log_snr(t.double()))
        return AlphaSigma(alpha.to(t.dtype), sigma.to(t.dtype))

    def inverse(self, log_snr: Tensor) -> Tensor:
        """Compute the t of a finite log-SNR, clamped to [0, 1], in its shape and dtype."""
        return self.curve.time(log_snr.double() + 2 * math.log(self.shift)).clamp(0, 1).to(log_snr.dtype)

    def index(self, t: Tensor) -> Tensor:
        """Compute the table index of t's noise level, 0 to steps - 1, fractional between entries, in t's shape.

        Networks that were trained on a table take it as c_noise. Raises ValueError for a schedule without a table.
        """
        if self.steps is None:
            raise ValueError(
                "this network takes the index of a table as its noise level, and the schedule has no table. "
                "Allowed schedules: scaled_linear, linear, discrete"
            )
        place = t.double() if self.shift == 1 else self.curve.time(self.log_snr(t.double()))
        return (place * self.steps - 1).clamp(0, self.steps - 1).to(t.dtype)


def require(good: bool, name: str, allowed: str, **given: float) -> None:
    """Raise ValueError with what a schedule allows and what was given, unless `good`."""
    if not good:
        values = ", ".join(f"{key}={value}" for key, value in given.items())
        raise ValueError(f"{name} needs {allowed}; given: {values}")
