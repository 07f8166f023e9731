"""What a classifier gains from generated pictures where real ones are few.

Ten real digits of each class, and beside them a hundred that the shipped weights make of each; accuracy on the held-out
digits, which neither saw. The weights learned from 4,499 real digits: this is what they bring to somebody who has few
of his own, not something for nothing. Last row: all real training digits.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

import multigen
from benchmarks.__main__ import table
from multigen.core.noise import stream
from multigen.evaluation.metrics.picture_classifier import accuracy, train_classifier
from multigen.model.build import build_dataset

Labelled = tuple[Tensor, Tensor]


def measure(
    real: int = 10, made: int = 100, rounds: int = 3, steps: int = 600, name: str = "image_digits"
) -> list[dict[str, Any]]:
    """Rows of what the classifier was trained on and its accuracy: median of `rounds` draws of the few, and range."""
    model = multigen.load(name, device="cpu")
    data = build_dataset(model.recipe, model.modality)
    train, held = data.split()
    test = [data[i] for i in held]
    labels = [item.get("label") for item in test]
    every = [data[i] for i in train]
    pictures, classes = (
        torch.stack([i["media"] for i in every]),
        torch.tensor([i.get("label", 0) for i in every]),
    )
    samples = model.generate(list(data.classes), n=made, seed=1000)
    synthetic = (
        torch.stack([m.tensor for m in samples]),
        torch.arange(len(data.classes)).repeat_interleave(made),
    )
    found: dict[str, list[float]] = {}
    for k in range(rounds):
        few = _few(pictures, classes, real, k)
        sets = {
            f"{real} real of each class": [few],
            f"and {made} made of each": [few, synthetic],
            f"{made} made of each alone": [synthetic],
        }
        if k == 0:
            sets["all real ones"] = [(pictures, classes)]
        for what, parts in sets.items():
            net = train_classifier(batches(parts, k), len(data.classes), steps)
            score = accuracy(net, [i["media"] for i in test], labels)
            found.setdefault(what, []).append(score.value)
    return [
        {
            "trained on": what,
            "accuracy": round(statistics.median(values), 4),
            "range": f"{min(values):.3f} to {max(values):.3f}",
        }
        for what, values in found.items()
    ]


def _few(pictures: Tensor, classes: Tensor, count: int, seed: int) -> Labelled:
    rng = stream(seed, "few")
    chosen = []
    for label in classes.unique():
        places = (classes == label).nonzero()[:, 0]
        chosen.append(places[torch.randperm(len(places), generator=rng)[:count]])
    rows = torch.cat(chosen)
    return pictures[rows], classes[rows]


def batches(parts: Sequence[Labelled], seed: int) -> Any:
    """Half of a batch from each set, shifted by up to 2 pixels."""

    def batch(step: int) -> Labelled:
        rng = stream(seed, "batch", step)
        out = []
        for media, labels in parts:
            chosen = torch.randint(len(labels), (64 // len(parts),), generator=rng)
            shift = torch.randint(-2, 3, (2,), generator=rng).tolist()
            out.append((media[chosen].roll(shift, (2, 3)), labels[chosen]))
        return torch.cat([m for m, _ in out]), torch.cat([y for _, y in out])

    return batch


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--real", type=int, default=10, help="real pictures of each class")
    parser.add_argument("--made", type=int, default=100, help="generated pictures of each class")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    print(table(measure(given.real, given.made, given.rounds)))
