"""The student's stage of `benchmarks.refresh`: what is compared, and against which bars."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.refresh import student
from multigen.evaluation.report import Report
from multigen.evaluation.results import Distance, Measure
from multigen.runs import jobs

MEASURE = Measure("hue", "seen", "", "higher", 0.9, 0.02, 1.0, 0.0, 0.2, "others", skill=0.9)
DISTANCE = Distance("kernel", "seen", 0.02, 0.001, "others", 0.01, 0.06, 0.1, 0.06)


def report(skill: float, excess: float) -> Report:
    measures = (
        replace(MEASURE, skill=skill),
        replace(MEASURE, metric="tempo", skill=None, share_inside=skill),
    )
    far = Distance("frechet", "seen", 1.0, None, "others", 0.5, 2.0, 0.3)
    return Report(Path(), {}, measures, (replace(DISTANCE, excess=excess), far))


def test_means_over_the_seeds_are_held_against_the_bars() -> None:
    teacher = [report(0.9, 0.1), report(1.0, 0.3)]
    rows = student.compared(teacher, [report(0.9, 0.2), report(0.92, 0.38)])
    assert [row.name for row in rows] == ["hue, seen", "tempo, seen", "kernel excess, seen"]
    assert rows[0].teacher == pytest.approx((0.95, 0.02 / 2**0.5)) and rows[0].student[0] == pytest.approx(
        0.91
    )
    assert rows[2].student == pytest.approx((0.29, 0.06 / 2**0.5))
    assert [row.met for row in rows] == [True, True, True]
    worse = student.compared(teacher, [report(0.85, 0.32), report(0.85, 0.31)])
    assert [row.met for row in worse] == [False, False, False]


def test_only_what_a_recipe_distils_has_a_student(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert student.run("image_digits", tmp_path).startswith(
        "no recipe distils it; there are those of image_emoji"
    )
    monkeypatch.setattr(jobs, "train", lambda recipe, out, quiet: Path(recipe.name))
    monkeypatch.setattr(student, "judge", lambda name, folder, out: f"{name} by {folder}")
    assert student.run("audio_music", tmp_path) == "audio_music by distill_music"


@pytest.mark.parametrize("good", [True, False])
def test_a_student_below_the_bars_is_not_kept(
    good: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def export(folder: Path, out: Path, *, half: bool) -> None:
        out.write_bytes(b"student")

    how = {"sampler": {"name": "ddim"}, "sample": {"steps": 3, "polish": {"passes": 1}}}
    monkeypatch.setattr(student, "export", export)
    monkeypatch.setattr(student, "sampling_of", lambda path: how)
    monkeypatch.setattr(
        student, "evaluate",
        lambda name, *changes, out, quiet: report(1.0, 0.1 if good or len(changes) == 1 else 0.5),
    )  # fmt: skip
    (tmp_path / student.FILE).write_bytes(b"an older one")
    said = student.judge("image_emoji", Path("run"), tmp_path)
    assert said.startswith("kept as" if good else "not kept: it misses kernel excess, seen")
    assert (tmp_path / student.FILE).exists() is good
    card = (tmp_path / "README.md").read_text()
    assert "`fast=true`: 4 calls" in card and ("Shipped as" if good else "not shipped") in card
