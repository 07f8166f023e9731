"""Are shipped weights as good in bf16? The recipe's evaluation in fp32 and in bf16 with the same seeds.

Kernel distance from real media, the metrics with a skill, and the mean absolute difference of six media. It is kept
beside the weights, where `sample.precision=auto` reads it, and as a section of their card.
"""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import torch

from benchmarks.refresh.card import rows_of, write_section
from multigen.evaluation.evaluate import evaluate
from multigen.evaluation.report import Report
from multigen.model.checked import STAGE, Checked
from multigen.model.load import load
from multigen.model.model import Model
from multigen.recipe.load import load_recipe
from multigen.recipe.paths import shipped_weights
from multigen.storage.measured import write_measured


def run(name: str, out: Path) -> str:
    """Compare both; write the table, and what was found."""
    if load_recipe(name).trains == "codec":
        return "makes nothing"
    found = compared(name)
    write_measured(out, shipped_weights()[name], STAGE, dataclasses.asdict(found))
    write_section(out, STAGE, section(found))
    return "bf16 is as good" if found.as_good else "bf16 is worse"


def section(found: Checked) -> str:
    """What the card says."""
    pairs = [(f"{k}, skill", f"{a:.3f}", f"{b:.3f}") for k, (a, b) in found.skills.items()]
    kernel = ("kernel distance", f"{found.kernel[0]:.4f} ± {found.error:.4f}", f"{found.kernel[1]:.4f}")
    about = (
        f"{found.media} media, seed by seed; six differ by {found.difference:.4f} of full scale (mean absolute). "
        f"`sample.precision=auto` takes bf16 {'where it is faster' if found.as_good else 'nowhere'}."
    )
    return f"## Precision\n\n{about}\n\n" + rows_of(("", "fp32", "bf16"), [kernel, *pairs])


def measured(name: str, precision: str, n: int | None) -> tuple[Report, torch.Tensor]:
    """The evaluation in a precision, and six media."""
    model: Model = load(name, device="cpu")
    model.denoiser.precision = torch.bfloat16 if precision == "bf16" else None
    settings = model.recipe.evaluate
    fewer = dataclasses.replace(settings, n=n or settings.n, new=0, metrics=settings.metrics)
    model.recipe = dataclasses.replace(model.recipe, evaluate=fewer)
    media = model.generate(list(model.recipe.sample.prompts[:6]), n=1)
    with tempfile.TemporaryDirectory() as folder:
        report = evaluate(model, Path(folder), quiet=True)
    return report, torch.stack([m.tensor for m in media])


def compared(name: str, n: int | None = None) -> Checked:
    """What the check finds, of `n` media or as many as the recipe says."""
    full, half = (measured(name, precision, n) for precision in ("fp32", "bf16"))
    (kernel_full, kernel_half) = (
        next(d for d in r.distances if d.distance == "kernel") for r in (full[0], half[0])
    )
    after = {m.metric: m.skill for m in half[0].measures}
    skills = {
        m.metric: (m.skill, later)
        for m in full[0].measures
        if m.skill is not None and (later := after.get(m.metric)) is not None
    }
    span = float(full[1].max() - full[1].min())
    difference = float((full[1] - half[1]).abs().mean()) / span
    count = next(iter(full[0].facts["sets"].values()))
    kernels = (kernel_full.value, kernel_half.value)
    return Checked(count, kernels, kernel_full.error or 0.0, skills, difference)
