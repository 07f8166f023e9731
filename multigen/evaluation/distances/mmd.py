"""The unbiased maximum mean discrepancy (MMD) of media with windows, and its jackknife error."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from multigen.errors import MultigenError
from multigen.evaluation.distances import rows
from multigen.evaluation.distances.rows import jackknife


def mmd(x: Tensor, y: Tensor, gamma: float | None) -> tuple[float, float]:
    """U-statistic of media [m, K, w] and [n, J, w], and its jackknife error (NaN for fewer than 3 media).

    gamma: that of the Gaussian kernel exp(-gamma |x - y|^2); None for the cubic kernel

    Windows of one medium are not paired with each other. Everything comes from sums over the kernel matrices.
    """
    value, less_x, less_y = left_out(x, y, gamma)
    if min(len(x), len(y)) < 3:
        return value, math.nan
    return value, math.hypot(jackknife(less_x), jackknife(less_y))


def left_out(x: Tensor, y: Tensor, gamma: float | None) -> tuple[float, Tensor, Tensor]:
    """As `mmd`: its value, and the values [m] and [n] with each medium of x, and of y, left out."""
    m, n = len(x), len(y)
    middle = y.mean((0, 1)) if gamma is not None else 0  # centred, so that distances keep their digits
    x, y = x - middle, y - middle
    xx = _kernel_sums(x, x, gamma)[0] - _values(x, x, gamma).mean((1, 2))
    yy = _kernel_sums(y, y, gamma)[0] - _values(y, y, gamma).mean((1, 2))
    xy, yx = _kernel_sums(x, y, gamma)
    within_x, within_y, across = xx.sum(), yy.sum(), xy.sum()
    mean_x, mean_y = within_x / (m * (m - 1)), within_y / (n * (n - 1))
    value = float(mean_x + mean_y - 2 * across / (m * n))
    less_x = (within_x - 2 * xx) / ((m - 1) * (m - 2)) - 2 * (across - xy) / ((m - 1) * n)
    less_y = (within_y - 2 * yy) / ((n - 1) * (n - 2)) - 2 * (across - yx) / (m * (n - 1))
    return value, less_x, less_y


def bandwidth(x: Tensor) -> float:
    """gamma = 1 / (2 s^2), s the median distance between windows of different media of x [n, K, w].

    At most 2048 windows are looked at. MultigenError if the median is 0.
    """
    media = torch.arange(len(x)).repeat_interleave(x.shape[1])
    windows = x.flatten(0, 1)
    some = torch.linspace(0, len(windows) - 1, min(len(windows), 2048)).round().long()
    distances = torch.cdist(windows[some], windows[some])
    middle = float(distances[media[some, None] < media[some]].median())
    if middle == 0:
        raise MultigenError(
            "kernel: most rows of the real set are equal, so the Gaussian kernel has no bandwidth."
        )
    return 1 / (2 * middle**2)


def _kernel_sums(x: Tensor, y: Tensor, gamma: float | None) -> tuple[Tensor, Tensor]:
    """Kernel between two media (mean over their windows), summed over the other set: for x [m] and for y [n]."""
    (m, k, _), (n, j, _) = x.shape, y.shape
    sums: list[Tensor] = []
    columns = torch.zeros(n * j, dtype=torch.float64)
    a, b = x.flatten(0, 1), y.flatten(0, 1)
    for start in range(0, len(a), rows.CHUNK):
        values = _values(a[start : start + rows.CHUNK], b, gamma)
        sums.append(values.sum(1))
        columns += values.sum(0)
    return torch.cat(sums).reshape(m, k).sum(1) / (k * j), columns.reshape(n, j).sum(1) / (k * j)


def _values(a: Tensor, b: Tensor, gamma: float | None) -> Tensor:
    """The kernel of every row of a [..., p, w] with every row of b [..., q, w]: [..., p, q]."""
    inner = a @ b.transpose(-1, -2)
    if gamma is None:
        return (inner / a.shape[-1] + 1) ** 3
    squares = a.square().sum(-1)[..., :, None] + b.square().sum(-1)[..., None, :] - 2 * inner
    return torch.exp(-gamma * squares.clamp_min(0))
