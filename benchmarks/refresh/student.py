"""The student of the weights: distilled anew, measured beside its teacher, kept beside the weights if it is as good.

Bars: at most four network calls a medium, every metric with at least 0.95 of the teacher's skill, kernel excess at most
0.1 above the teacher's, both over the same seeds; a file of at most 6 MB.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from benchmarks.refresh.card import rows_of, write_section
from multigen.evaluation.report import Report
from multigen.evaluation.results import with_error
from multigen.model.export import export
from multigen.recipe.load import load_recipe
from multigen.recipe.paths import shipped_weights
from multigen.recipe.students import FILE, sampling_of
from multigen.runs import jobs
from multigen.runs.evaluate import evaluate
from multigen.storage.measured import digest, write_measured

RECIPES = {
    "image_emoji": "distill_emoji",
    "audio_music": "distill_music",
    "video_moving_emoji": "distill_video",
}
SEEDS = (0, 1)
SKILL, EXCESS, LARGEST = 0.95, 0.1, 6_000_000  # share of the teacher's, above the teacher's, bytes
RUNS = Path("runs") / "refresh"


class Row(NamedTuple):
    """One number of both models: its name, its mean over the seeds and standard error, and whether the bar is met."""

    name: str
    teacher: tuple[float, float]
    student: tuple[float, float]
    met: bool


def run(name: str, out: Path) -> str:
    """Distil, measure and keep the student of the weights `name`."""
    if name not in RECIPES:
        return f"no recipe distils it; there are those of {', '.join(RECIPES)}"
    folder = jobs.train(load_recipe(RECIPES[name]), out=_place(name) / "run", quiet=True)
    return judge(name, folder, out)


def _place(name: str) -> Path:
    """Where a stage that was stopped goes on: other weights have another place."""
    return RUNS / f"{name}-{digest(shipped_weights()[name])}"


def judge(
    name: str, folder: Path, out: Path, overrides: Sequence[str] = (), seeds: Sequence[int] = SEEDS
) -> str:
    """Measure the student of a finished run beside its teacher; write card and file. The verdict."""
    place = _place(name)
    kept, trial = out / FILE, place / FILE
    trial.parent.mkdir(parents=True, exist_ok=True)
    trial.unlink(missing_ok=True)
    export(folder, trial, half=True)
    reports = {
        fast: [
            evaluate(
                name, *overrides, f"seed={seed}", *([f"fast={trial}"] if fast else []),
                out=place / f"{'student' if fast else 'teacher'}-{seed}", quiet=True,
            )
            for seed in seeds
        ]
        for fast in (False, True)
    }  # fmt: skip
    rows, size = compared(reports[False], reports[True]), trial.stat().st_size
    missed = [row.name for row in rows if not row.met] + (["size"] if size > LARGEST else [])
    text = _section(rows, trial, size, missed, seeds)
    write_section(out, "student", text)
    write_measured(
        out, shipped_weights()[name], "student",
        {"bytes": size, "missed": missed, "rows": {row.name: [row.teacher[0], row.student[0]] for row in rows}},
    )  # fmt: skip
    if missed:
        kept.unlink(missing_ok=True)
        return f"not kept: it misses {', '.join(missed)}; it is {trial}"
    trial.replace(kept)
    return f"kept as {kept}, {size / 1e6:.1f} MB"


def compared(teacher: Sequence[Report], student: Sequence[Report]) -> list[Row]:
    """The metrics and kernel distances of both, each a mean over the seeds, against the bars."""
    rows = []
    for number, m in enumerate(teacher[0].measures):
        theirs, own = ([report.measures[number] for report in reports] for reports in (teacher, student))
        if m.skill is None:  # the values of real media are the best: compared by how many lie among those
            a, b = (_mean([(one.share_inside or 0.0, 0.0) for one in reports]) for reports in (theirs, own))
        else:
            a, b = (_mean([(one.skill or 0.0, one.error) for one in reports]) for reports in (theirs, own))
        rows.append(Row(f"{m.metric}, {m.set}", a, b, b[0] >= SKILL * a[0]))
    for number, d in enumerate(teacher[0].distances):
        if d.excess is not None and d.distance == "kernel":
            a, b = (
                _mean(
                    [
                        (r.distances[number].excess or 0.0, r.distances[number].excess_error or 0.0)
                        for r in reports
                    ]
                )
                for reports in (teacher, student)
            )
            rows.append(Row(f"kernel excess, {d.set}", a, b, b[0] <= a[0] + EXCESS))
    return rows


def _mean(values: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The mean of independent values, and its standard error."""
    return fmean(v for v, _ in values), math.sqrt(sum(e * e for _, e in values)) / len(values)


def _section(rows: Sequence[Row], file: Path, size: int, missed: Sequence[str], seeds: Sequence[int]) -> str:
    how = sampling_of(file)
    calls = how["sample"]["steps"] + how["sample"]["polish"]["passes"]
    table = rows_of(
        ("measure", "teacher", "student", "bar"),
        [
            (r.name, with_error(*r.teacher), with_error(*r.student), "met" if r.met else "missed")
            for r in rows
        ],
    )
    verdict = f"It misses: {', '.join(missed)}; it is not shipped." if missed else f"Shipped as `{FILE}`."
    return f"""## The student

`fast=true`: {calls} calls of the network a medium ({how["sampler"]["name"]}), a LoRA of
{size / 1e6:.1f} MB. {verdict} Skill of the metrics, and excess of the kernel distance, means of seeds
{", ".join(map(str, seeds))}; bars: skill at least {SKILL} of the teacher's, excess at most {EXCESS} above.
`python -m benchmarks.refresh NAME --only student` makes it anew.

{table}"""
