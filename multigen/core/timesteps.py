"""Timesteps: the grid t_0 > ... > t_n that a sampler walks, float64 [n+1] on the CPU.

`steps` is n, the number of sampler steps. Grids in noise level have finite bounds and then append t = 1 and t = 0
where the schedule needs them (alpha = 0 at t = 1, sigma = 0 at t = 0).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from multigen.core.schedules import Schedule

Timesteps: TypeAlias = Callable[[Schedule, int], Tensor]

# Where a schedule reaches pure noise, log-SNR grids begin here, after t = 1 itself.
PURE_NOISE_RATIO = 100.0
# Where sigma/alpha glides to 0, log-SNR grids end here, before t = 0 itself.
CLEAN_RATIO = 0.002
# As near as t comes to 0 without being it; and how far a bound may exceed the schedule's reach by rounding.
TINY = 1e-9
SLACK = 1e-6
# No sampler is nearer to its limit with more; a grid of them fits anywhere.
MOST_STEPS = 100_000


def _check(steps: int) -> None:
    if not 1 <= steps <= MOST_STEPS:
        raise ValueError(f"steps must be 1 to {MOST_STEPS:,}, not {steps}")


def uniform(schedule: Schedule, steps: int) -> Tensor:
    """Evenly spaced in t from 1 to 0."""
    _check(steps)
    return torch.linspace(1, 0, steps + 1, dtype=torch.float64)


def reach(
    schedule: Schedule, sigma_min: float | None = None, sigma_max: float | None = None
) -> tuple[float, float, bool]:
    """Smallest and largest sigma/alpha of a grid in noise level, and whether t = 1 (alpha = 0) must precede it.

    ValueError for bounds that the schedule does not reach.
    """
    # A table begins at its first index; t = TINY is the other schedules' limit at the data.
    points = torch.tensor([1.0, TINY, 1 / (schedule.steps or 1)], dtype=torch.float64)
    top, limit, first = torch.exp(schedule.log_snr(points) / -2).tolist()
    pure = math.isinf(top)
    # sigma of a variance-exploding schedule jumps to 0 from its own least; that of the others glides there.
    glides = schedule.family != "ve"
    lowest = first if schedule.steps else max(CLEAN_RATIO, limit) if glides else limit
    low = lowest if sigma_min is None else sigma_min
    high = sigma_max if sigma_max is not None else PURE_NOISE_RATIO if pure else top
    if not (limit * (1 - SLACK) <= low < high <= top * (1 + SLACK)):
        raise ValueError(
            f"timesteps need sigma_min < sigma_max within this schedule's sigma/alpha, {limit:.4g} to "
            f"{top:.4g}; given: {low:.4g} and {high:.4g}"
        )
    return low, high, pure


def _from_ratios(schedule: Schedule, ratios: Tensor, pure: bool) -> Tensor:
    """t of falling sigma/alpha, with t = 1 in front where the schedule starts at alpha = 0, and t = 0 behind."""
    inside = schedule.inverse(-2 * torch.log(ratios))
    return torch.cat([inside.new_ones(1 if pure else 0), inside, inside.new_zeros(1)])


def _spaced(
    schedule: Schedule,
    steps: int,
    sigma_min: float | None,
    sigma_max: float | None,
    to: Callable[[float], float],
    back: Callable[[Tensor], Tensor],
) -> Tensor:
    """Ratios evenly spaced in `to(ratio)`; ValueError for bounds that the schedule does not reach."""
    _check(steps)
    low, high, pure = reach(schedule, sigma_min, sigma_max)
    count = steps - 1 if pure else steps
    spaced = torch.linspace(to(high), to(low), count, dtype=torch.float64)
    return _from_ratios(schedule, back(spaced), pure)


def karras(
    schedule: Schedule,
    steps: int,
    *,
    rho: float = 7.0,
    sigma_min: float | None = None,
    sigma_max: float | None = None,
) -> Tensor:
    """(sigma/alpha)^(1/rho) evenly spaced, then 0 (Karras et al. 2022, arXiv:2206.00364, eq. 5)."""
    return _spaced(schedule, steps, sigma_min, sigma_max, lambda r: r ** (1 / rho), lambda u: u**rho)


def exponential(
    schedule: Schedule, steps: int, *, sigma_min: float | None = None, sigma_max: float | None = None
) -> Tensor:
    """sigma/alpha falls geometrically, then 0: evenly spaced in log-SNR down to sigma_min."""
    return _spaced(schedule, steps, sigma_min, sigma_max, math.log, torch.exp)


def log_snr(schedule: Schedule, steps: int, *, low: float = -9.2, high: float = 12.4) -> Tensor:
    """Evenly spaced in log-SNR between two bounds (Lu et al. 2022, arXiv:2206.00927, section 3.3), then t = 0.

    Bounds beyond what the schedule reaches are drawn in to it.
    """
    if not low < high:
        raise ValueError(f"timesteps log_snr needs low < high, not {low} and {high}")
    least, largest, _ = reach(schedule)
    large, small = min(math.exp(-low / 2), largest), max(math.exp(-high / 2), least)
    return exponential(schedule, steps, sigma_min=small, sigma_max=large)


def quadratic(schedule: Schedule, steps: int) -> Tensor:
    """sqrt(t) evenly spaced from 1 to 0: more steps near the data (Song et al. 2021, arXiv:2010.02502, appendix D.3).

    On a table, indices evenly spaced in their square root from N - 1 to 0, then t = 0.
    """
    _check(steps)
    return _of_shares(schedule, steps, torch.square)


def beta(
    schedule: Schedule, steps: int, *, a: float = 0.6, b: float = 0.6, of: Literal["t", "sigma"] = "t"
) -> Tensor:
    """Quantiles of the beta distribution: more steps at both ends (Lee et al. 2024, arXiv:2407.12173).

    They lie in t, as in the paper, or with of = sigma in sigma/alpha, as in diffusers' schedulers of sigma.
    """
    _check(steps)
    if not (0.3 <= a <= 10 and 0.3 <= b <= 10):
        raise ValueError(f"timesteps beta needs a and b from 0.3 to 10; given: a={a}, b={b}")
    if of == "t":
        return _of_shares(schedule, steps, lambda u: _beta_quantiles(u, a, b))
    low, high, pure = reach(schedule)
    shares = _beta_quantiles(torch.linspace(1, 0, steps - int(pure), dtype=torch.float64), a, b)
    return _from_ratios(schedule, low + (high - low) * shares, pure)


def _of_shares(schedule: Schedule, steps: int, share: Callable[[Tensor], Tensor]) -> Tensor:
    """t = share(u), u even from 1 to 0; on a table down to its first index, below which there are none, then 0."""
    if schedule.steps is None:
        return share(torch.linspace(1, 0, steps + 1, dtype=torch.float64))
    first = 1 / schedule.steps
    inside = first + (1 - first) * share(torch.linspace(1, 0, steps, dtype=torch.float64))
    return torch.cat([inside, inside.new_zeros(1)])


def _beta_quantiles(u: Tensor, a: float, b: float) -> Tensor:
    """x with I_x(a, b) = u, I the regularised incomplete beta function; float64."""
    low, high = torch.zeros_like(u), torch.ones_like(u)
    for _ in range(60):  # bisection, to the last bit
        middle = (low + high) / 2
        above = _beta_share(middle, a, b) > u
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return torch.where((u <= 0) | (u >= 1), u, high)


def _beta_share(x: Tensor, a: float, b: float) -> Tensor:
    """I_x(a, b), by its series (DLMF 8.17.7) on whichever side of 1/2 converges."""

    def series(x: Tensor, a: float, b: float) -> Tensor:
        n = torch.arange(64, dtype=torch.float64)
        falling = torch.cat([n.new_ones(1), torch.cumprod((n[1:] - b) / n[1:], 0)])  # (1 - b)_n / n!
        return x**a * (x[:, None] ** n * (falling / (a + n))).sum(1)

    whole = math.exp(math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b))
    near = series(x.clamp(max=0.5), a, b) / whole
    return torch.where(x <= 0.5, near, 1 - series((1 - x).clamp(max=0.5), b, a) / whole)


Unit: TypeAlias = Literal["t", "sigma", "log_snr", "index"]


def listed(schedule: Schedule, steps: int, *, values: tuple[float, ...], of: Unit = "t") -> Tensor:
    """The times at which the network is asked, one by one, then t = 0: any list, as it is.

    Falling t, sigma (sigma/alpha) or table indices, or rising log_snr; a last 0 of t or sigma may stand or be left out.
    """
    ts = _given(schedule, values, of, "list")
    if len(ts) != steps + 1:
        raise ValueError(
            f"timesteps list holds {len(ts) - 1} steps, not {steps}: ask for {len(ts) - 1}, or take timesteps table, "
            "which spreads its numbers over any count"
        )
    return ts


def table(schedule: Schedule, steps: int, *, values: tuple[float, ...], of: Unit = "sigma") -> Tensor:
    """A table made for one number of steps, spread over another: log-linear in sigma/alpha between its numbers, then 0.

    As Sabour et al. 2024 (arXiv:2404.14507) spread theirs. `values` and `of` as in timesteps list.
    """
    _check(steps)
    inside = _given(schedule, values, of, "table")[:-1]
    logs = schedule.log_snr(inside) / -2
    pure = bool(torch.isinf(logs[0]))
    logs, count = logs[int(pure) :], steps - int(pure)
    if len(logs) < min(count, 2):
        raise ValueError(
            f"timesteps table: {len(values)} numbers cannot be spread over {steps} steps; give more"
        )
    place = torch.linspace(0, max(len(logs) - 1, 0), count, dtype=torch.float64)
    left = place.long().clamp(max=max(len(logs) - 2, 0))
    right = (left + 1).clamp(max=len(logs) - 1)
    return _from_ratios(schedule, torch.exp(torch.lerp(logs[left], logs[right], place - left)), pure)


def _given(schedule: Schedule, values: tuple[float, ...], of: Unit, name: str) -> Tensor:
    """Times of a list of numbers, t = 0 behind them; ValueError if they do not fall or the schedule has them not."""
    given = torch.tensor(values, dtype=torch.float64)
    if of == "t":
        ts = given
    elif of == "index":
        n = _table_steps(schedule, 1, name)
        ts = torch.where(given >= 0, (given + 1) / n, torch.nan)
    else:
        snr = given if of == "log_snr" else -2 * torch.log(given)
        ts = torch.where(torch.isposinf(snr), 0.0, schedule.inverse(snr.clamp(-1e3, 1e3)))
        found = schedule.log_snr(ts)
        # What is out of reach comes back as the nearest that is not; what is published is rounded; sigma 0 is t = 0.
        ts = torch.where((found - snr).abs() < 1e-2, ts, torch.where(torch.isposinf(snr), 0.0, torch.nan))
    ts = ts if len(ts) and ts[-1] == 0 else torch.cat([ts, ts.new_zeros(1)])
    if len(ts) < 2 or not bool(((ts >= 0) & (ts <= 1)).all()) or not bool((ts.diff() < 0).all()):
        least, largest, pure = reach(schedule)
        raise ValueError(
            f"timesteps {name} needs numbers that fall towards the data, within the schedule: t from 1 to 0, sigma "
            f"from {'infinity' if pure else f'{largest:.4g}'} to {least:.4g}, then 0; given as {of}: {list(values)}"
        )
    return ts


def _table_steps(schedule: Schedule, steps: int, name: str) -> int:
    _check(steps)
    if schedule.steps is None:
        raise ValueError(
            f"timesteps {name} space the indices of a table; this schedule has none: use uniform"
        )
    if steps > schedule.steps:
        raise ValueError(f"timesteps {name}: {steps} steps do not fit a table of {schedule.steps}")
    return schedule.steps


def trailing(schedule: Schedule, steps: int) -> Tensor:
    """Table indices N-1, N-1-N/n, ..., then t = 0, as diffusers' `trailing` (Lin et al. 2023, arXiv:2305.08891)."""
    n = _table_steps(schedule, steps, "trailing")
    index = torch.arange(n, 0, -n / steps, dtype=torch.float64)[:steps].round() - 1
    return torch.cat([(index + 1) / n, torch.zeros(1, dtype=torch.float64)])


def leading(schedule: Schedule, steps: int, *, offset: int = 0, to_zero: bool = True) -> Tensor:
    """Table indices (n-1) N//n, ..., 0, plus `offset`, then t = 0, as diffusers' `leading` (DDIM's own spacing).

    `to_zero: false` ends at the table's first index instead of at sigma = 0, as diffusers does where its
    `set_alpha_to_one` is false; the offset is then at least 1.
    """
    n = _table_steps(schedule, steps, "leading")
    room = n - 1 - (steps - 1) * (n // steps)
    if not 0 <= offset <= room:
        raise ValueError(
            f"timesteps leading: {steps} steps of a table of {n} leave an offset of 0 to {room}, not {offset}"
        )
    if not to_zero and offset == 0:
        raise ValueError(
            "timesteps leading: at offset 0 the grid ends at the table's first index anyway; give an offset of 1 "
            "or more, or to_zero=true"
        )
    index = torch.arange(steps, dtype=torch.float64).flip(0) * (n // steps) + offset
    end = torch.full((1,), 0.0 if to_zero else 1 / n, dtype=torch.float64)
    return torch.cat([(index + 1) / n, end])
