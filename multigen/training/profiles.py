"""Power-function profiles of averages over a training (Karras et al. 2024, arXiv:2312.02696, section 3).

The average of the weights theta(tau) at time t is weighted on [0, t] by

    p(tau) = (gamma + 1) tau^gamma / t^(gamma + 1)

Its length is given as sigma_rel, the standard deviation of p relative to t. Stored averages of several times and
lengths span many others: `combine` finds the combination whose profile is closest to a wanted one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

# sigma_rel of the plain mean, gamma = 0. Longer profiles would weight the first steps most.
LONGEST = 12**-0.5
SHORTEST = 0.001


class Profile(NamedTuple):
    """A power-function profile: its time t > 0, in steps, and its sigma_rel."""

    step: float
    sigma: float


class Combination(NamedTuple):
    """Weights of stored averages, and the relative error (L2) of the profile that they combine to."""

    weights: list[float]
    error: float


def spread(gamma: float) -> float:
    """Return sigma_rel = sqrt(gamma + 1) / ((gamma + 2) sqrt(gamma + 3)) of an exponent gamma > -1 (eq. 126, 3)."""
    return math.sqrt((gamma + 1) / (gamma + 3)) / (gamma + 2)


def exponent(sigma: float) -> float:
    """Return the exponent gamma >= 0 of a sigma_rel, the inverse of `spread` (algorithm 2).

    It is the root of g³ + 7 g² + (16 - s) g + 12 - s with s = sigma^-2. ValueError unless SHORTEST <= sigma < LONGEST.
    """
    if not SHORTEST <= sigma < LONGEST:
        raise ValueError(
            f"sigma_rel {sigma:g} is not allowed. Allowed: {SHORTEST:g} to below {LONGEST:.4f} (the plain mean)."
        )
    # (g + 2)² (g + 3) = s (g + 1): above the only root >= 0 the left side is the larger one.
    s = sigma**-2
    low, high = 0.0, 1 / sigma
    while high - low > 1e-15 * high:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if (middle + 2) ** 2 * (middle + 3) < s * (middle + 1):
            low = middle
        else:
            high = middle
    return (low + high) / 2


def decay(gamma: float, step: int) -> float:
    """Return the decay beta = (1 - 1/step)^(gamma + 1) of the update at step >= 1 (eq. 127).

    The update is average = beta average + (1 - beta) theta. A step then has exactly the weight of the profile over the
    interval (step - 1, step].
    """
    return (1 - 1 / step) ** (gamma + 1)


def overlap(a: Profile, b: Profile) -> float:
    """Return the inner product of two profiles, the integral of p_a p_b over time (algorithm 3)."""
    g, h = exponent(a.sigma), exponent(b.sigma)
    # min^(g + h + 1) / (a^(g + 1) b^(h + 1)), with the later time factored out to avoid overflow.
    ratio = (a.step / b.step) ** h if a.step < b.step else (b.step / a.step) ** g
    return (g + 1) * (h + 1) * ratio / ((g + h + 1) * max(a.step, b.step))


def combine(stored: Sequence[Profile], wanted: Profile) -> Combination:
    """Find the weights of stored averages for a wanted one, by least squares (algorithm 3)."""
    gram = torch.tensor([[overlap(a, b) for b in stored] for a in stored], dtype=torch.float64)
    aims = torch.tensor([overlap(a, wanted) for a in stored], dtype=torch.float64)
    # Normalised, since early and late profiles differ by orders of magnitude. rcond drops redundant profiles.
    lengths = gram.diagonal().sqrt()
    gram, aims = gram / lengths / lengths[:, None], aims / lengths
    found = torch.linalg.lstsq(gram, aims[:, None], rcond=1e-13, driver="gelsd").solution[:, 0]
    square = overlap(wanted, wanted)
    left = (square - 2 * aims @ found + found @ gram @ found).item()
    return Combination((found / lengths).tolist(), math.sqrt(max(left, 0.0) / square))
