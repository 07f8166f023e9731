"""evaluation.json as people read it: tables and bars for the report page, aligned lines for the terminal."""

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
    """Title -> rows of text, for the report page."""
    out = {"Evaluation: metrics": [_metric(r) for r in found["metrics"]]}
    if "distances" in found:
        name = f"Evaluation: distances from real media ({found['feature']['name']})"
        out[name] = [_distance(r) for r in found["distances"]]
    if "style" in found:
        name = f"Evaluation: style, on prompts outside the tuning set ({found['feature']['name']})"
        out[name] = [_style(found["style"])]
    if "memorisation" in found:
        out["Evaluation: memorisation"] = [_memorisation(found["memorisation"])]
    if "speed" in found:
        out["Evaluation: speed"] = [_speed(found["speed"])]
    if found.get("converted"):
        out["Evaluation: converted media"] = [{"conversion": what} for what in found["converted"]]
    return {title: rows for title, rows in out.items() if rows}


def bars(found: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Name and skill of each metric that has one: 0 is the floor, 1 real media."""
    rows = [r for r in found["metrics"] if r.get("skill") is not None]
    sets = {r["set"] for r in rows}
    return [(r["metric"] if len(sets) == 1 else f"{r['metric']}, {r['set']}", r["skill"]) for r in rows]


def lines(found: Mapping[str, Any]) -> list[str]:
    """The result for the terminal: one aligned line for each metric and distance."""
    if "style" in found:
        return [f"style, {name}: {value}" for name, value in _style(found["style"]).items()]
    rows: list[Sequence[str]] = [("measure", "set", "value", "real", "floor", "skill")]
    for r in found["metrics"]:
        outside = "outside the 10 to 90% of real media"
        last = _number(r["skill"]) if "skill" in r else "inside" if r["inside"] else outside
        value = f"{_number(r['value'])} ± {_number(r['error'])}"
        rows.append((r["metric"], r["set"], value, _number(r["ceiling"]), _number(r["floor"]), last))
    for r in found.get("distances", ()):
        if "excess" in r:
            value, real, far = (_number(r[key]) for key in ("value", "real", "far"))
            excess = f"excess {_number(r['excess'])}"
            rows.append((f"{r['distance']} distance", r["set"], value, real, far, excess))
    widths = [max(len(row[k]) for row in rows) for k in range(6)]
    out = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [*out, *(r["problem"] for r in found.get("distances", ()) if "problem" in r)]


def _style(r: Mapping[str, Any]) -> Row:
    before, after = (f"{_number(r[k]['value'])} ± {_number(r[k]['error'])}" for k in ("before", "after"))
    return {
        "kernel distance from the tuning set, base model": before,
        "with the adapter": after,
        "media": f"{r['media']} of each model, compared with {r['tuning_media']} tuning media",
        "prompts": ", ".join(p or "(none)" for p in r["prompts"]),
    }


def _metric(r: Mapping[str, Any]) -> Row:
    share = "" if "skill" in r else f"{r['share_inside']:.0%} within the 10 to 90% of real media"
    return {
        "metric": r["metric"],
        "set": r["set"],
        "value": f"{_number(r['value'])} ± {_number(r['error'])}",
        "real media": f"{_number(r['ceiling'])} ± {_number(r['ceiling_error'])}",
        "floor": f"{_number(r['floor'])} ({r['floor_is']})",
        "skill": _number(r["skill"]) if "skill" in r else share,
        "note": r["about"],
    }


def _distance(r: Mapping[str, Any]) -> Row:
    row = {"distance": r["distance"], "set": r["set"]}
    if "excess" not in r:
        return row | {"value": f"{_number(r['value'])} ± {_number(r['error'])}"}
    error = f" ± {_number(r['error'])}" if "error" in r else ""
    row |= {"value": _number(r["value"]) + error, "real to real": _number(r["real"])}
    row |= {f"{r['other']} to real": _number(r["far"]), "excess": _number(r["excess"])}
    if "precision" in r:
        row |= {key: _number(r[key]) for key in ("precision", "recall", "density", "coverage")}
    if "problem" in r:
        row["note"] = r["problem"]
    return row


def _memorisation(r: Mapping[str, Any]) -> Row:
    return {
        "median distance to the nearest training item": _number(r["median"]),
        "same among training items": _number(r["train_median"]),
        "ratio": _number(r["ratio"]),
        "closer than the closest 5% of training pairs": f"{r['closer_than_5_percent_of_training']:.0%}",
        "training items searched": f"{r['bank']:,}",
    }


def _speed(r: Mapping[str, Any]) -> Row:
    if "times_real_time" in r:
        return {
            "device": r["device"],
            "times real time": _number(r["times_real_time"]),
            "Griffin-Lim, times real time": _number(r["floor_times_real_time"]),
        }
    return {
        "device": r["device"],
        "seconds per medium": f"{_number(r['seconds_a_medium'])} (batches of {r['batch']})",
        "seconds for a single medium": _number(r["seconds_alone"]),
        "peak memory": f"{r['peak_memory_bytes'] / 2**30:.1f} GiB",
    }


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
