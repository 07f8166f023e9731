"""The cache that `sample.cache=auto` takes: the fastest that is as good as none, at the recipe's own way to sample."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.refresh.card import rows_of, write_section
from benchmarks.refresh.judge import COUNTS, Judge, Verdict, Way, header, row
from multigen.generation.caching import STAGE, measured_with
from multigen.recipe.load import load_recipe
from multigen.recipe.paths import shipped_weights
from multigen.storage.measured import write_measured

GAIN = 1.1  # a cache that is not this much faster is not worth its name
CACHES: tuple[Mapping[str, Any], ...] = (
    {"name": "guidance", "every": 2},
    {"name": "deep", "every": 2, "outer": 2},
    {"name": "deep", "every": 2, "outer": 2, "guidance": 2},
    {"name": "deep", "every": 3, "outer": 2, "guidance": 2},
    {"name": "forecast", "limit": 0.3, "outer": 2},
)


def run(name: str, out: Path) -> str:
    """Measure every cache beside none; write the curve, and what `auto` takes."""
    recipe = load_recipe(name)
    judge = Judge(name, COUNTS[recipe.modality.name])
    base = judge.make(Way("none"))
    none = judge.compare(base, base)
    found = [judge.compare(judge.make(Way(titled(one), cache=one)), base) for one in CACHES]
    best = chosen(none, found)
    part = next(
        (dict(cache) for cache, one in zip(CACHES, found, strict=True) if one is best), {"name": "off"}
    )
    write_measured(out, shipped_weights()[name], STAGE, {"part": part, "with": measured_with(recipe)})
    write_section(out, STAGE, section(recipe.sample.steps, none, found, best))
    return titled(part)


def chosen(none: Verdict, found: list[Verdict]) -> Verdict | None:
    """The fastest cache that is as good as none and worth it."""
    good = [one for one in found if one.equal and none.seconds / one.seconds > GAIN]
    return min(good, key=lambda one: one.seconds, default=None)


def section(steps: int, none: Verdict, found: list[Verdict], best: Verdict | None) -> str:
    """The section of the card."""
    takes = "nothing is reused" if best is None else f"`{best.way.title}`"
    return (
        f"## Caching\n\nAs the recipe samples ({steps} steps), on the same prompts and seeds; in brackets the "
        f"difference from no cache and its standard error. `sample.cache=auto`: {takes}.\n\n"
        + rows_of(header(none, speed=True), [row(one, none) for one in (none, *found)])
    )


def titled(part: Mapping[str, Any]) -> str:
    """A cache as it is written in a recipe."""
    return "{" + ", ".join(f"{k}: {v}" for k, v in part.items()) + "}"
