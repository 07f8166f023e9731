"""Tables of betas, as schedulers of diffusers name them.

squaredcos_cap_v2  1 - beta_i = f((i + 1)/N)/f(i/N), f(u) = cos²((u + 0.008)/1.008 pi/2), beta at most 0.999
                   (Nichol & Dhariwal 2021, arXiv:2102.09672, eq. 17)
sigmoid            beta_i = S(u) (end - start) + start, u evenly from -6 to 6 (Xu et al. 2022, arXiv:2203.02923)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from multigen.errors import MultigenError, message
from multigen.registry import Part

NAMED = ("linear", "scaled_linear")
COMPUTED = ("squaredcos_cap_v2", "sigmoid")


def table(config: Mapping[str, Any], where: str) -> Part:
    """The schedule of a table of betas; of other tables than `linear` and `scaled_linear` the products themselves."""
    zero = {"zero_terminal_snr": True} if config.get("rescale_betas_zero_snr") else {}
    betas = config.get("trained_betas")
    if betas is not None:
        if not isinstance(betas, list) or not all(isinstance(b, int | float) for b in betas):
            raise MultigenError(f"{where}: trained_betas is no list of numbers")
        return _products(torch.tensor(betas, dtype=torch.float64), zero)
    usual = "squaredcos_cap_v2" if config.get("_class_name") == "UnCLIPScheduler" else "linear"
    name = config.get("beta_schedule", usual)
    start, end = config.get("beta_start", 0.0001), config.get("beta_end", 0.02)
    steps = config.get("num_train_timesteps", 1000)
    if name in NAMED:
        return Part(name, {"beta_start": start, "beta_end": end, "steps": steps, **zero})
    if name not in COMPUTED:
        raise MultigenError(
            message(f"{where}: beta_schedule", name, [*NAMED, *COMPUTED], "Or trained_betas.")
        )
    return _products(_cosine(steps) if name == "squaredcos_cap_v2" else _sigmoid(start, end, steps), zero)


def _products(betas: Tensor, zero: Mapping[str, Any]) -> Part:
    return Part("discrete", {"alphas_cumprod": torch.cumprod(1 - betas, 0).tolist(), **zero})


def _cosine(steps: int) -> Tensor:
    u = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    bar = torch.cos((u + 0.008) / 1.008 * math.pi / 2).square()
    return (1 - bar[1:] / bar[:-1]).clamp(max=0.999)


def _sigmoid(start: float, end: float, steps: int) -> Tensor:
    return torch.sigmoid(torch.linspace(-6, 6, steps, dtype=torch.float64)) * (end - start) + start
