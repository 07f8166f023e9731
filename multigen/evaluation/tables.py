"""evaluation.json as the report shows it: tables, a chart of skills and a few words for the terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from multigen.evaluation.evaluate import FILE, FORMAT

Row = dict[str, str]


def read(folder: Path) -> dict[str, Any] | None:
    """The evaluation of a run folder; None if there is none that can be read."""
    try:
        value = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) and value.get("format") == FORMAT else None


def tables(found: Mapping[str, Any]) -> dict[str, list[Row]]:
    """Title -> rows of text."""
    out = {"Evaluation: what was asked for": [_metric(r) for r in found["metrics"]]}
    if "distances" in found:
        name = f"Evaluation: distances from real media ({found['feature']['name']})"
        out[name] = [_distance(r) for r in found["distances"]]
    if "style" in found:
        name = f"Evaluation: the style, on prompts that the tuning set does not show ({found['feature']['name']})"
        out[name] = [_style(found["style"])]
    if "memorisation" in found:
        out["Evaluation: are they copies?"] = [_memorisation(found["memorisation"])]
    if "speed" in found:
        out["Evaluation: speed"] = [_speed(found["speed"])]
    if found.get("converted"):
        out["Evaluation: media were converted first"] = [{"what": what} for what in found["converted"]]
    return {title: rows for title, rows in out.items() if rows}


def bars(found: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Name and skill of each metric that has one: 0 is the floor, 1 real media."""
    rows = [r for r in found["metrics"] if r.get("skill") is not None]
    sets = {r["set"] for r in rows}
    return [(r["metric"] if len(sets) == 1 else f"{r['metric']}, {r['set']}", r["skill"]) for r in rows]


def lines(found: Mapping[str, Any]) -> list[str]:
    """The result in short, a line each, aligned."""
    rows: list[Sequence[str]] = [("measure", "set", "value", "real", "floor", "skill")]
    for r in found["metrics"]:
        last = (
            _number(r["skill"]) if "skill" in r else ("inside" if r["inside"] else "outside real's 10 to 90%")
        )
        value = f"{_number(r['value'])} ± {_number(r['error'])}"
        rows.append((r["metric"], r["set"], value, _number(r["ceiling"]), _number(r["floor"]), last))
    for r in found.get("distances", ()):
        if "excess" in r:
            value = _number(r["value"])
            rows.append((f"{r['distance']} distance", r["set"], value, _number(r["real"]), _number(r["far"]),
                         f"excess {_number(r['excess'])}"))  # fmt: skip
    widths = [max(len(row[k]) for row in rows) for k in range(6)]
    out = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    if "style" in found:
        told = _style(found["style"])
        return [f"style, {name}: {value}" for name, value in told.items()]
    return [*out, *(r["problem"] for r in found.get("distances", ()) if "problem" in r)]


def _style(r: Mapping[str, Any]) -> Row:
    before, after = (f"{_number(r[k]['value'])} ± {_number(r[k]['error'])}" for k in ("before", "after"))
    return {
        "kernel distance from the tuning set, before": before,
        "after": after,
        "media": f"{r['media']} on each side, from {r['tuning_media']} they are compared with",
        "prompts": ", ".join(p or "(none)" for p in r["prompts"]),
    }


def _metric(r: Mapping[str, Any]) -> Row:
    skill = f"{_number(r['skill'])}" if "skill" in r else f"{r['share_inside']:.0%} inside real's 10 to 90%"
    return {
        "measure": r["metric"],
        "set": r["set"],
        "value": f"{_number(r['value'])} ± {_number(r['error'])}",
        "real media": f"{_number(r['ceiling'])} ± {_number(r['ceiling_error'])}",
        "floor": f"{_number(r['floor'])} ({r['floor_is']})",
        "skill": skill,
        "note": r["about"],
    }


def _distance(r: Mapping[str, Any]) -> Row:
    row = {"distance": r["distance"], "set": r["set"]}
    if "excess" not in r:
        return row | {"value": f"{_number(r['value'])} ± {_number(r['error'])}"}
    error = f" ± {_number(r['error'])}" if "error" in r else ""
    row |= {"value": _number(r["value"]) + error, "real from real": _number(r["real"])}
    row |= {f"{r['other']} from real": _number(r["far"]), "excess": _number(r["excess"])}
    if "precision" in r:
        row |= {key: _number(r[key]) for key in ("precision", "recall", "density", "coverage")}
    if "problem" in r:
        row["note"] = r["problem"]
    return row


def _memorisation(r: Mapping[str, Any]) -> Row:
    return {
        "nearest training item, median distance": _number(r["median"]),
        "the same between training items": _number(r["train_median"]),
        "ratio": _number(r["ratio"]),
        "nearer than the nearest 5% of training pairs": f"{r['closer_than_5_percent_of_training']:.0%}",
        "searched": f"{r['bank']:,} training items",
    }


def _speed(r: Mapping[str, Any]) -> Row:
    if "times_real_time" in r:
        speeds = (_number(r[key]) for key in ("times_real_time", "floor_times_real_time"))
        return {"device": r["device"]} | dict(zip(("times real time", "Griffin-Lim's"), speeds, strict=True))
    return {
        "device": r["device"],
        "seconds a medium": f"{_number(r['seconds_a_medium'])} in batches of {r['batch']}",
        "seconds for one alone": _number(r["seconds_alone"]),
        "peak memory": f"{r['peak_memory_bytes'] / 2**30:.1f} GiB",
    }


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
