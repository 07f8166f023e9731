"""Are shipped weights as good in bf16? Media of the same prompts and seeds in fp32 and in bf16, as `shrink` compares.

What is found is kept beside the weights, where `sample.precision=auto` reads it, and as a section of their card.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from benchmarks.refresh.card import rows_of, write_section
from multigen.evaluation.paired import measure_cost
from multigen.model.checked import STAGE, Checked
from multigen.model.load import load
from multigen.recipe.paths import shipped_weights
from multigen.storage.measured import write_measured


def run(name: str, out: Path) -> str:
    """Compare both; write the table, and what was found."""
    found = compared(name)
    write_measured(out, shipped_weights()[name], STAGE, dataclasses.asdict(found))
    write_section(out, STAGE, section(found))
    return "bf16 is as good" if found.as_good else "bf16 is worse"


def section(found: Checked) -> str:
    """What the card says."""
    pairs = [(f"{k}, skill", f"{a:.3f}", f"{b:.3f}") for k, (a, b) in found.skills.items()]
    kernel = (
        "kernel distance, excess",
        f"{found.kernel[0]:.3f}",
        f"{found.kernel[1]:.3f} ± {found.error:.3f}",
    )
    about = (
        f"{found.media} media, seed by seed; they differ by {found.difference:.4f} of full scale (root mean square). "
        f"`sample.precision=auto` takes bf16 {'where it is faster' if found.as_good else 'nowhere'}."
    )
    return f"## Precision\n\n{about}\n\n" + rows_of(("", "fp32", "bf16"), [kernel, *pairs])


def compared(name: str, n: int | None = None) -> Checked:
    """What the check finds, of `n` media or as many as the recipe says."""
    full, half = (load(name, device="cpu") for _ in range(2))
    full.denoiser.precision, half.denoiser.precision = None, torch.bfloat16
    cost = measure_cost(full, half, n=n or full.recipe.evaluate.n, quiet=True)
    kernel = (cost.excess_before, cost.excess_before + cost.excess_rise)
    skills = {one.metric: (one.before, one.after) for one in cost.skills}
    return Checked(cost.media, kernel, cost.rise_error, skills, cost.difference / 2)
