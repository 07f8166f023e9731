"""Predictions: what a network's output F means, as preconditioning and as a training target.

`x0 = c_skip x + c_out F(c_in x, c_noise)` (Karras et al. 2022, arXiv:2206.00364, eq. 7), in the general
(alpha, sigma) form, so that each prediction is one entry for every schedule. The target is what F should be when
x = alpha x0 + sigma eps; it is written out, since `(x0 - c_skip x)/c_out` divides by 0 at sigma = 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Preconditioning(NamedTuple):
    """Coefficients, each of the shape of alpha and sigma."""

    c_in: Tensor
    c_skip: Tensor
    c_out: Tensor


@dataclass(frozen=True)
class Prediction:
    """`scale(alpha, sigma, sd) -> (c_skip, c_out)` and `aim(x0, eps, alpha, sigma, sd) -> F`.

    `sigma_data` (sd) is the standard deviation of the data in model space.
    """

    name: str
    scale: Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]]
    aim: Callable[[Tensor, Tensor, Tensor, Tensor, float], Tensor]
    sigma_data: float

    def coefficients(self, alpha: Tensor, sigma: Tensor) -> Preconditioning:
        """Preconditioning at (alpha, sigma), any equal shapes."""
        if self.name == "eps" and not bool(alpha.all()):
            raise ValueError(
                "prediction eps says nothing of x0 where alpha = 0 (pure noise): start below t = 1, "
                "take a schedule whose last alpha is above 0, or use prediction v, flow or x0"
            )
        size = torch.addcmul(sigma * sigma, alpha, alpha, value=self.sigma_data**2)  # E x²
        # Only where inputs would otherwise grow (VE); `edm` is defined with unit-variance inputs everywhere.
        c_in = (size if self.name == "edm" else size.clamp_min(1)).rsqrt()
        return Preconditioning(c_in, *self.scale(alpha, sigma, self.sigma_data))

    def target(self, x0: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """What F should answer; alpha and sigma broadcast against x0 and eps."""
        return self.aim(x0, eps, alpha, sigma, self.sigma_data)


def _over(denominator: Tensor, skip: Tensor, out: Tensor) -> tuple[Tensor, Tensor]:
    return skip / denominator, out / denominator


def eps(*, sigma_data: float = 1.0) -> Prediction:
    """The noise (Ho et al. 2020, arXiv:2006.11239, eq. 15). Refused at alpha = 0."""
    return Prediction("eps", lambda a, s, sd: (1 / a, -s / a), lambda x0, e, a, s, sd: e, sigma_data)


def x0(*, sigma_data: float = 1.0) -> Prediction:
    """The clean data."""
    return Prediction(
        "x0",
        lambda a, s, sd: (torch.zeros_like(a), torch.ones_like(a)),
        lambda x0, e, a, s, sd: x0,
        sigma_data,
    )


def v(*, sigma_data: float = 1.0) -> Prediction:
    """alpha eps - sigma x0 (Salimans & Ho 2022, arXiv:2202.00512, section 4)."""
    return Prediction(
        "v",
        lambda a, s, sd: _over(a * a + s * s, a, -s),
        lambda x0, e, a, s, sd: a * e - s * x0,
        sigma_data,
    )


def flow(*, sigma_data: float = 1.0) -> Prediction:
    """The velocity eps - x0 of straight paths (Lipman et al. 2022, arXiv:2210.02747, eq. 23)."""
    return Prediction(
        "flow",
        lambda a, s, sd: _over(a + s, torch.ones_like(a), -s),
        lambda x0, e, a, s, sd: e - x0,
        sigma_data,
    )


def edm(*, sigma_data: float = 0.5) -> Prediction:
    """EDM preconditioning (Karras et al. 2022, arXiv:2206.00364, table 1), for any alpha."""

    def scale(a: Tensor, s: Tensor, sd: float) -> tuple[Tensor, Tensor]:
        size = s**2 + a**2 * sd**2
        return a * sd**2 / size, s * sd * size.rsqrt()

    def aim(x0: Tensor, e: Tensor, a: Tensor, s: Tensor, sd: float) -> Tensor:
        return (s * x0 - a * sd**2 * e) * (s**2 + a**2 * sd**2).rsqrt() / sd

    return Prediction("edm", scale, aim, sigma_data)
