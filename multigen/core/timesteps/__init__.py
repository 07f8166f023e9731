"""Timesteps: the grid of times t_0 > ... > t_n that a sampler walks, float64 [n+1] on the CPU.

`steps` is n, the number of sampler steps. With u evenly spaced from 1 to 0 and r = sigma/alpha:

    uniform      t = u
    quadratic    t = u²                                     Song et al. 2021 (arXiv:2010.02502), appendix D.3
    beta         t = quantile of the beta distribution      Lee et al. 2024 (arXiv:2407.12173)
    karras       r^(1/rho) linear in u                      Karras et al. 2022 (arXiv:2206.00364), eq. 5
    exponential  log r linear in u
    log_snr      log r linear in u, other bounds            Lu et al. 2022 (arXiv:2206.00927), section 3.3
    trailing     table indices N - 1, N - 1 - N/n, ...      Lin et al. 2023 (arXiv:2305.08891), section 3.3
    leading      table indices (n - 1) (N//n), ..., 0       Song et al. 2021 (arXiv:2010.02502)
    linspace     table indices evenly from N - 1 to 0
    flow         sigma evenly from 1, shifted               Esser et al. 2024 (arXiv:2403.03206), eq. 23
    linear_quadratic  sigma slowly from 1, then fast        Polyak et al. 2024 (arXiv:2410.13720), section 3.4.2
    list, table  numbers of the recipe's own                Sabour et al. 2024 (arXiv:2404.14507)

Grids in noise level (karras, exponential, log_snr, table) have finite bounds. t = 1 is put in front where the schedule
starts at alpha = 0, and t = 0 behind, where sigma = 0.
"""

from multigen.core.timesteps.beta import beta
from multigen.core.timesteps.flow import flow
from multigen.core.timesteps.grid import MAX_STEPS, NoiseRange, Timesteps, noise_range
from multigen.core.timesteps.linear_quadratic import linear_quadratic
from multigen.core.timesteps.listed import Unit, listed, table
from multigen.core.timesteps.noise_level import exponential, karras, log_snr
from multigen.core.timesteps.tables import leading, linspace, trailing
from multigen.core.timesteps.time import quadratic, uniform

__all__ = [
    "MAX_STEPS",
    "NoiseRange",
    "Timesteps",
    "Unit",
    "beta",
    "exponential",
    "flow",
    "karras",
    "leading",
    "linear_quadratic",
    "linspace",
    "listed",
    "log_snr",
    "noise_range",
    "quadratic",
    "table",
    "trailing",
    "uniform",
]
