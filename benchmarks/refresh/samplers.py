"""Every sampler at few network calls, beside the recipe's own way and on the same prompts and seeds."""

from __future__ import annotations

from pathlib import Path

from benchmarks.refresh.card import rows_of, write_section
from benchmarks.refresh.judge import COUNTS, Judge, Way, header, row
from multigen.recipe.load import load_recipe

BUDGETS = (4, 6, 8, 12)  # network calls a medium, polish among them
SAMPLERS = ("ddim", "dpmpp_2m", "unipc", "ipndm", "dpmpp_2m_sde", "heun")
TWICE = ("heun",)  # ask twice a step, but for the last


def run(name: str, out: Path) -> str:
    """Measure all of them; write the table."""
    recipe = load_recipe(name)
    judge = Judge(name, COUNTS[recipe.modality.name])
    base = judge.make(Way("the recipe"))
    polish = min(recipe.sample.polish.passes, 1)
    ways = [way(sampler, budget, polish) for budget in BUDGETS for sampler in SAMPLERS]
    own = judge.compare(base, base)
    found = [judge.compare(judge.make(one), base) for one in ways]
    text = (
        "## Samplers at few calls\n\nOn the same prompts and seeds; in brackets the difference from the recipe's own "
        "way and its standard error.\n\n"
    )
    write_section(out, "samplers", text + rows_of(header(own), [row(one) for one in (own, *found)]))
    best = min(found, key=lambda one: one.kernel[0])
    return f"nearest to real media at few calls: {best.way.title}"


def way(sampler: str, budget: int, polish: int) -> Way:
    """A sampler with as many steps as the calls allow."""
    calls = budget - polish
    steps = (calls + 1) // 2 if sampler in TWICE else calls
    overrides = (f"sampler.name={sampler}", f"sample.polish.passes={polish}")
    return Way(f"{sampler}, {budget} calls", steps, overrides)
