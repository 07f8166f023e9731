"""Power-function profiles of averages over a training (Karras et al. 2024, arXiv:2312.02696, section 3).

The average of theta(tau) at time t has the weights p(tau) = (gamma + 1) tau^gamma / t^(gamma + 1) on [0, t]; its length
is stated as sigma_rel, the standard deviation of p relative to t. Several stored averages, of any times and lengths,
span many more: `mix` finds the combination whose profile is nearest to a wanted one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

# sigma_rel of the mean of all steps, gamma = 0: longer profiles would weigh the first steps most.
LONGEST = 12**-0.5
SHORTEST = 0.001


class Profile(NamedTuple):
    """A power-function profile: the time t > 0 of its average, in steps, and its sigma_rel."""

    step: float
    sigma: float


class Mix(NamedTuple):
    """Weights of stored averages, and how far their profile is from the wanted one, relative to it (L2)."""

    weights: list[float]
    error: float


def spread(gamma: float) -> float:
    """sigma_rel of an exponent gamma > -1: sqrt(gamma + 1) / ((gamma + 2) sqrt(gamma + 3)) (eq. 126 and 3)."""
    return math.sqrt((gamma + 1) / (gamma + 3)) / (gamma + 2)


def exponent(sigma: float) -> float:
    """gamma >= 0 of a sigma_rel: the root of g^3 + 7 g^2 + (16 - s) g + 12 - s, s = sigma^-2 (algorithm 2).

    ValueError unless SHORTEST <= sigma < LONGEST.
    """
    if not SHORTEST <= sigma < LONGEST:
        raise ValueError(
            f"sigma_rel {sigma:g} is not allowed. Allowed: {SHORTEST:g} to below {LONGEST:.4f} (the plain mean)."
        )
    # (g + 2)^2 (g + 3) = s (g + 1), rising faster on the left from the only root above 0 on.
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
    """beta = (1 - 1/step)^(gamma + 1) at step >= 1: average = beta average + (1 - beta) theta (eq. 127).

    The weights that it gives to steps are those of the profile over the interval (step - 1, step], exactly.
    """
    return (1 - 1 / step) ** (gamma + 1)


def overlap(a: Profile, b: Profile) -> float:
    """Inner product of two profiles, the integral of p_a p_b over time (algorithm 3)."""
    g, h = exponent(a.sigma), exponent(b.sigma)
    # min^(g + h + 1) / (a^(g + 1) b^(h + 1)), with the later time taken out so that nothing overflows.
    ratio = (a.step / b.step) ** h if a.step < b.step else (b.step / a.step) ** g
    return (g + 1) * (h + 1) * ratio / ((g + h + 1) * max(a.step, b.step))


def mix(stored: Sequence[Profile], wanted: Profile) -> Mix:
    """Least-squares weights of stored averages for a wanted one (algorithm 3)."""
    gram = torch.tensor([[overlap(a, b) for b in stored] for a in stored], dtype=torch.float64)
    aims = torch.tensor([overlap(a, wanted) for a in stored], dtype=torch.float64)
    # Of unit length each: early and late profiles differ by orders of magnitude. A profile that others say already
    # gets no weight of its own.
    lengths = gram.diagonal().sqrt()
    gram, aims = gram / lengths / lengths[:, None], aims / lengths
    found = torch.linalg.lstsq(gram, aims[:, None], rcond=1e-13, driver="gelsd").solution[:, 0]
    square = overlap(wanted, wanted)
    left = (square - 2 * aims @ found + found @ gram @ found).item()
    return Mix((found / lengths).tolist(), math.sqrt(max(left, 0.0) / square))
