"""Nearest neighbours between two sets of features: precision and recall, and the search for copies."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from multigen.errors import MultigenError
from multigen.evaluation.distances.rows import checked_pair, squared_distances


class PRDC(NamedTuple):
    """Precision, recall and coverage in [0, 1]; density is 0 or more, about 1 for equal sets."""

    precision: float
    recall: float
    density: float
    coverage: float


def prdc(real: Tensor, fake: Tensor, k: int = 5) -> PRDC:
    """Precision, recall, density and coverage of features [n, w] and [m, w].

    Precision and recall: Kynkäänniemi et al. (2019, arXiv:1904.06991, eq. 1). Density and coverage: Naeem et al.
    (2020, arXiv:2002.09797, eq. 3 and 4). Each row has a ball that reaches its k-th nearest neighbour in its own set.

    precision  share of `fake` inside at least one ball of `real`
    recall     share of `real` inside at least one ball of `fake`; it falls when modes are missing
    density    mean number of real balls that a fake row lies in, over k
    coverage   share of real balls with at least one fake row inside

    MultigenError unless both sets have more than k rows.
    """
    x, y = checked_pair(real, fake, least=k + 1)
    radius_x, radius_y = _squared_radius(x, k), _squared_radius(y, k)
    precise, balls = 0, 0
    recalled = torch.zeros(len(x), dtype=torch.bool)
    covered = torch.zeros(len(x), dtype=torch.bool)
    for start, squares in squared_distances(y, x):  # [chunk of fake, real]
        inside = squares <= radius_x
        precise += int(inside.any(1).sum())
        balls += int(inside.sum())
        covered |= inside.any(0)
        recalled |= (squares <= radius_y[start : start + len(squares), None]).any(0)
    return PRDC(
        precise / len(y),
        float(recalled.double().mean()),
        balls / (k * len(y)),
        float(covered.double().mean()),
    )


def neighbours(
    queries: Tensor, bank: Tensor, k: int = 1, exclude_self: bool = False
) -> tuple[Tensor, Tensor]:
    """Euclidean distances [q, k], float64, and indices [q, k] of each query's nearest rows in the bank.

    `exclude_self`: the queries are the bank itself, and a row is not its own neighbour. MultigenError if the bank has
    fewer than k rows to choose from.
    """
    x, y = checked_pair(queries, bank, least=1)
    if not 1 <= k <= len(y) - exclude_self:
        raise MultigenError(f"neighbours: k {k} is not allowed. Allowed: 1 to {len(y) - exclude_self}.")
    if exclude_self and len(x) != len(y):
        raise MultigenError("neighbours: exclude_self needs the bank itself as queries.")
    found = []
    for start, squares in squared_distances(x, y):
        if exclude_self:
            rows = torch.arange(len(squares))
            squares[rows, start + rows] = math.inf
        found.append(squares.topk(k, largest=False).indices)
    indices = torch.cat(found)
    # Computed again by subtraction: a copy then has exactly 0, which the products do not give.
    exact = torch.stack([(x - y[indices[:, j]]).norm(dim=1) for j in range(k)], 1)
    exact, order = exact.sort(dim=1, stable=True)
    return exact, indices.gather(1, order)


def _squared_radius(x: Tensor, k: int) -> Tensor:
    """[n]: squared distance of each row to its k-th nearest other row, with a margin for rounding."""
    found = [squares.topk(k + 1, largest=False).values[:, k] for _, squares in squared_distances(x, x)]
    return torch.cat(found) * (1 + 1e-9)
