"""The Inception Score of any classifier's probabilities."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from multigen.errors import MultigenError
from multigen.evaluation.distances.rows import Estimate, checked, jackknife, mean_and_error


def inception_score(probabilities: Tensor, splits: int = 1) -> Estimate:
    """exp(mean_i KL(p_i || p)) of class probabilities [n, c]: from 1 (all rows equal) to c.

    Salimans et al. 2016 (arXiv:1606.03498, sec. 4), for any classifier. With several `splits` the rows are cut in
    order into that many equal parts (10 is usual); the value is the mean of the parts and the error their standard
    deviation / sqrt(splits). With one split the error is the delete-one jackknife. MultigenError for rows that are
    not probabilities, or fewer than 2 rows per split.
    """
    p = checked(probabilities, "probabilities", least=2 * splits)
    sums = p.sum(1)
    if bool((p < 0).any()) or float((sums - 1).abs().max()) > 1e-3:
        raise MultigenError(
            "inception_score: rows must be probabilities: none negative, each row summing to 1."
        )
    if splits > 1:
        parts = torch.tensor([_score(part)[0] for part in p.tensor_split(splits)], dtype=torch.float64)
        return mean_and_error(parts)
    value, left_out = _score(p)
    return Estimate(value, jackknife(left_out))


def _score(p: Tensor) -> tuple[float, Tensor]:
    """exp(H(mean p) - mean H(p)), and the same with each row left out [n]."""
    n, total = len(p), p.sum(0)
    entropies = _entropy(p)
    value = math.exp(float(_entropy(total / n) - entropies.mean()))
    rest = (entropies.sum() - entropies) / (n - 1)
    return value, (_entropy(((total - p) / (n - 1)).clamp_min(0)) - rest).exp()


def _entropy(p: Tensor) -> Tensor:
    return -torch.special.xlogy(p, p).sum(-1)
