"""The kernel distance: KID, the kernel audio distance."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from multigen.errors import MultigenError
from multigen.evaluation.distances.mmd import bandwidth, left_out, mmd
from multigen.evaluation.distances.rows import (
    Estimate,
    check_widths,
    checked_windows,
    jackknife,
    mean_and_error,
)


def kernel(
    real: Tensor,
    fake: Tensor,
    *,
    shape: Literal["cubic", "gaussian"] = "cubic",
    subsets: int | None = None,
    size: int | None = None,
    rng: torch.Generator | None = None,
) -> Estimate:
    """Unbiased squared maximum mean discrepancy (MMD) between two sets of features; 0 on average for equal sets.

    real, fake  features [n, w] and [m, w]; or [n, K, w] and [m, J, w] of media with K and J windows each
    shape       "cubic": k(x, y) = (x.y / w + 1)^3, KID with Inception's features (Bińkowski et al. 2018,
                arXiv:1801.01401, sec. 3). "gaussian": k(x, y) = exp(-|x - y|^2 / (2 s^2)), s the median distance
                within `real`: the kernel audio distance (Chung et al. 2025, arXiv:2502.15602, eq. 5), not scaled
    subsets, size, rng  average over `subsets` subsets of `size` rows of each set, drawn without replacement by `rng`

    The value is the U-statistic of Gretton et al. (2012, eq. 3) over all rows. Its error is the delete-one jackknife
    over the rows of both sets, which on average is no smaller than the true standard error (Efron & Stein 1981) and
    up to 1.4 times as large for equal sets. With windows, pairs of windows of one medium are left out, since these
    are alike in any set, and the jackknife leaves out whole media.

    With subsets the value is their mean and the error their standard deviation / sqrt(subsets). Subsets overlap, so
    this error says how well the mean over subsets is known, not how well the distance is. A single subset has the
    jackknife's error. MultigenError for widths that differ or settings out of range.
    """
    x, y = checked_windows(real), checked_windows(fake)
    check_widths(x.shape[2], y.shape[2])
    gamma = bandwidth(x) if shape == "gaussian" else None
    if subsets is None and size is None:
        return Estimate(*mmd(x, y, gamma))
    if subsets is None or size is None or rng is None:
        raise MultigenError("kernel: give subsets, size and rng together, or none of them.")
    if subsets < 1 or not 2 <= size <= min(len(x), len(y)):
        allowed = f"subsets from 1, size from 2 to {min(len(x), len(y))}"
        raise MultigenError(f"kernel: {subsets} subsets of {size} rows are not allowed. Allowed: {allowed}.")
    found = [Estimate(*mmd(_subset(x, size, rng), _subset(y, size, rng), gamma)) for _ in range(subsets)]
    if subsets == 1:
        return found[0]
    return mean_and_error(torch.tensor([e.value for e in found], dtype=torch.float64))


def kernel_rise(real: Tensor, before: Tensor, after: Tensor) -> Estimate:
    """How much farther from `real` features `after` are than `before`, with the cubic kernel; widths as in `kernel`.

    Row k of both was made from one seed: the jackknife leaves both out together, so that what the seeds share cancels.
    MultigenError for fewer than 3 media, or other numbers of them.
    """
    x, a, b = checked_windows(real), checked_windows(before), checked_windows(after)
    check_widths(x.shape[2], a.shape[2])
    if a.shape != b.shape or min(len(x), len(a)) < 3:
        raise MultigenError(
            f"kernel: {len(a)} and {len(b)} media are not allowed. Allowed: as many, 3 or more."
        )
    (first, first_x, first_y), (last, last_x, last_y) = left_out(x, a, None), left_out(x, b, None)
    return Estimate(last - first, math.hypot(jackknife(last_x - first_x), jackknife(last_y - first_y)))


def _subset(x: Tensor, size: int, rng: torch.Generator) -> Tensor:
    return x[torch.randperm(len(x), generator=rng)[:size]]
