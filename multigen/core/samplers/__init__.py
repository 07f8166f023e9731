"""Samplers: coroutines of pure numerics. They yield a `Query`, receive x0 and return the sample.

Data and noise mix as x_t = alpha x0 + sigma eps, and the sample follows the probability-flow ODE
(Song et al. 2021, arXiv:2011.13456, eq. 13), which in sigma/alpha, or in t for flow, reads

    d(x/alpha) = eps d(sigma/alpha),    eps = (x - alpha x0)/sigma      (vp, ve)
    dx = (eps - x0) dt                                                  (flow)

A step from t to s < t takes what the network answers as x0 at t:

    x_s = (sigma_s/sigma_t) x_t + (alpha_s - alpha_t sigma_s/sigma_t) x0

(DDIM: Song et al. 2021, arXiv:2010.02502, eq. 12). With lambda = log(alpha/sigma), half the log-SNR, the exact step is
the same with x0 replaced by its mean over the step, weighted by e^lambda (Lu et al. 2022, arXiv:2211.01095,
proposition 4.1):

    x_s = (sigma_s/sigma_t) x_t + sigma_s integral_(lambda_t)^(lambda_s) e^lambda x0(lambda) dlambda

All samplers are written in (alpha, sigma), never in sigma/alpha alone, so they work from alpha = 0 to sigma = 0. A step
from alpha = 0 or to sigma = 0 is first order, and so are the ends of every multistep method. Coefficients are computed
once per grid, in float64 on the CPU; x stays in its own dtype. Samplers never write into what they yielded or received,
but reuse memory of their own, since fresh memory costs as much as the arithmetic.

Every sampler takes

    schedule  alpha and sigma at t
    x         [B, C, *D], the start at t = ts[0]
    ts        [n+1] falling times, float64 on the CPU
    noise     noise(purpose, index) -> [B, C, *D], standard normal
"""

from multigen.core.samplers.adaptive import adaptive
from multigen.core.samplers.consistency import consistency
from multigen.core.samplers.ddim import ddim, ddpm, euler, euler_ancestral
from multigen.core.samplers.dpmpp import dpmpp_2m, dpmpp_2m_sde
from multigen.core.samplers.heun import edm, heun
from multigen.core.samplers.ipndm import ipndm
from multigen.core.samplers.polish import polish, polish_time
from multigen.core.samplers.restart import restart
from multigen.core.samplers.steps import (
    NoiseSource,
    Trajectory,
    renoise,
    step_coefficients,
    transfer,
)
from multigen.core.samplers.traits import SamplerTraits, one_sample, sampler_traits, stochastic
from multigen.core.samplers.unipc import unipc

__all__ = [
    "NoiseSource",
    "SamplerTraits",
    "Trajectory",
    "adaptive",
    "consistency",
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
    "polish",
    "polish_time",
    "renoise",
    "restart",
    "sampler_traits",
    "step_coefficients",
    "stochastic",
    "transfer",
    "unipc",
]
