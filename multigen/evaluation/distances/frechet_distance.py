"""The Fréchet distance between Gaussians that are fitted to two sets of features: FID, FAD, FVD."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from multigen.evaluation.distances.rows import check_widths, checked


@dataclass(frozen=True)
class Moments:
    """Mean [w] and covariance [w, w] (divided by count - 1) of `count` rows of features, float64."""

    mean: Tensor
    covariance: Tensor
    count: int


def moments(features: Tensor) -> Moments:
    """Mean and covariance of features [n, w]. MultigenError for fewer than 2 rows or values that are not finite."""
    x = checked(features, "features", least=2)
    mean = x.mean(0)
    centred = x - mean
    return Moments(mean, centred.T @ centred / (len(x) - 1), len(x))


def frechet_problem(count: int, width: int) -> str:
    """One sentence if `count` rows are too few for the Fréchet distance of `width` features; "" if they are enough.

    With count <= width the covariance is singular, and the distance grows by a bias that depends on the count
    (Chong & Forsyth 2020, arXiv:1911.07023).
    """
    if count > width:
        return ""
    return (
        f"{count} samples are too few for {width} features: the covariance is singular and the Fréchet distance "
        "biased; use the kernel distance."
    )


def frechet(a: Moments, b: Moments) -> float:
    """Squared Fréchet distance, |m_a - m_b|^2 + Tr(C_a + C_b - 2 (C_a C_b)^(1/2)) (Dowson & Landau 1982, eq. 16).

    FID with Inception's features (Heusel et al. 2017, arXiv:1706.08500, eq. 6). The trace of the root is computed from
    (C_a^(1/2) C_b C_a^(1/2))^(1/2), which is symmetric: no complex numbers arise, and singular covariances are safe.
    MultigenError if the widths differ.
    """
    check_widths(len(a.mean), len(b.mean))
    values, vectors = torch.linalg.eigh(a.covariance)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    product = root @ b.covariance @ root
    cross = torch.linalg.eigvalsh((product + product.T) / 2).clamp_min(0).sqrt().sum()
    spread = a.covariance.trace() + b.covariance.trace() - 2 * cross
    return float((a.mean - b.mean).square().sum() + spread)
