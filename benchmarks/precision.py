"""Are shipped weights as good in bf16? `python -m benchmarks.precision [NAME ...] [--n N] [--write]`.

Evaluates each as its recipe says, in fp32 and in bf16 with the same seeds: kernel distance from real media, the metrics
with a skill, and the mean absolute difference of six media. `--write` keeps the result beside the weights, where
`sample.precision=auto` reads it, and as a section of their card.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.__main__ import table
from multigen.evaluation.evaluate import evaluate
from multigen.evaluation.report import Report
from multigen.model.checked import FILE, Checked
from multigen.model.load import load
from multigen.model.model import Model
from multigen.recipe.load import load_recipe
from multigen.recipe.paths import shipped_weights
from multigen.storage.files import write_text

NAMES = ("image_emoji", "audio_music", "video_moving_emoji", "image_digits")
TITLE = "## Precision"


def measured(name: str, precision: str, n: int | None) -> tuple[Report, torch.Tensor, float]:
    """The evaluation in a precision, six media, and the seconds that these took."""
    model: Model = load(name, device="cpu")
    model.denoiser.precision = torch.bfloat16 if precision == "bf16" else None
    settings = model.recipe.evaluate
    fewer = dataclasses.replace(settings, n=n or settings.n, new=0, metrics=settings.metrics)
    model.recipe = dataclasses.replace(model.recipe, evaluate=fewer)
    start = time.perf_counter()
    media = model.generate(list(model.recipe.sample.prompts[:6]), n=1)
    seconds = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        report = evaluate(model, Path(folder), quiet=True)
    return report, torch.stack([m.tensor for m in media]), seconds


def compared(name: str, n: int | None = None) -> tuple[Checked, list[float]]:
    """What the check finds, and the seconds of six media in each precision."""
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
    found = Checked(
        count, (kernel_full.value, kernel_half.value), kernel_full.error or 0.0, skills, difference,
        full[0].facts["weights_hash"],
    )  # fmt: skip
    return found, [full[2], half[2]]


def row(name: str, found: Checked) -> dict[str, Any]:
    """A row of the table."""
    pairs = ", ".join(f"{k} {a:.3f} / {b:.3f}" for k, (a, b) in found.skills.items())
    return {
        "weights": name,
        "media": found.media,
        "kernel distance, fp32 / bf16": f"{found.kernel[0]:.4f} ± {found.error:.4f} / {found.kernel[1]:.4f}",
        "skill, fp32 / bf16": pairs,
        "mean difference, of full scale": f"{found.difference:.4f}",
        "bf16 as good": "yes" if found.as_good else "no",
    }


def write(name: str, found: Checked) -> None:
    """Keep what was found beside the weights, and in their card."""
    folder = shipped_weights()[name].parent
    write_text(folder / FILE, json.dumps(dataclasses.asdict(found), indent=1) + "\n")
    card = folder / "README.md"
    text = re.sub(rf"\n{TITLE}\n.*?(?=\n## |\Z)", "", card.read_text(encoding="utf-8"), flags=re.DOTALL)
    about = (
        f"\n{TITLE}\n\nThe same media in fp32 and in bf16, seed by seed (`python -m benchmarks.precision {name}`); "
        f"`sample.precision=auto`\nreads it from `{FILE}`.\n\n"
    )
    write_text(card, text.rstrip("\n") + "\n" + about + table([row(name, found)]) + "\n")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--n", type=int, help="media in each precision; default: as the recipe says")
    parser.add_argument("--write", action="store_true", help="keep the result beside the weights")
    given = parser.parse_args()
    rows = []
    for name in given.names:
        load_recipe(name)
        found, seconds = compared(name, given.n)
        rows.append(row(name, found) | {"seconds of 6, fp32 / bf16": " / ".join(f"{s:.1f}" for s in seconds)})
        print(table(rows[-1:]), flush=True)
        if given.write:
            write(name, found)
    print(table(rows))


if __name__ == "__main__":
    main()
