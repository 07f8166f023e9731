"""How good the shipped weights are: `python -m benchmarks.quality [NAME ...] [--out DIR]`.

Evaluates each as its recipe says (`multigen evaluate`), prints every metric with its floor and ceiling, then the
requirements on shipped weights with what was found. evaluation.json and report.html are kept under --out.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.__main__ import table
from multigen.evaluation.tables import tables
from multigen.recipe.paths import shipped_weights
from multigen.runs.evaluate import evaluate

Found = Mapping[str, Any]


@dataclass(frozen=True)
class Bar:
    """A requirement on one set of weights: a number of its evaluation, and the bound for it."""

    weights: str
    what: str
    number: Callable[[Found], float | None]
    bound: float
    most: bool = False  # the bound is a maximum, not a minimum

    def row(self, found: Found) -> dict[str, Any]:
        """A row of the table: what is required, what was found, and whether it is met."""
        value = self.number(found)
        met = value is not None and (value <= self.bound if self.most else value >= self.bound)
        return {
            "weights": self.weights,
            "what": self.what,
            "asked": f"{'at most' if self.most else 'at least'} {self.bound:g}",
            "found": "nothing" if value is None else f"{value:.3g}",
            "met": "yes" if met else "no",
        }


def metric(name: str, key: str, group: str | None = None) -> Callable[[Found], float | None]:
    """A number of the metric's row, for the first set or for the named one."""

    def number(found: Found) -> float | None:
        rows = [r for r in found["metrics"] if r["metric"] == name and group in (None, r["set"])]
        return rows[0].get(key) if rows else None

    return number


def excess(group: str | None = None) -> Callable[[Found], float | None]:
    """The excess of the kernel distance: 0 like real media, 1 like media of another kind."""

    def number(found: Found) -> float | None:
        rows = [r for r in found["distances"] if r["distance"] == "kernel" and group in (None, r["set"])]
        return rows[0]["excess"] if rows else None

    return number


def _of_real(name: str) -> Callable[[Found], float | None]:
    """A metric's value over that of real media."""

    def number(found: Found) -> float | None:
        value, ceiling = (metric(name, key)(found) for key in ("value", "ceiling"))
        return value / ceiling if value is not None and ceiling else None

    return number


def _beyond(found: Found) -> float | None:
    value, ceiling = (metric("detune", key)(found) for key in ("value", "ceiling"))
    return None if value is None or ceiling is None else value - ceiling


BARS = (
    Bar("image_digits", "classifier's accuracy on 1,000 samples", metric("classifier", "value"), 0.97),
    Bar(
        "image_digits",
        "real digits by a classifier trained on samples",
        metric("trained_on_samples", "value"),
        0.95,
    ),
    Bar("audio_music", "detune, semitones", metric("detune", "value"), 0.11, most=True),
    Bar("audio_music", "skill: energy on the asked key", metric("key", "skill"), 0.7),
    Bar("audio_music", "heard in the asked key, real's 1", _of_real("tonality"), 0.9),
    Bar("audio_music", "the asked instrument is heard", metric("instrument", "value"), 0.95),
    Bar("audio_music", "the asked tempo within 8%", metric("tempo", "value"), 0.8),
    Bar("audio_music", "onset rate inside real's 10 to 90%", metric("onset_rate", "inside"), 1),
    Bar("audio_music", "chroma entropy inside real's 10 to 90%", metric("chroma_entropy", "inside"), 1),
    Bar("audio_music", "excess kernel distance", excess(), 0.1, most=True),
    Bar("video_moving_emoji", "direction of motion", metric("direction", "value"), 0.95),
    Bar("video_moving_emoji", "skill: object in the top 5", metric("retrieval", "skill"), 0.6),
    Bar("video_moving_emoji", "excess kernel distance", excess(), 0.1, most=True),
    Bar(
        "image_emoji", "skill: object in the top 5, seen captions", metric("retrieval", "skill", "seen"), 0.8
    ),
    Bar("image_emoji", "skill: object in the top 5, new captions", metric("retrieval", "skill", "new"), 0.5),
    Bar("image_emoji", "asked hue within 30 degrees", metric("hue", "value", "seen"), 0.8),
    Bar("image_emoji", "excess kernel distance", excess("seen"), 0.1, most=True),
    Bar("vocoder_music", "log-mel error, Griffin-Lim's 1", metric("log_mel", "ratio"), 0.8, most=True),
    Bar("vocoder_music", "STFT error, Griffin-Lim's 1", metric("stft", "ratio"), 0.8, most=True),
    Bar("vocoder_music", "detune beyond the originals', semitones", _beyond, 0.02, most=True),
    Bar("vocoder_music", "times real time", lambda found: found["speed"]["times_real_time"], 20),
)


def main() -> None:
    """Evaluate the named weights, print the tables, and compare with the bars."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="shipped weights (default: all)")
    parser.add_argument("--out", type=Path, default=Path("runs/quality"), help="where the reports go")
    a = parser.parse_args()
    rows = []
    for name in a.names or shipped_weights():
        report = evaluate(name, out=a.out / name)
        found = report.to_json()
        print(f"\n# {name}, weights {found['weights_hash']}")
        for title, cells in tables(report).items():
            print(f"\n{title.removeprefix('Evaluation: ')}\n\n{table([dict(row) for row in cells])}")
        rows += [bar.row(found) for bar in BARS if bar.weights == name]
    print(f"\n{table(rows)}")


if __name__ == "__main__":
    main()
