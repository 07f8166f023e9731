"""Samplers: coroutines of pure numerics. They yield a `Query`, receive x0 and return the sample.

All are written in (alpha, sigma), never in sigma/alpha alone, so they are fine from alpha = 0 to sigma = 0.
Coefficients are computed once per grid in float64 on the CPU; x stays in its own dtype. What was yielded or received is
never written into; what is made here is, since fresh memory costs as much as the arithmetic. Arguments of each:

schedule · x [B, C, *D], the start at t = ts[0] · ts [n+1], falling · noise(purpose, index) -> [B, C, *D]

A step from alpha = 0 or to sigma = 0 is first order, and so are the ends of every multistep method. lambda is
log(alpha/sigma), half the log-SNR, throughout.
"""

from multigen.core.samplers.adaptive import adaptive
from multigen.core.samplers.ddim import ddim, ddpm, euler, euler_ancestral
from multigen.core.samplers.dpmpp import dpmpp_2m, dpmpp_2m_sde
from multigen.core.samplers.heun import edm, heun
from multigen.core.samplers.ipndm import ipndm
from multigen.core.samplers.polish import polish_time, polished
from multigen.core.samplers.restart import restart
from multigen.core.samplers.steps import (
    NoiseSource,
    Trajectory,
    one_sample,
    renoise,
    step_coefficients,
    takes_one_sample,
    transfer,
)
from multigen.core.samplers.unipc import unipc

__all__ = [
    "NoiseSource",
    "Trajectory",
    "adaptive",
    "ddim",
    "ddpm",
    "dpmpp_2m",
    "dpmpp_2m_sde",
    "edm",
    "euler",
    "euler_ancestral",
    "heun",
    "ipndm",
    "one_sample",
    "polish_time",
    "polished",
    "renoise",
    "restart",
    "step_coefficients",
    "takes_one_sample",
    "transfer",
    "unipc",
]
