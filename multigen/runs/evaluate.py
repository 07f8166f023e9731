"""Evaluation from Python, and what `multigen evaluate` does: `multigen.evaluate` and its `Report`."""

from __future__ import annotations

from pathlib import Path

from multigen.evaluation.evaluate import evaluate as measure
from multigen.evaluation.report import FILE, Report
from multigen.runs.folders import is_run_folder, run_folder
from multigen.runs.report import report
from multigen.runs.sample import open_model
from multigen.storage.lock import locked


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
        files = None if media is None else Path(media)
        found = measure(model, folder, media=files, convert=convert, quiet=quiet)
        report(model, folder, {}, f"Evaluation in {folder / FILE}")
    return found
