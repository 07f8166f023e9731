"""The unbiased maximum mean discrepancy of windows of media, and its jackknife error."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from multigen.errors import MultigenError

_CHUNK = 1024  # rows of a kernel matrix that are held at once


def mmd(x: Tensor, y: Tensor, gamma: float | None) -> tuple[float, float]:
    """The U-statistic of media [m, K, w] and [n, J, w] and its jackknife error, all from sums over kernel matrices.

    `gamma` of the Gaussian kernel; None: the cubic one. Windows of one medium are not paired with each other.
    """
    m, n = len(x), len(y)
    middle = y.mean((0, 1)) if gamma is not None else 0  # distances keep their digits near 0
    x, y = x - middle, y - middle
    xx = _kernel_sums(x, x, gamma)[0] - _values(x, x, gamma).mean((1, 2))
    yy = _kernel_sums(y, y, gamma)[0] - _values(y, y, gamma).mean((1, 2))
    xy, yx = _kernel_sums(x, y, gamma)
    within_x, within_y, across = xx.sum(), yy.sum(), xy.sum()
    mean_x, mean_y = within_x / (m * (m - 1)), within_y / (n * (n - 1))
    value = float(mean_x + mean_y - 2 * across / (m * n))
    if min(m, n) < 3:
        return value, math.nan  # two rows: none can be left out
    less_x = (within_x - 2 * xx) / ((m - 1) * (m - 2)) - 2 * (across - xy) / ((m - 1) * n)
    less_y = (within_y - 2 * yy) / ((n - 1) * (n - 2)) - 2 * (across - yx) / (m * (n - 1))
    return value, math.hypot(jackknife(less_x), jackknife(less_y))


def jackknife(without: Tensor) -> float:
    """Standard error from the values with each row left out in turn."""
    n = len(without)
    return math.sqrt((n - 1) / n * float((without - without.mean()).square().sum()))


def width_of(x: Tensor) -> float:
    """1 / (2 s^2), s the median distance between windows of different media of x [n, K, w], of 2048 windows at most."""
    media = torch.arange(len(x)).repeat_interleave(x.shape[1])
    rows = x.flatten(0, 1)
    some = torch.linspace(0, len(rows) - 1, min(len(rows), 2048)).round().long()
    distances = torch.cdist(rows[some], rows[some])
    middle = float(distances[media[some, None] < media[some]].median())
    if middle == 0:
        raise MultigenError("kernel: most rows of the real set are equal: the Gaussian kernel has no width.")
    return 1 / (2 * middle**2)


def _kernel_sums(x: Tensor, y: Tensor, gamma: float | None) -> tuple[Tensor, Tensor]:
    """Mean kernel over the windows of two media, summed over the other set: for x's media [m] and y's [n]."""
    (m, k, _), (n, j, _) = x.shape, y.shape
    rows: list[Tensor] = []
    columns = torch.zeros(n * j, dtype=torch.float64)
    a, b = x.flatten(0, 1), y.flatten(0, 1)
    for start in range(0, len(a), _CHUNK):
        values = _values(a[start : start + _CHUNK], b, gamma)
        rows.append(values.sum(1))
        columns += values.sum(0)
    return torch.cat(rows).reshape(m, k).sum(1) / (k * j), columns.reshape(n, j).sum(1) / (k * j)


def _values(a: Tensor, b: Tensor, gamma: float | None) -> Tensor:
    """The kernel of every row of a [..., p, w] with every row of b [..., q, w]."""
    inner = a @ b.transpose(-1, -2)
    if gamma is None:
        return (inner / a.shape[-1] + 1) ** 3
    squares = a.square().sum(-1)[..., :, None] + b.square().sum(-1)[..., None, :] - 2 * inner
    return torch.exp(-gamma * squares.clamp_min(0))
