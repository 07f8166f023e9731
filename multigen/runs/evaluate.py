"""Evaluation from Python, and what `multigen evaluate` does: `multigen.evaluate` and its `Report`."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from multigen.errors import MultigenError
from multigen.evaluation.evaluate import evaluate as measure
from multigen.evaluation.groups_picture import GROUPS
from multigen.evaluation.memorisation import PAIRS
from multigen.evaluation.report import FILE, Report, read_report
from multigen.evaluation.style import SHEET
from multigen.model.guarding import unguarded
from multigen.model.model import Model
from multigen.recipe.dump import to_data
from multigen.runs.asked import asked as describe
from multigen.runs.asked import differences, listed
from multigen.runs.folders import is_run_folder, new_folder, run_folder
from multigen.runs.opened import open_model
from multigen.runs.report import report
from multigen.storage.claim import claimed

log = logging.getLogger(__name__)


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

    The same evaluation is not made twice. Another one in `out` is never replaced: MultigenError lists how it differs;
    without `out` it is kept beside, in evaluation-1 and so on. MultigenError where the data, the feature extractor or a
    metric is missing or does not fit.
    """
    path = Path(source).expanduser()
    model = open_model(str(source), overrides, device)
    model.guard, model.nearness = unguarded(model.recipe), None  # what is measured is the network
    given = None if out is None else Path(out).expanduser()
    folder = path if given is None and is_run_folder(path) else run_folder(model.recipe, given)
    files = None if media is None else Path(media).expanduser()
    asked = _asked(model, files, convert=convert)
    with claimed(folder) as claim:
        there = read_report(folder)
        if there is not None and there.facts.get("asked") == asked:
            log.info("the same evaluation is there: %s", folder / FILE)
            return there
        claim.keep()
        if there is not None:
            _set_aside(folder, there, asked, given)
        found = measure(model, folder, media=files, convert=convert, quiet=quiet)
        found = dataclasses.replace(found, facts={**found.facts, "asked": asked}).save()
        report(model, folder, {}, f"Evaluation in {folder / FILE}")
    return found


def _asked(model: Model, media: Path | None, *, convert: bool) -> dict[str, Any]:
    """What an evaluation asks for, flat."""
    settings: dict[str, Any] = {"seed": model.recipe.seed}
    if media is not None:
        settings |= {"media": str(media.resolve()), "convert": convert}
        settings["files"] = sorted(f"{p.name} {p.stat().st_size}" for p in media.iterdir() if p.is_file())
    plain = to_data(model.recipe)
    settings |= {f"evaluate.{key}": value for key, value in plain["evaluate"].items()}
    return describe(model, "evaluate", [], {**settings, "data": plain["data"]})


def _set_aside(folder: Path, there: Report, asked: Mapping[str, Any], out: Path | None) -> None:
    """Keep another evaluation as evaluation-N; MultigenError if the user named the folder."""
    before = there.facts.get("asked")
    rows = differences(before, asked) if isinstance(before, Mapping) else ["its settings are not recorded"]
    if out is not None:
        raise MultigenError(
            f"{folder}: it holds another evaluation ({listed(rows)}). Nothing is replaced: give another folder with "
            "--out."
        )
    kept = new_folder(folder / "evaluation")
    for name in (FILE, PAIRS, SHEET, GROUPS):
        if (folder / name).is_file():
            (folder / name).replace(kept / name)
    log.warning("another evaluation was there (%s): it is now in %s", listed(rows), kept)
