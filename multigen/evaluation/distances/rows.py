"""Rows of features: checks, estimates with their error, and chunks of squared distances."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from multigen.errors import MultigenError

CHUNK = 1024  # rows of a matrix of distances or kernels that are held at once


class Estimate(NamedTuple):
    """A value and its standard error."""

    value: float
    error: float


def checked(features: Tensor, name: str, least: int) -> Tensor:
    """Features [n, w] as float64 on the CPU.

    MultigenError for another shape, fewer than `least` rows, or values that are not finite.
    """
    if features.ndim != 2 or features.shape[1] < 1:
        raise MultigenError(f"{name}: shape {tuple(features.shape)} is not allowed. Allowed: [rows, width].")
    if len(features) < least:
        raise MultigenError(f"{name}: {len(features)} rows are too few. Allowed: {least} or more.")
    x = features.detach().to("cpu").double()
    if not bool(torch.isfinite(x).all()):
        raise MultigenError(f"{name}: some values are not finite (NaN or infinity).")
    return x


def checked_windows(features: Tensor) -> Tensor:
    """Features [n, w] or [n, K, w] of n media, 2 or more -> [n, K, w], float64 on the CPU."""
    if features.ndim != 3:
        return checked(features, "features", least=2)[:, None]
    if len(features) < 2:
        raise MultigenError(f"features: {len(features)} media are too few. Allowed: 2 or more.")
    return checked(features.flatten(0, 1), "features", least=2).reshape(features.shape)


def checked_pair(a: Tensor, b: Tensor, least: int) -> tuple[Tensor, Tensor]:
    """Two sets [n, w] and [m, w] as float64 on the CPU. MultigenError if their widths differ."""
    x, y = checked(a, "first set", least), checked(b, "second set", least)
    check_widths(x.shape[1], y.shape[1])
    return x, y


def check_widths(a: int, b: int) -> None:
    """MultigenError unless the two widths are equal."""
    if a != b:
        raise MultigenError(f"features of width {a} cannot be compared with features of width {b}.")


def mean_and_error(values: Tensor) -> Estimate:
    """Mean and standard error of values [n], taken as independent."""
    return Estimate(float(values.mean()), float(values.std() / math.sqrt(len(values))))


def jackknife(left_out: Tensor) -> float:
    """Standard error from the n values [n] that a statistic has with each row left out in turn."""
    n = len(left_out)
    return math.sqrt((n - 1) / n * float((left_out - left_out.mean()).square().sum()))


def squared_distances(x: Tensor, y: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Chunks [rows, m] of |x_i - y_j|^2, each with the index of its first row."""
    middle = y.mean(0)  # centred, since products of large numbers would lose the small differences
    x, y = x - middle, y - middle
    norms = y.square().sum(1)
    for start in range(0, len(x), CHUNK):
        part = x[start : start + CHUNK]
        sums = part.square().sum(1, keepdim=True) + norms
        squares = (sums - 2 * part @ y.T).clamp_min(0)
        yield start, squares.masked_fill(squares <= 1e-14 * sums, 0)  # equal rows: only rounding is left
