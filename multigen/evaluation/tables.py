"""A report as the page shows it: tables of text, and a bar of skill for each metric."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from multigen.evaluation.groups import told as told_groups
from multigen.evaluation.membership import told
from multigen.evaluation.report import Report
from multigen.evaluation.results import Distance, Measure, short, with_error

Row = dict[str, str]


def tables(report: Report) -> dict[str, list[Row]]:
    """Title -> rows of text."""
    facts = report.facts
    feature = facts.get("feature", {}).get("name", "")
    out = {
        "Evaluation: metrics": [_measure(m) for m in report.measures],
        f"Evaluation: distances from real media ({feature})": [_distance(d) for d in report.distances],
    }
    if "style" in facts:
        out[f"Evaluation: style, on prompts outside the tuning set ({feature})"] = [report.style()]
    if "memorisation" in facts:
        out["Evaluation: memorisation"] = _memorisation(facts["memorisation"])
    if "groups" in facts:
        out["Evaluation: groups"] = told_groups(facts["groups"])
    if "membership" in facts:
        out["Evaluation: membership"] = [told(facts["membership"])]
    if "speed" in facts:
        out["Evaluation: speed"] = [_speed(facts["speed"])]
    if "latents" in facts:
        out["Evaluation: latents"] = [_latents(facts["latents"])]
    out["Evaluation: converted media"] = [{"conversion": what} for what in facts.get("converted", ())]
    return {title: rows for title, rows in out.items() if rows}


def bars(report: Report) -> list[tuple[str, float]]:
    """Name and skill of each metric that has one: 0 is the floor, 1 real media."""
    sets = {m.set for m in report.measures if m.skill is not None}
    return [
        (m.metric if len(sets) == 1 else f"{m.metric}, {m.set}", m.skill)
        for m in report.measures
        if m.skill is not None and short(m.skill) != "-"
    ]


def _measure(m: Measure) -> Row:
    share = "-" if m.share_inside is None else f"{m.share_inside:.0%} within the 10 to 90% of real media"
    return {
        "metric": m.metric,
        "set": m.set,
        "value": with_error(m.value, m.error),
        "real media": with_error(m.ceiling, m.ceiling_error),
        "floor": f"{short(m.floor)} ({m.floor_is})",
        "skill": share if m.skill is None else short(m.skill),
        "note": m.about,
    }


def _distance(d: Distance) -> Row:
    row = {"distance": d.distance, "set": d.set, "value": with_error(d.value, d.error)}
    if d.excess is None:
        return row
    row |= {"real to real": short(d.real), f"{d.other} to real": short(d.far), "excess": short(d.excess)}
    if d.precision is not None:
        row |= {"precision": short(d.precision), "recall": short(d.recall)}
        row |= {"density": short(d.density), "coverage": short(d.coverage)}
    return row | ({"note": d.problem} if d.problem else {})


def _memorisation(found: Mapping[str, Any]) -> list[Row]:
    """A row for all media, and one for each set where there are several."""
    sets = found.get("sets", {})
    rows = {"all": found} | (sets if len(sets) > 1 else {})
    return [
        {
            "set": name,
            "median distance to the nearest training item": short(one["median"]),
            "same among training items": short(found["train_median"]),
            "ratio": short(one["ratio"]),
            "closer than the closest 5% of training pairs": f"{one['closer_than_5_percent_of_training']:.0%}",
            "training items searched": f"{found['bank']:,}",
        }
        for name, one in rows.items()
    ]


def _latents(found: Mapping[str, Any]) -> Row:
    return {
        "media": " x ".join(map(str, found["media"])),
        "latents": " x ".join(map(str, found["shape"])),
        "share of the numbers": f"{found['share']:.2%}",
        "seconds for a copy": short(found["seconds_a_copy"]),
        "device": found["device"],
    }


def _speed(found: Mapping[str, Any]) -> Row:
    if "times_real_time" in found:
        return {
            "device": found["device"],
            "times real time": short(found["times_real_time"]),
            "Griffin-Lim, times real time": short(found["floor_times_real_time"]),
        }
    return {
        "device": found["device"],
        "seconds per medium": f"{short(found['seconds_a_medium'])} (batches of {found['batch']})",
        "seconds for a single medium": short(found["seconds_alone"]),
        "peak memory": f"{found['peak_memory_bytes'] / 2**30:.1f} GiB",
    }
