"""Schedules: how much data and how much noise there is at each time.

    x_t = alpha(t) x0 + sigma(t) eps,    eps ~ N(0, I),    t in [0, 1]: 0 = data, 1 = noise

Ho et al. 2020 (arXiv:2006.11239), eq. 4; Kingma et al. 2021 (arXiv:2107.00630), eq. 1. A schedule has two halves. Its
curve gives the log-SNR, which falls as t rises:

    lambda(t) = log(alpha(t)²/sigma(t)²)

Its family gives alpha and sigma of a log-SNR:

    vp    variance preserving    alpha² + sigma² = 1    alpha² = S(lambda)
    flow  straight paths         alpha + sigma = 1      alpha = S(lambda/2)
    ve    variance exploding     alpha = 1              sigma = e^(-lambda/2)

with S the logistic function. A shift by s multiplies sigma/alpha, which is one subtraction for every schedule:

    lambda_s(t) = lambda(t) - 2 log s

Hoogeboom et al. 2023 (arXiv:2301.11093), eq. 4; for flow it is the time shift of Esser et al. 2024 (arXiv:2403.03206),
eq. 23.
"""

from multigen.core.schedules.curves import CosineCurve, Curve, FlowCurve, KarrasCurve, SigmoidCurve
from multigen.core.schedules.named import cosine, edm, flow, sigmoid
from multigen.core.schedules.schedule import AlphaSigma, Family, Schedule
from multigen.core.schedules.table import TableCurve, discrete, linear, scaled_linear

__all__ = [
    "AlphaSigma",
    "CosineCurve",
    "Curve",
    "Family",
    "FlowCurve",
    "KarrasCurve",
    "Schedule",
    "SigmoidCurve",
    "TableCurve",
    "cosine",
    "discrete",
    "edm",
    "flow",
    "linear",
    "scaled_linear",
    "sigmoid",
]
