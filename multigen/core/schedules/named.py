"""Schedules of continuous time: flow, cosine, sigmoid and EDM."""

from __future__ import annotations

from multigen.core.schedules.curves import CosineCurve, FlowCurve, KarrasCurve, SigmoidCurve
from multigen.core.schedules.schedule import Schedule, require


def flow(*, shift: float = 1.0) -> Schedule:
    """Rectified flow: alpha = 1 - t, sigma = t (Liu et al. 2022, arXiv:2209.03003, eq. 1)."""
    return Schedule("flow", FlowCurve(), shift)


def cosine(*, s: float = 0.008, shift: float = 1.0) -> Schedule:
    """Cosine schedule, with offset s (Nichol & Dhariwal 2021, arXiv:2102.09672, eq. 17)."""
    require(0 <= s <= 1, "cosine", "0 <= s <= 1", s=s)
    return Schedule("vp", CosineCurve(s), shift)


def sigmoid(*, start: float = -3.0, end: float = 3.0, tau: float = 1.0, shift: float = 1.0) -> Schedule:
    """Sigmoid schedule (Jabri et al. 2022, arXiv:2212.11972, algorithm 1)."""
    # Beyond 100 the hyperbolic functions leave the range of float64; a sigmoid is a step long before.
    good = 0 < tau <= 1e3 and -100 * tau <= start < end <= 100 * tau and end - start >= 1e-3 * tau
    allowed = "0 < tau <= 1000, start/tau and end/tau within -100 to 100, start + tau/1000 <= end"
    require(good, "sigmoid", allowed, start=start, end=end, tau=tau)
    return Schedule("vp", SigmoidCurve(start, end, tau), shift)


def edm(
    *, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0, shift: float = 1.0
) -> Schedule:
    """EDM's variance-exploding schedule (Karras et al. 2022, arXiv:2206.00364, eq. 5); sigma is 0 at t = 0."""
    good = 1e-6 <= sigma_min < sigma_max / 1.01 <= 1e6 and 1 <= rho <= 100
    allowed = "1e-6 <= sigma_min < sigma_max <= 1e6 (1% apart) and 1 <= rho <= 100"
    require(good, "edm", allowed, sigma_min=sigma_min, sigma_max=sigma_max, rho=rho)
    return Schedule("ve", KarrasCurve(sigma_min, sigma_max, rho), shift)
