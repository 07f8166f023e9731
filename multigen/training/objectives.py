"""Noise levels (which t to train at) and objectives (how much each counts).

A noise level is a quantile function: `(schedule, u) -> t`, u [B] uniform in [0, 1), so that the trainer can draw u
stratified over the global batch. An objective is a weight `w(log-SNR)` on the mean square error in F space:
`(denoiser, t) -> [B]`. A weight on the error of x0 becomes one in F space by c_out².
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
    """t uniform; for VE, where t is only a label, log-SNR uniform between the schedule's ends. u [B] -> t [B]."""
    if schedule.family != "ve":
        return u
    ends = schedule.log_snr(torch.tensor([1e-9, 1.0], dtype=torch.float64))
    high, low = ends.tolist()
    return schedule.inverse(high + (low - high) * u.double())


def log_normal(schedule: Schedule, u: Tensor, *, mean: float = -1.2, std: float = 1.2) -> Tensor:
    """log(sigma/alpha) normal (Karras et al. 2022, arXiv:2206.00364, table 1). u [B] -> t [B]."""
    _positive(std, "log_normal")
    log_ratio = mean + std * _normal(u)
    return schedule.inverse(-2 * log_ratio)


def logit_normal(schedule: Schedule, u: Tensor, *, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """logit(t) normal (Esser et al. 2024, arXiv:2403.03206, eq. 19). VE schedules: use log_normal. u [B] -> t [B]."""
    _positive(std, "logit_normal")
    if schedule.family == "ve":
        raise ValueError("noise level logit_normal draws in t, which is only a label for edm: use log_normal")
    return torch.sigmoid(mean + std * _normal(u))


def mode(schedule: Schedule, u: Tensor, *, scale: float = 0.8) -> Tensor:
    """Mode sampling with heavy tails (Esser et al. 2024, arXiv:2403.03206, eq. 20). u [B] -> t [B].

    f(u) = 1 - u - s (cos^2(pi u / 2) - 1 + u), read from the other end so that t rises with u. s = 0 is uniform; above
    0 the middle is drawn more often, below 0 the ends; no t is ever rare, as it is with logit_normal. For `scale` from
    -1 to 2/(pi - 2) f is monotonic. VE schedules: use log_normal.
    """
    most = 2 / (math.pi - 2)
    if not -1 <= scale <= most:
        raise ValueError(f"noise level mode: scale {scale} is not allowed. Allowed: -1 to {most:.4f}.")
    if schedule.family == "ve":
        raise ValueError("noise level mode draws in t, which is only a label for edm: use log_normal")
    u = u.double().clamp(_EDGE, 1 - _EDGE)
    return u - scale * (torch.sin(math.pi / 2 * u).square() - u)


def flat(denoiser: Denoiser, t: Tensor) -> Tensor:
    """Every noise level counts the same in F space. t [B] -> [B]."""
    return torch.ones_like(t)


def edm(denoiser: Denoiser, t: Tensor) -> Tensor:
    """(r² + sd²)/(r sd)² on x0, r = sigma/alpha (Karras et al. 2022, arXiv:2206.00364, table 1).

    With prediction edm and alpha = 1 this is 1 everywhere in F space. t [B] -> [B].
    """
    snr = torch.exp(denoiser.schedule.log_snr(t.double()))
    return _in_f(denoiser, t, snr + denoiser.prediction.sigma_data**-2)


def min_snr(denoiser: Denoiser, t: Tensor, *, gamma: float = 5.0) -> Tensor:
    """min(SNR, gamma) on x0 (Hang et al. 2023, arXiv:2303.09556, section 3.4). t [B] -> [B]."""
    _positive(gamma, "min_snr")
    snr = torch.exp(denoiser.schedule.log_snr(t.double()))
    return _in_f(denoiser, t, snr.clamp(max=gamma))


def velocity(denoiser: Denoiser, t: Tensor, *, least: float = 0.05) -> Tensor:
    """1 / sigma² on x0, as the error of the flow's velocity has it, with sigma from `least` on. t [B] -> [B].

    With prediction x0 a network need not carry the noise of large patches from its input to its output (Li and He
    2025, arXiv:2511.13720, section 4.1 and its clipped denominator).
    """
    _positive(least, "velocity")
    sigma = denoiser.schedule(t.double()).sigma
    return _in_f(denoiser, t, sigma.clamp_min(least).square().reciprocal())


def _in_f(denoiser: Denoiser, t: Tensor, weight: Tensor) -> Tensor:
    """A weight on the error of x0, as one on the error of F; finite where c_out is 0."""
    alpha, sigma = denoiser.schedule(t.double())
    c_out = denoiser.prediction.coefficients(alpha, sigma).c_out
    return torch.nan_to_num(weight * c_out.square(), nan=1.0, posinf=1.0).to(t.dtype)


def _normal(u: Tensor) -> Tensor:
    return torch.special.ndtri(u.double().clamp(_EDGE, 1 - _EDGE))


def _positive(value: float, name: str) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"{name} needs a finite number above 0, not {value}")
