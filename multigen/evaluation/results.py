"""Rows of an evaluation: a metric or a distance on one set of media."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar


@dataclass(frozen=True)
class Measure:
    """One metric on one set of media.

    metric        name of the metric, with its arguments
    set           which media: for captions that training saw, or for held-out ones
    about         what the metric measures
    better        "higher", "lower", or "real": the value of real media is the best
    value         of the generated media; `error` is its standard error
    ceiling       of real media; `ceiling_error` is its standard error
    floor         of what `floor_is` says: other prompts, noise, or Griffin-Lim
    skill         0 at the floor, 1 at the ceiling; None if real media are the best
    inside        if real media are the best: whether the value lies between their 10th and 90th percentiles
    share_inside  share of the media whose value lies there
    real_10, real_90  these percentiles
    ratio         of value to floor, for vocoders

    NaN where a number is undefined.
    """

    metric: str
    set: str
    about: str
    better: str
    value: float
    error: float
    ceiling: float
    ceiling_error: float
    floor: float
    floor_is: str
    skill: float | None = None
    inside: bool | None = None
    share_inside: float | None = None
    real_10: float | None = None
    real_90: float | None = None
    ratio: float | None = None


@dataclass(frozen=True)
class Distance:
    """One distance between one set of media and real media.

    distance  "kernel", "frechet" or "inception score"
    set       which media
    value     of the generated media; `error` is its standard error, if it is known
    other     what `far` was measured on: noise, or another dataset
    real      of other real media from real media
    far       of noise, or of another dataset, from real media
    excess    0 at `real`, 1 at `far`; `excess_error` is its standard error
    precision, recall, density, coverage  of the generated media among real ones
    problem   why the value is not reliable
    """

    distance: str
    set: str
    value: float
    error: float | None = None
    other: str | None = None
    real: float | None = None
    far: float | None = None
    excess: float | None = None
    excess_error: float | None = None
    precision: float | None = None
    recall: float | None = None
    density: float | None = None
    coverage: float | None = None
    problem: str | None = None


Result = TypeVar("Result", Measure, Distance)


def to_row(one: Measure | Distance) -> dict[str, Any]:
    """The fields that are not None, for evaluation.json."""
    return {key: value for key, value in asdict(one).items() if value is not None}


def from_row(kind: type[Result], row: Mapping[str, Any]) -> Result:
    """The inverse of `to_row`; JSON's null stands for NaN, and unknown keys are ignored."""
    known = {f.name for f in fields(kind)}
    values: dict[str, Any] = {k: math.nan if v is None else v for k, v in row.items() if k in known}
    return kind(**values)


def short(value: float | None) -> str:
    """Three significant digits; "-" for None and NaN."""
    return "-" if value is None or math.isnan(value) else f"{value:.3g}"


def with_error(value: float, error: float | None) -> str:
    """A value with its standard error, if that is known: "0.958 ± 0.0417"."""
    return short(value) if error is None or math.isnan(error) else f"{short(value)} ± {short(error)}"
