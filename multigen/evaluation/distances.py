"""How far two sets of features are apart: Fréchet and kernel distances, precision and recall, the Inception Score.

One core for every modality. Features are tensors [n, w], one row a medium, of any float type; where a medium has K
windows, give its mean or every window as a row, but [n, K, w] to `kernel`, as windows of one medium are no independent
samples. Everything is computed in float64 on the CPU. Which extractor made them is not known here: see
`multigen.evaluation.reference.check_same`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from multigen.errors import MultigenError
from multigen.evaluation.mmd import jackknife, mmd, width_of

_CHUNK = 1024  # rows of a distance matrix that are held at once


@dataclass(frozen=True)
class Moments:
    """Mean [w] and covariance [w, w] (divided by count - 1) of `count` rows of features, float64."""

    mean: Tensor
    covariance: Tensor
    count: int


class Estimate(NamedTuple):
    """A value and its standard error."""

    value: float
    error: float


class PRDC(NamedTuple):
    """Precision, recall and coverage in [0, 1]; density is 0 or more, 1 where the two sets are alike."""

    precision: float
    recall: float
    density: float
    coverage: float


def moments(features: Tensor) -> Moments:
    """Mean and covariance of features [n, w]; MultigenError for fewer than 2 rows or values that are not finite."""
    x = _checked(features, "features", least=2)
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
        f"{count} samples are {'fewer than' if count < width else 'no more than'} the {width} features: "
        "the Fréchet distance is not defined well; use the kernel distance."
    )


def frechet(a: Moments, b: Moments) -> float:
    """|m_a - m_b|^2 + Tr(C_a + C_b - 2 (C_a C_b)^(1/2)), the squared distance of Dowson & Landau (1982, eq. 16).

    FID where the features are Inception's (Heusel et al. 2017, arXiv:1706.08500, eq. 6). The trace of the root is
    that of (C_a^(1/2) C_b C_a^(1/2))^(1/2), which is symmetric: no complex numbers, and singular covariances do no
    harm. MultigenError if the widths differ.
    """
    if a.mean.shape != b.mean.shape:
        raise MultigenError(f"features of width {len(a.mean)} cannot be compared with width {len(b.mean)}.")
    values, vectors = torch.linalg.eigh(a.covariance)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    product = root @ b.covariance @ root
    cross = torch.linalg.eigvalsh((product + product.T) / 2).clamp_min(0).sqrt().sum()
    spread = a.covariance.trace() + b.covariance.trace() - 2 * cross
    return float((a.mean - b.mean).square().sum() + spread)


def kernel(
    real: Tensor,
    fake: Tensor,
    *,
    shape: Literal["cubic", "gaussian"] = "cubic",
    subsets: int | None = None,
    size: int | None = None,
    rng: torch.Generator | None = None,
) -> Estimate:
    """Unbiased squared maximum mean discrepancy of two sets of features; 0 on average where they are alike.

    "cubic": k(x, y) = (x.y / w + 1)^3, KID where the features are Inception's (Bińkowski et al. 2018,
    arXiv:1801.01401, sec. 3). "gaussian": k(x, y) = exp(-|x - y|^2 / (2 s^2)) with s the median distance within
    `real`, the kernel audio distance (Chung et al. 2025, arXiv:2502.15602, eq. 5), not scaled.

    The value is the U-statistic of Gretton et al. (2012, eq. 3) over all rows. Its error is the delete-one jackknife
    over the rows of both sets, which on average is no smaller than the true standard error (Efron & Stein 1981), and
    up to 1.4 times as large where the sets are alike.

    Features [n, K, w] of media with K windows each: pairs of windows of one medium, which are alike in any set, are
    left out, and a medium is left out as a whole; "rows" then means media. K may differ between the two sets.

    With `subsets` and `size` (as the field's tools have it) the value is the mean over `subsets` subsets of `size`
    rows of each, drawn without replacement by `rng`, and the error their standard deviation / sqrt(subsets): subsets
    overlap, so it tells how well the mean over subsets is known, not how well the distance is. One subset has the
    jackknife's error.
    """
    x, y = _windowed(real), _windowed(fake)
    if x.shape[2] != y.shape[2]:
        raise MultigenError(f"features of width {x.shape[2]} cannot be compared with width {y.shape[2]}.")
    gamma = width_of(x) if shape == "gaussian" else None
    if subsets is None and size is None:
        return Estimate(*mmd(x, y, gamma))
    if subsets is None or size is None or rng is None:
        raise MultigenError("kernel: give subsets, size and rng together, or none of them.")
    if subsets < 1 or not 2 <= size <= min(len(x), len(y)):
        allowed = f"subsets from 1, size from 2 to {min(len(x), len(y))}"
        raise MultigenError(f"kernel: {subsets} subsets of {size} rows are not allowed. Allowed: {allowed}.")
    found = [Estimate(*mmd(_drawn(x, size, rng), _drawn(y, size, rng), gamma)) for _ in range(subsets)]
    if subsets == 1:
        return found[0]
    return _mean_and_error(torch.tensor([e.value for e in found], dtype=torch.float64))


def prdc(real: Tensor, fake: Tensor, k: int = 5) -> PRDC:
    """Precision and recall of Kynkäänniemi et al. (2019, arXiv:1904.06991, eq. 1), density and coverage of Naeem et
    al. (2020, arXiv:2002.09797, eq. 3 and 4), from the balls that reach each row's k-th nearest neighbour in its set.

    Precision: share of `fake` inside a ball of `real`. Recall: share of `real` inside a ball of `fake`; it falls when
    modes are missing. Density counts the balls that a fake row is in, over k; coverage is the share of real balls
    with a fake row inside. MultigenError unless both sets have more than k rows.
    """
    x, y = _pair(real, fake, least=k + 1)
    reach_x, reach_y = _reach(x, k), _reach(y, k)
    precise, balls = 0, 0
    recalled = torch.zeros(len(x), dtype=torch.bool)
    covered = torch.zeros(len(x), dtype=torch.bool)
    for start, squares in _squares(y, x):  # [chunk of fake, real]
        inside = squares <= reach_x
        precise += int(inside.any(1).sum())
        balls += int(inside.sum())
        covered |= inside.any(0)
        recalled |= (squares <= reach_y[start : start + len(squares), None]).any(0)
    return PRDC(
        precise / len(y),
        float(recalled.double().mean()),
        balls / (k * len(y)),
        float(covered.double().mean()),
    )


def inception_score(probabilities: Tensor, splits: int = 1) -> Estimate:
    """exp(mean_i KL(p_i || p)) over class probabilities [n, c] of any classifier (Salimans et al. 2016,
    arXiv:1606.03498, sec. 4): from 1, all alike, to c.

    With several `splits` the rows are cut in their order into that many equal parts (as the field does, with 10), the
    value is the parts' mean and the error their standard deviation / sqrt(splits). With one, the error is the
    delete-one jackknife.
    """
    p = _checked(probabilities, "probabilities", least=2 * splits)
    sums = p.sum(1)
    if bool((p < 0).any()) or float((sums - 1).abs().max()) > 1e-3:
        raise MultigenError(
            "inception_score: rows must be probabilities: none under 0, each row summing to 1."
        )
    if splits > 1:
        parts = torch.tensor([_score(part)[0] for part in p.tensor_split(splits)], dtype=torch.float64)
        return _mean_and_error(parts)
    value, without = _score(p)
    return Estimate(value, jackknife(without))


def neighbours(
    queries: Tensor, bank: Tensor, k: int = 1, exclude_self: bool = False
) -> tuple[Tensor, Tensor]:
    """Euclidean distances [q, k], float64, and indices [q, k] of each query's nearest rows in the bank.

    `exclude_self`: queries are the bank itself and a row is not its own neighbour. MultigenError if the bank has
    fewer than k rows to choose from.
    """
    x, y = _pair(queries, bank, least=1)
    if not 1 <= k <= len(y) - exclude_self:
        raise MultigenError(f"neighbours: k {k} of a bank of {len(y)} rows is not allowed.")
    if exclude_self and len(x) != len(y):
        raise MultigenError("neighbours: exclude_self needs the bank itself as queries.")
    found = []
    for start, squares in _squares(x, y):
        if exclude_self:
            rows = torch.arange(len(squares))
            squares[rows, start + rows] = math.inf
        found.append(squares.topk(k, largest=False).indices)
    indices = torch.cat(found)
    # The chosen distances once more, by subtraction: a copy has exactly 0, which products do not give.
    exact = torch.stack([(x - y[indices[:, j]]).norm(dim=1) for j in range(k)], 1)
    exact, order = exact.sort(dim=1, stable=True)
    return exact, indices.gather(1, order)


def _checked(features: Tensor, name: str, least: int) -> Tensor:
    if features.ndim != 2 or features.shape[1] < 1:
        raise MultigenError(f"{name}: shape {tuple(features.shape)}; allowed: [rows, width].")
    if len(features) < least:
        raise MultigenError(f"{name}: {len(features)} rows; at least {least} are needed.")
    x = features.detach().to("cpu").double()
    if not bool(torch.isfinite(x).all()):
        raise MultigenError(f"{name}: some values are not finite (NaN or infinity).")
    return x


def _windowed(features: Tensor) -> Tensor:
    """[n, w] or [n, K, w], n of 2 or more -> [n, K, w]."""
    if features.ndim != 3:
        return _checked(features, "features", least=2)[:, None]
    if len(features) < 2:
        raise MultigenError(f"features: {len(features)} media; at least 2 are needed.")
    return _checked(features.flatten(0, 1), "features", least=2).reshape(features.shape)


def _pair(a: Tensor, b: Tensor, least: int) -> tuple[Tensor, Tensor]:
    x, y = _checked(a, "first set", least), _checked(b, "second set", least)
    if x.shape[1] != y.shape[1]:
        raise MultigenError(f"features of width {x.shape[1]} cannot be compared with width {y.shape[1]}.")
    return x, y


def _squares(x: Tensor, y: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Chunks of rows of |x_i - y_j|^2, each with the index of its first row."""
    middle = y.mean(0)  # products of large numbers would lose the small differences
    x, y = x - middle, y - middle
    norms = y.square().sum(1)
    for start in range(0, len(x), _CHUNK):
        part = x[start : start + _CHUNK]
        sums = part.square().sum(1, keepdim=True) + norms
        squares = (sums - 2 * part @ y.T).clamp_min(0)
        yield start, squares.masked_fill(squares <= 1e-14 * sums, 0)  # what rounding leaves of equal rows


def _reach(x: Tensor, k: int) -> Tensor:
    """[n]: squared distance of each row's k-th nearest other row, with room for rounding."""
    found = [squares.topk(k + 1, largest=False).values[:, k] for _, squares in _squares(x, x)]
    return torch.cat(found) * (1 + 1e-9)


def _drawn(x: Tensor, size: int, rng: torch.Generator) -> Tensor:
    return x[torch.randperm(len(x), generator=rng)[:size]]


def _mean_and_error(values: Tensor) -> Estimate:
    return Estimate(float(values.mean()), float(values.std() / math.sqrt(len(values))))


def _score(p: Tensor) -> tuple[float, Tensor]:
    """exp(H(mean p) - mean H(p)), and the same with each row left out [n]."""
    n, total = len(p), p.sum(0)
    entropies = _entropy(p)
    value = math.exp(float(_entropy(total / n) - entropies.mean()))
    rest = (entropies.sum() - entropies) / (n - 1)
    return value, (_entropy(((total - p) / (n - 1)).clamp_min(0)) - rest).exp()


def _entropy(p: Tensor) -> Tensor:
    return -torch.special.xlogy(p, p).sum(-1)
