"""How good the shipped weights are: `python -m benchmarks.quality [NAME ...] [--set KEY=VALUE] [--save FILE]`.

Evaluates each as its recipe says (`multigen evaluate`), prints every metric with its floor and ceiling, then the
requirements on weights of that recipe with what was found; a weights file may be named as well. evaluation.json and
report.html are kept under --out; --save keeps what is printed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.__main__ import table
from multigen.evaluation.tables import tables
from multigen.recipe.paths import shipped_weights
from multigen.runs.evaluate import evaluate
from multigen.storage.files import write_text

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


def upper(group: str) -> Callable[[Found], float | None]:
    """The upper 95% limit of the kernel distance's excess."""

    def number(found: Found) -> float | None:
        rows = [r for r in found["distances"] if r["distance"] == "kernel" and r["set"] == group]
        return rows[0]["excess"] + 1.96 * rows[0]["excess_error"] if rows else None

    return number


def copied(found: Found) -> float | None:
    """Share of the media without a style that are nearer to a training item than 95% of these are to each other."""
    one = found["memorisation"].get("sets", {}).get("no style")
    return None if one is None else one["closer_than_5_percent_of_training"]


def times_real(name: str) -> Callable[[Found], float | None]:
    """A metric's value over that of real media."""

    def number(found: Found) -> float | None:
        value, ceiling = (metric(name, key)(found) for key in ("value", "ceiling"))
        return None if value is None or not ceiling else value / ceiling

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
    Bar("audio_music", "heard in the asked key, real's 1", times_real("tonality"), 0.9),
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
    *(
        Bar("image_emoji_styles", f"skill: name in the top 5, {of}", metric("retrieval", "skill", of), bound)
        for of, bound in (("seen", 0.8), ("new style", 0.6), ("new colour", 0.7))
    ),
    Bar("image_emoji_styles", "asked style recognised", metric("style", "value", "seen"), 0.95),
    Bar("image_emoji_styles", "count right, 1 to 3", metric("count", "value", "counted"), 0.8),
    Bar("image_emoji_styles", "variety without a style", metric("variety", "value", "no style"), 0.5),
    Bar("image_emoji_styles", "excess kernel distance, upper 95% limit", upper("seen"), 0.2, most=True),
    Bar("image_emoji_styles", "nearer to training than 95% of it to itself", copied, 0.15, most=True),
    Bar("video_emoji_styles", "motion right, of fourteen", metric("motion", "value", "seen"), 0.95),
    Bar("video_emoji_styles", "skill: name in the top 5", metric("retrieval", "skill", "seen"), 0.6),
    Bar("video_emoji_styles", "flicker, times real", times_real("flicker"), 2, most=True),
    Bar("video_emoji_styles", "excess kernel distance", excess("seen"), 0.15, most=True),
    Bar("vocoder_music", "log-mel error, Griffin-Lim's 1", metric("log_mel", "ratio"), 0.8, most=True),
    Bar("vocoder_music", "STFT error, Griffin-Lim's 1", metric("stft", "ratio"), 0.8, most=True),
    Bar("vocoder_music", "detune beyond the originals', semitones", _beyond, 0.02, most=True),
    Bar("vocoder_music", "times real time", lambda found: found["speed"]["times_real_time"], 20),
)


def measured(source: str, out: Path, overrides: Sequence[str]) -> tuple[str, list[dict[str, Any]]]:
    """The tables of an evaluation as Markdown, and the rows of its requirements."""
    report = evaluate(source, *overrides, out=out)
    found = report.to_json()
    text = f"# {found['recipe']}, weights {found['weights_hash'][:16]}\n"
    for title, cells in tables(report).items():
        text += f"\n{title.removeprefix('Evaluation: ')}\n\n{table([dict(row) for row in cells])}\n"
    return text, [bar.row(found) for bar in BARS if bar.weights == found["recipe"]]


def main() -> None:
    """Evaluate the named weights, print the tables, and compare with the bars."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="shipped weights or files (default: all that are shipped)"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/quality"), help="where the reports go")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="evaluate.n=100")
    parser.add_argument("--save", type=Path, metavar="FILE", help="Markdown of what is printed")
    a = parser.parse_args()
    texts: list[str] = []
    rows: list[dict[str, Any]] = []
    for name in a.names or shipped_weights():
        text, more = measured(name, a.out / Path(name).stem, a.set)
        print(f"\n{text}")
        texts.append(text)
        rows += more
    texts.append(table(rows) + "\n")
    print(f"\n{texts[-1]}")
    if a.save is not None:
        write_text(a.save, "\n".join(texts))


if __name__ == "__main__":
    main()
