"""What `edit.purify` undoes of perturbed sources, and what it costs clean ones: image_emoji, sources of its own kind.

`python -m benchmarks.purify [-n PICTURES]` perturbs drawings of the dataset by projected gradient descent (Madry et al.
2018, arXiv:1706.06083), so that what the network answers about them moves as far as possible: L-infinity balls of 8/255
and 16/255, 20 steps, each with noise drawn anew (expectation over transformation). The attacker knows the weights and
not the seeds. Each source is edited clean, with random signs of the same size, and attacked, with equal seeds.

moved     root mean square distance, of full scale, of the edit from that of the clean source, both as they are
purified  the same where both are purified
of that   the second as a share of the first
lost      distance between the edits of the clean source with and without purification
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

import multigen
from benchmarks.__main__ import table
from multigen import registry
from multigen.core.noise import normal
from multigen.model.model import Model

BASE = "image_emoji"
STEPS, LEVELS = 20, (0.3, 1.0)  # of the attack; sigma/alpha at which it asks the network
_LEFT = torch.zeros(64, 64, dtype=torch.bool)
_LEFT[:, :32] = True
EDITS: Mapping[str, dict[str, Any]] = {
    "strength 0.2": {"strength": 0.2},
    "half is kept": {"keep": _LEFT},
    "inverted": {"invert": ""},
}


def attacked(model: Model, source: Tensor, radius: float, seed: int) -> Tensor:
    """A picture [C, H, W] within `radius` of another, value by value, about which the network says other things."""
    denoiser, codec = model.denoiser, model.codec
    null = model.conditioner.null(len(LEVELS))
    snr = torch.tensor([-2 * math.log(level) for level in LEVELS], dtype=torch.float64)
    t = denoiser.schedule.inverse(snr)
    alpha, sigma = (level.float().view(-1, 1, 1, 1) for level in denoiser.schedule(t))
    with torch.no_grad():
        x0 = codec.encode(source[None])
    start = normal(tuple(source.shape), seed, "attack").sign() * radius
    delta = start * 0.5
    for step in range(STEPS):
        eps = torch.stack([normal(tuple(x0.shape[1:]), seed, "attack", step, k) for k in range(len(LEVELS))])
        with torch.no_grad():
            honest = denoiser(alpha * x0 + sigma * eps, t, null)
        delta = delta.detach().requires_grad_()
        moved = denoiser(alpha * codec.encode((source + delta)[None]) + sigma * eps, t, null)
        (slope,) = torch.autograd.grad((moved - honest).square().mean(), delta)
        delta = (delta.detach() + radius / 5 * slope.sign()).clamp(-radius, radius)
        delta = (source + delta).clamp(-1, 1) - source
    return (source + delta).detach()


def distance(one: Tensor, other: Tensor) -> float:
    """Root mean square, of full scale (-1 to 1)."""
    return float((one - other).square().mean().sqrt()) / 2


def measure(n: int, level: float) -> list[dict[str, Any]]:
    """A row for each edit and each kind of source: means over pictures, and their standard errors."""
    model = multigen.load(BASE, device="cpu")
    model.denoiser.requires_grad_(False)
    dataset = registry.build("dataset", model.recipe.data, given={"modality": model.modality})
    items = [dataset[k * 135 // n] for k in range(n)]
    found: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    for seed, item in enumerate(items):
        clean = item["media"]
        kinds: dict[str, Tensor] = {}
        for size in (8, 16):
            radius = 2 * size / 255
            signs = normal(tuple(clean.shape), seed, "signs").sign() * radius
            kinds[f"random signs, {size}/255"] = (clean + signs).clamp(-1, 1)
            kinds[f"attacked, {size}/255"] = attacked(model, clean, radius, seed)
        for edit, options in EDITS.items():
            plain, pure = (_edited(model, clean, item, seed, options, one) for one in (None, level))
            for kind, source in kinds.items():
                moved = distance(_edited(model, source, item, seed, options, None), plain)
                left = distance(_edited(model, source, item, seed, options, level), pure)
                found.setdefault((edit, kind), []).append((moved, left, distance(plain, pure)))
    return [_row(edit, kind, rows) for (edit, kind), rows in found.items()]


def _edited(
    model: Model, source: Tensor, item: Any, seed: int, options: dict[str, Any], level: float | None
) -> Tensor:
    options = {k: item["text"] if k == "invert" else v for k, v in options.items()}
    made = model.edit(source, item["text"], seed=seed, purify=level, guidance_scale=1.0, **options)[0].tensor
    keep = options.get("keep")
    return made if keep is None else made[:, ~keep]  # what is new of it: the kept half is the source's own


def _row(edit: str, kind: str, rows: list[tuple[float, float, float]]) -> dict[str, Any]:
    values = torch.tensor(rows, dtype=torch.float64)
    mean, error = values.mean(0), values.std(0) / len(rows) ** 0.5
    said = [f"{m:.4f} ± {e:.4f}" for m, e in zip(mean.tolist(), error.tolist(), strict=True)]
    share = values[:, 1].sum() / values[:, 0].sum()
    return {
        "edit": edit, "source": kind, "n": len(rows), "moved": said[0], "purified": said[1],
        "of that": round(float(share), 2), "lost": said[2],
    }  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=12, help="sources")
    parser.add_argument("--level", type=float, default=0.3, help="of purify, sigma/alpha")
    given = parser.parse_args()
    print(table(measure(given.n, given.level)))
