"""Schedules from tables of alphas_cumprod, as DDPM and Stable Diffusion define them.

    alphas_cumprod[i] = prod_(j <= i) (1 - beta_j) = alpha²    at t = (i + 1)/N, i from 0 to N - 1

Ho et al. 2020 (arXiv:2006.11239), eq. 4. Between entries, log(sigma/alpha) is linear in t.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from multigen.core.schedules.schedule import Schedule, require


class TableCurve:
    """A table of alphas_cumprod [N]; log(sigma/alpha) is linear in t between its entries.

    Below index 0, sigma/alpha falls linearly to 0 at t = 0. If the last entry is 0 (zero terminal SNR), alpha/sigma
    falls linearly to 0 over the last interval. Raises ValueError unless the table falls from below 1 to 0 or more.
    """

    def __init__(self, alphas_cumprod: Tensor) -> None:
        bars = alphas_cumprod.detach().to("cpu", torch.float64)
        inside = bars.numel() > 1 and bool((bars < 1).all()) and bool((bars[:-1] > 0).all()) and bars[-1] >= 0
        if bars.ndim != 1 or not inside or not bool((bars.diff() < 0).all()):
            raise ValueError(
                "alphas_cumprod must be a falling list of at least two numbers, 1 > a[0] > ... >= 0"
            )
        self.log_ratio = 0.5 * (torch.log1p(-bars) - torch.log(bars))  # [N] log(sigma/alpha)
        self.pure = bool(bars[-1] == 0)
        # Interval k runs from place k to k + 1, place = t N: log-SNR there begins at _start[k] and falls by _fall[k].
        # The two curved intervals, the first and that to alpha = 0, are flat here; log_snr adds their curve.
        self._start = -2 * torch.cat([self.log_ratio[:1], self.log_ratio[:-1]])  # [N]
        self._fall = torch.nan_to_num(-2 * self.log_ratio - self._start, neginf=0.0)  # [N]

    def log_snr(self, t: Tensor) -> Tensor:
        """Compute the log-SNR at t in [0, 1], float64, in the shape of t."""
        place = t * self._start.numel()
        left = place.long().clamp_(0, self._start.numel() - 1)
        start, fall = self._start.to(t.device).take(left), self._fall.to(t.device).take(left)
        snr = torch.addcmul(start, fall, place - left).sub_(place.clamp(0, 1).log_(), alpha=2)
        if self.pure:
            snr.add_((self._start.numel() - place).clamp_(0, 1).log_(), alpha=2)
        return snr

    def time(self, log_snr: Tensor) -> Tensor:
        """Compute the t of a finite log-SNR, float64, in its shape."""
        table = self.log_ratio.to(log_snr.device)
        n = table.numel()
        ratio = -log_snr / 2
        left = (torch.searchsorted(table, ratio.contiguous()) - 1).clamp(0, n - 2)
        a, b = table[left], table[left + 1]
        part = torch.where(torch.isinf(b), 1 - torch.exp(a - ratio), (ratio - a) / (b - a))
        place = torch.where(ratio < table[0], torch.exp(ratio - table[0]) - 1, left + part)
        return (place + 1) / n


def discrete(
    *, alphas_cumprod: Sequence[float], zero_terminal_snr: bool = False, shift: float = 1.0
) -> Schedule:
    """Variance-preserving schedule from a table of alphas_cumprod, as other tools' checkpoints carry it."""
    return _of_table(torch.tensor(list(alphas_cumprod), dtype=torch.float64), zero_terminal_snr, shift)


def linear(
    *,
    beta_start: float = 1e-4,
    beta_end: float = 0.02,
    steps: int = 1000,
    zero_terminal_snr: bool = False,
    shift: float = 1.0,
) -> Schedule:
    """DDPM's schedule: beta is linear in the index (Ho et al. 2020, arXiv:2006.11239, section 4)."""
    return _of_betas("linear", beta_start, beta_end, steps, 1, zero_terminal_snr, shift)


def scaled_linear(
    *,
    beta_start: float = 0.00085,
    beta_end: float = 0.012,
    steps: int = 1000,
    zero_terminal_snr: bool = False,
    shift: float = 1.0,
) -> Schedule:
    """Stable Diffusion's schedule: sqrt(beta) is linear in the index (Rombach et al. 2022, arXiv:2112.10752)."""
    return _of_betas("scaled_linear", beta_start, beta_end, steps, 2, zero_terminal_snr, shift)


def _of_betas(
    name: str, start: float, end: float, steps: int, power: int, zero_terminal_snr: bool, shift: float
) -> Schedule:
    """A table whose beta^(1/power) is linear in the index."""
    good = 0 < start <= end < 1 and 2 <= steps <= 100_000
    given = {"beta_start": start, "beta_end": end, "steps": steps}
    require(good, name, "0 < beta_start <= beta_end < 1 and 2 <= steps <= 100000", **given)
    betas = torch.linspace(start ** (1 / power), end ** (1 / power), steps, dtype=torch.float64) ** power
    bars = torch.cumprod(1 - betas, 0)
    good = bars[0].item() <= 1 - 1e-12 and bars[-1].item() >= 1e-200
    require(good, name, "betas with 1e-200 <= alphas_cumprod <= 1 - 1e-12", **given)
    return _of_table(bars, zero_terminal_snr, shift)


def _of_table(alphas_cumprod: Tensor, zero_terminal_snr: bool, shift: float) -> Schedule:
    curve = TableCurve(alphas_cumprod)
    if zero_terminal_snr:
        # Lin et al. 2023 (arXiv:2305.08891), algorithm 1: shift alpha so that its last entry is 0, keep the first.
        alpha = alphas_cumprod.sqrt()
        first, last = alpha[0].clone(), alpha[-1].clone()
        curve = TableCurve(((alpha - last) * first / (first - last)) ** 2)
    return Schedule("vp", curve, shift, steps=alphas_cumprod.numel())
