"""Evaluation from Python, and what `multigen evaluate` does: `multigen.evaluate` and its `Report`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multigen.evaluation import tables
from multigen.evaluation.evaluate import FILE
from multigen.evaluation.evaluate import evaluate as measure
from multigen.runs.folders import is_run_folder, run_folder
from multigen.runs.report import report
from multigen.runs.sample import open_model
from multigen.storage.lock import locked


@dataclass(frozen=True)
class Measure:
    """How well media show what was asked for, by one metric.

    metric   its name
    set      which media: of captions that training saw, or of held-out ones
    value    of the generated media, with its standard error
    ceiling  of real media
    floor    of media for other prompts, or of noise
    skill    0 at the floor, 1 at the ceiling; None for a metric whose best value is that of real media
    inside   for such a metric: whether the value lies within the 10th to 90th percentile of real media
    """

    metric: str
    set: str
    value: float
    error: float
    ceiling: float
    floor: float
    skill: float | None = None
    inside: bool | None = None


@dataclass(frozen=True)
class Distance:
    """How far generated media are from real ones as a whole.

    distance  its name
    set       which media
    value     of the generated media from real ones
    real      of real media from other real ones; None where that was not measured
    far       of noise, or of another dataset, from real media
    excess    0 at `real`, 1 at `far`
    """

    distance: str
    set: str
    value: float
    real: float | None = None
    far: float | None = None
    excess: float | None = None


@dataclass(frozen=True)
class Report:
    """The result of an evaluation. `print(report)` shows it as the command line does.

    folder     where evaluation.json and report.html are
    measures   what was asked for, a row for each metric and set of media
    distances  from real media, a row for each distance and set of media
    lines      the result as aligned text
    data       everything in evaluation.json
    """

    folder: Path
    measures: tuple[Measure, ...]
    distances: tuple[Distance, ...]
    lines: tuple[str, ...]
    data: Mapping[str, Any]

    def __str__(self) -> str:
        return "\n".join(self.lines)


def evaluate(
    source: str | Path,
    *overrides: str,
    media: str | Path | None = None,
    convert: bool = False,
    out: str | Path | None = None,
    device: str | None = None,
    quiet: bool = False,
) -> Report:
    """Measure a trained model as the `evaluate` section of its recipe says.

    source     a run folder, a weights file or a trained recipe
    overrides  changes to how it samples and what is measured: "evaluate.n=100", "sample.steps=20"
    media      measure the files of this folder in place of what the model makes
    convert    with `media`: fit files of other sizes and rates first
    out        folder for evaluation.json and report.html; by default the run folder, or runs/<recipe name>
    device     "cpu", "cuda", "cuda:1", "mps"; by default the best one here
    quiet      show no progress

    MultigenError where the data, the feature extractor or a metric is missing or does not fit.
    """
    model = open_model(str(source), overrides, device)
    path = Path(source).expanduser()
    if out is None and is_run_folder(path):
        out = path
    folder = run_folder(model.recipe, None if out is None else Path(out))
    with locked(folder):
        found = measure(
            model, folder, media=None if media is None else Path(media), convert=convert, quiet=quiet
        )
        report(model, folder, {}, f"Evaluation in {folder / FILE}")
    return _report(folder, found)


def _report(folder: Path, found: Mapping[str, Any]) -> Report:
    """Rows of evaluation.json as data."""
    measures = [
        Measure(
            r["metric"],
            r["set"],
            r["value"],
            r["error"],
            r["ceiling"],
            r["floor"],
            r.get("skill"),
            r.get("inside"),
        )
        for r in found["metrics"]
    ]
    distances = [
        Distance(r["distance"], r["set"], r["value"], r.get("real"), r.get("far"), r.get("excess"))
        for r in found.get("distances", ())
    ]
    return Report(folder, tuple(measures), tuple(distances), tuple(tables.lines(found)), found)
