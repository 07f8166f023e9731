"""Noise levels (at which times t to train) and objectives (how much each time counts).

A noise level is a quantile function `(schedule, u) -> t`, with u [B] uniform in [0, 1): the trainer draws u stratified
over the global batch. An objective is a weight `(denoiser, t) -> w [B]` on the mean squared error in F space. The
network F predicts x0 as c_skip x_t + c_out F, so a weight on the error of x0 is, in F space,

    w_F = w_x0 c_out²
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from multigen.core.denoiser import Denoiser
from multigen.core.schedules import Schedule

# u is kept this far from 0 and 1, where the normal quantile is infinite.
_EDGE = 1e-6


def uniform(schedule: Schedule, u: Tensor) -> Tensor:
    """Draw t uniformly; for VE, where t is only a label, log-SNR uniformly between its ends. u [B] -> t [B]."""
    if schedule.family != "ve":
        return u
    ends = schedule.log_snr(torch.tensor([1e-9, 1.0], dtype=torch.float64))
    high, low = ends.tolist()
    return schedule.inverse(high + (low - high) * u.double())


def log_normal(schedule: Schedule, u: Tensor, *, mean: float = -1.2, std: float = 1.2) -> Tensor:
    """Draw log(sigma/alpha) ~ N(mean, std²) (Karras et al. 2022, arXiv:2206.00364, table 1). u [B] -> t [B]."""
    _positive(std, "log_normal")
    log_ratio = mean + std * _normal(u)
    return schedule.inverse(-2 * log_ratio)


def logit_normal(schedule: Schedule, u: Tensor, *, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Draw logit(t) ~ N(mean, std²) (Esser et al. 2024, arXiv:2403.03206, eq. 19). u [B] -> t [B].

    Not for VE schedules: use log_normal.
    """
    _positive(std, "logit_normal")
    if schedule.family == "ve":
        raise ValueError("noise level logit_normal draws t, which is only a label for edm: use log_normal")
    return torch.sigmoid(mean + std * _normal(u))


def mode(schedule: Schedule, u: Tensor, *, scale: float = 0.8) -> Tensor:
    """Draw t by mode sampling with heavy tails (Esser et al. 2024, arXiv:2403.03206, eq. 20). u [B] -> t [B].

        f(u) = 1 - u - s (cos²(pi u / 2) - 1 + u)

    t is f(1 - u), so that it rises with u. scale s = 0 is uniform; above 0 the middle is drawn more often, below 0 the
    ends. Unlike with logit_normal no t is rare. f is monotonic for s from -1 to 2/(pi - 2). Not for VE schedules: use
    log_normal.
    """
    most = 2 / (math.pi - 2)
    if not -1 <= scale <= most:
        raise ValueError(f"noise level mode: scale {scale} is not allowed. Allowed: -1 to {most:.4f}.")
    if schedule.family == "ve":
        raise ValueError("noise level mode draws t, which is only a label for edm: use log_normal")
    u = u.double().clamp(_EDGE, 1 - _EDGE)
    return u - scale * (torch.sin(math.pi / 2 * u).square() - u)


def flat(denoiser: Denoiser, t: Tensor) -> Tensor:
    """Weight every noise level equally in F space. t [B] -> [B]."""
    return torch.ones_like(t)


def edm(denoiser: Denoiser, t: Tensor) -> Tensor:
    """Weight the error of x0 as EDM does (Karras et al. 2022, arXiv:2206.00364, table 1). t [B] -> [B].

        w = (r² + sd²)/(r sd)²,  r = sigma/alpha

    With prediction edm and alpha = 1 the weight in F space is 1 everywhere.
    """
    snr = torch.exp(denoiser.schedule.log_snr(t.double()))
    return _in_f(denoiser, t, snr + denoiser.prediction.sigma_data**-2)


def min_snr(denoiser: Denoiser, t: Tensor, *, gamma: float = 5.0) -> Tensor:
    """Weight the error of x0 by min(SNR, gamma) (Hang et al. 2023, arXiv:2303.09556, section 3.4). t [B] -> [B]."""
    _positive(gamma, "min_snr")
    snr = torch.exp(denoiser.schedule.log_snr(t.double()))
    return _in_f(denoiser, t, snr.clamp(max=gamma))


def velocity(denoiser: Denoiser, t: Tensor, *, least: float = 0.05) -> Tensor:
    """Weight the error of x0 by 1/max(sigma, least)²: the loss on the velocity of a flow. t [B] -> [B].

    With prediction x0 the network need not carry the noise of large patches from its input to its output (Li and He
    2025, arXiv:2511.13720, section 4.1, with its clipped denominator).
    """
    _positive(least, "velocity")
    sigma = denoiser.schedule(t.double()).sigma
    return _in_f(denoiser, t, sigma.clamp_min(least).square().reciprocal())


def _in_f(denoiser: Denoiser, t: Tensor, weight: Tensor) -> Tensor:
    """Turn a weight on the error of x0 into one on the error of F; finite where c_out is 0."""
    alpha, sigma = denoiser.schedule(t.double())
    c_out = denoiser.prediction.coefficients(alpha, sigma).c_out
    return torch.nan_to_num(weight * c_out.square(), nan=1.0, posinf=1.0).to(t.dtype)


def _normal(u: Tensor) -> Tensor:
    return torch.special.ndtri(u.double().clamp(_EDGE, 1 - _EDGE))


def _positive(value: float, name: str) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{name} needs a finite number above 0, not {value}")
