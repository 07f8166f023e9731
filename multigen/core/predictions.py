"""Predictions: what the network's output F means.

    x0 = c_skip x + c_out F(c_in x, c_noise)                    (Karras et al. 2022, arXiv:2206.00364, eq. 7)

at x = alpha x0 + sigma eps, with sd the standard deviation of the data (`sigma_data`). Written in (alpha, sigma), each
prediction serves every schedule:

    name   F                                                       c_skip                   c_out
    eps    eps                                                     1/alpha                  -sigma/alpha
    x0     x0                                                      0                        1
    v      alpha eps - sigma x0                                    alpha/(alpha² + sigma²)  -sigma/(alpha² + sigma²)
    flow   eps - x0                                                1/(alpha + sigma)        -sigma/(alpha + sigma)
    edm    (sigma x0 - alpha sd² eps)/(sd sqrt(sigma² + alpha² sd²))
                                                                   alpha sd²/(sigma² + alpha² sd²)
                                                                   sigma sd/sqrt(sigma² + alpha² sd²)

    consistency    (x0 - c_skip x)/c_out                           sd²/(alpha (r'² + sd²))
                                                                   r' sd/sqrt(r² + sd²),  r = sigma/alpha, r' = r - r_0

    c_in = 1/sqrt(alpha² sd² + sigma²)    for edm and consistency; for the others only where that is
                                          below 1 (variance exploding)

The targets are written out, because (x0 - c_skip x)/c_out divides by 0 at sigma = 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

_LEAST = 1e-4  # of a c_out that is divided by


class Preconditioning(NamedTuple):
    """The coefficients of x0 = c_skip x + c_out F(c_in x), each of the shape of alpha and sigma."""

    c_in: Tensor
    c_skip: Tensor
    c_out: Tensor


@dataclass(frozen=True)
class Prediction:
    """The meaning of F, as functions of (alpha, sigma).

    name          for messages
    scale         (alpha, sigma, sd) -> (c_skip, c_out)
    aim           (x0, eps, alpha, sigma, sd) -> F
    sigma_data    sd, the standard deviation of the data in model space
    unit_input    c_in gives inputs unit variance everywhere; False: c_in is at most 1
    needs_signal  F does not determine x0 at alpha = 0, so that pure noise is refused
    """

    name: str
    scale: Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]]
    aim: Callable[[Tensor, Tensor, Tensor, Tensor, float], Tensor]
    sigma_data: float
    unit_input: bool = False
    needs_signal: bool = False

    def coefficients(self, alpha: Tensor, sigma: Tensor) -> Preconditioning:
        """Compute the preconditioning at (alpha, sigma), of any equal shapes.

        Raises ValueError at alpha = 0 for a prediction that needs signal.
        """
        if self.needs_signal and not bool(alpha.all()):
            raise ValueError(
                f"prediction {self.name} does not determine x0 at alpha = 0 (pure noise). Start below t = 1, use a "
                "schedule whose last alpha is above 0, or use prediction v, flow or x0"
            )
        size = torch.addcmul(sigma * sigma, alpha, alpha, value=self.sigma_data**2)  # E x²
        c_in = (size if self.unit_input else size.clamp_min(1)).rsqrt()
        return Preconditioning(c_in, *self.scale(alpha, sigma, self.sigma_data))

    def target(self, x0: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Compute the F that training aims at. alpha and sigma broadcast against x0 and eps."""
        return self.aim(x0, eps, alpha, sigma, self.sigma_data)


def _over(denominator: Tensor, skip: Tensor, out: Tensor) -> tuple[Tensor, Tensor]:
    return skip / denominator, out / denominator


def eps(*, sigma_data: float = 1.0) -> Prediction:
    """Predict the noise (Ho et al. 2020, arXiv:2006.11239, eq. 15). Refused at alpha = 0."""
    return Prediction(
        "eps", lambda a, s, sd: (1 / a, -s / a), lambda x0, e, a, s, sd: e, sigma_data, needs_signal=True
    )


def x0(*, sigma_data: float = 1.0) -> Prediction:
    """Predict the clean data (Salimans & Ho 2022, arXiv:2202.00512, section 4)."""
    return Prediction(
        "x0",
        lambda a, s, sd: (torch.zeros_like(a), torch.ones_like(a)),
        lambda x0, e, a, s, sd: x0,
        sigma_data,
    )


def v(*, sigma_data: float = 1.0) -> Prediction:
    """Predict v = alpha eps - sigma x0 (Salimans & Ho 2022, arXiv:2202.00512, section 4)."""
    return Prediction(
        "v",
        lambda a, s, sd: _over(a * a + s * s, a, -s),
        lambda x0, e, a, s, sd: a * e - s * x0,
        sigma_data,
    )


def flow(*, sigma_data: float = 1.0) -> Prediction:
    """Predict the velocity eps - x0 of straight paths (Lipman et al. 2022, arXiv:2210.02747, eq. 23)."""
    return Prediction(
        "flow",
        lambda a, s, sd: _over(a + s, torch.ones_like(a), -s),
        lambda x0, e, a, s, sd: e - x0,
        sigma_data,
    )


def edm(*, sigma_data: float = 0.5) -> Prediction:
    """Use EDM's preconditioning (Karras et al. 2022, arXiv:2206.00364, table 1), for any alpha."""

    def scale(a: Tensor, s: Tensor, sd: float) -> tuple[Tensor, Tensor]:
        size = s**2 + a**2 * sd**2
        return a * sd**2 / size, s * sd * size.rsqrt()

    def aim(x0: Tensor, e: Tensor, a: Tensor, s: Tensor, sd: float) -> Tensor:
        return (s * x0 - a * sd**2 * e) * (s**2 + a**2 * sd**2).rsqrt() / sd

    return Prediction("edm", scale, aim, sigma_data, unit_input=True)


def consistency(*, sigma_data: float = 0.5, sigma_min: float = 0.002) -> Prediction:
    """Use the preconditioning of consistency models: x0 = x at r_0 = `sigma_min`, the least noise of their training.

    Song et al. 2023 (arXiv:2303.01469), appendix C, eq. 25 and 26, for any alpha.
    """

    def scale(a: Tensor, s: Tensor, sd: float) -> tuple[Tensor, Tensor]:
        r = s / a
        over = (r - sigma_min).clamp_min(0)
        return sd**2 / (a * (over**2 + sd**2)), over * sd * (r**2 + sd**2).rsqrt()

    def aim(x0: Tensor, e: Tensor, a: Tensor, s: Tensor, sd: float) -> Tensor:
        skip, out = scale(a, s, sd)
        return (x0 - skip * (a * x0 + s * e)) / out.clamp_min(_LEAST)

    return Prediction("consistency", scale, aim, sigma_data, unit_input=True, needs_signal=True)
