"""The grid of flows, as diffusers spaces it: even in sigma, then shifted.

u    evenly from `first` to `last`
s = w u/(1 + (w - 1) u)                    Esser et al. 2024 (arXiv:2403.03206), eq. 23
w = shift,  or e^m (law exponential) or m (linear), m linear in the number of tokens
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from multigen.core.schedules import Schedule
from multigen.core.timesteps.grid import check_steps


def flow(
    schedule: Schedule,
    steps: int,
    places: int | None = None,
    *,
    shift: float = 1.0,
    first: float = 1.0,
    last: float | None = None,
    towards: float = 0.0,
    shifts: tuple[float, float] | None = None,
    tokens: tuple[int, int] = (256, 4096),
    law: Literal["exponential", "linear"] = "exponential",
    patch: int = 1,
    terminal: float | None = None,
) -> Tensor:
    """Space sigma evenly, shift it by w, then t = 0: sigma of alpha + sigma = 1, whatever the schedule's own shift.

    places    places of a sample, H W; None: as many as `tokens` begin with
    shift     w
    first     sigma of the first step, before the shift
    last      that of the last step, before the shift; None: one step before `towards`
    towards   what would follow evenly, before the shift
    shifts    m at the first and at the second number of `tokens`, in place of `shift`
    patch     side of the square of places that is one token
    terminal  sigma of the last step after the shift: all are stretched to it

    Raises ValueError for a schedule of another family, and for numbers out of range.
    """
    check_steps(steps)
    if schedule.family != "flow":
        raise ValueError("timesteps flow space the sigma of a flow, and this schedule is none: use trailing")
    if not 0 < first <= 1:
        raise ValueError(f"timesteps flow need 0 < first <= 1, not {first}")
    end = towards + (first - towards) / steps if last is None else last
    if not 0 < end <= first:
        raise ValueError(f"timesteps flow need 0 < last <= first, not {last}")
    w = shift if shifts is None else _by_tokens(places, shifts, tokens, law, patch)
    u = torch.linspace(first, end, steps, dtype=torch.float64)
    sigma = w * u / (1 + (w - 1) * u)
    if terminal is not None:
        sigma = 1 - (1 - sigma) * (1 - terminal) / (1 - sigma[-1])
    inside = schedule.inverse((2 * (torch.log1p(-sigma) - torch.log(sigma))).clamp_min(-1e3))
    return torch.cat([torch.where(sigma >= 1, 1.0, inside), inside.new_zeros(1)])


def _by_tokens(
    places: int | None, shifts: tuple[float, float], tokens: tuple[int, int], law: str, patch: int
) -> float:
    """The shift w of a sample."""
    (low, high), (few, many) = shifts, tokens
    count = few if places is None else places // patch**2
    m = low + (high - low) * (count - few) / (many - few)
    return math.exp(m) if law == "exponential" else m
