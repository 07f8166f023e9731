"""Many requests side by side: 32 of the emoji recipe, of 10, 20 and 30 steps, guidance on, against one after another.

The same requests with the same seeds, on the recipe's own network (its weights do not matter for the time). `together`
is the share of the wall time that they take on one driver; `batch` the mean number of samples in a network call;
`outside` the share of the time that is not spent in the network. `apart`: the largest difference of a sample from the
same made alone, of full scale.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import torch
from torch import Tensor

from benchmarks.__main__ import table
from multigen.generation.request import Request
from multigen.model.model import Model
from multigen.recipe.load import load_recipe

STEPS = (10, 20, 30)
PROMPTS = (
    "red apple",
    "slice of pizza",
    "strawberry",
    "hamburger",
    "doughnut",
    "watermelon",
    "banana",
    "carrot",
)


class _Timed:
    """Counts a denoiser's calls, their samples and their seconds."""

    def __init__(self, model: Model) -> None:
        self.calls, self.samples, self.seconds = 0, 0, 0.0
        forward = model.denoiser.forward

        def timed(x: Tensor, *rest: Any, **more: Any) -> Tensor:
            start = time.perf_counter()
            out = forward(x, *rest, **more)
            self.seconds += time.perf_counter() - start
            self.calls += 1
            self.samples += len(x)
            return out

        model.denoiser.forward = timed  # type: ignore[method-assign]


def measure(
    requests: int = 32, batch: int = 16, rounds: int = 3, name: str = "image_emoji"
) -> list[dict[str, Any]]:
    """One row: wall seconds one after another and together, their ratio (median of `rounds`), and what it cost."""
    model = Model(load_recipe(name, ["weights=null"]), device="cpu")
    with torch.no_grad():  # an untrained network answers nothing, which would be the same for all
        for k, p in enumerate(model.denoiser.parameters()):
            p.add_(0.02 * torch.randn(p.shape, generator=torch.Generator().manual_seed(k)))
    wishes = [
        Request(PROMPTS[k % len(PROMPTS)], seed=k, steps=STEPS[k % len(STEPS)]) for k in range(requests)
    ]
    list(model.batcher(wishes[:2]))  # warm: captions, memory
    ratios, rows = [], []
    for _ in range(rounds):
        start = time.perf_counter()
        alone = [next(model.batcher([wish]))[1] for wish in wishes]
        one_by_one = time.perf_counter() - start
        timed = _Timed(model)
        start = time.perf_counter()
        together = dict(model.batcher(wishes, batch=batch))
        seconds = time.perf_counter() - start
        ratios.append(seconds / one_by_one)
        apart = max((together[k].tensor - m.tensor).abs().max().item() for k, m in enumerate(alone))
        rows.append(
            {
                "requests": requests,
                "one_by_one_s": round(one_by_one, 1),
                "together_s": round(seconds, 1),
                "batch": round(timed.samples / timed.calls, 1),
                "outside": round(1 - timed.seconds / seconds, 3),
                "apart": float(f"{apart:.1e}"),
            }
        )
    middle = rows[sorted(range(rounds), key=ratios.__getitem__)[rounds // 2]]
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    return [{**middle, "together": round(statistics.median(ratios), 3), "spread": spread}]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=32)
    parser.add_argument("--batch", type=int, default=16, help="requests under way at a time")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    print(table(measure(given.requests, given.batch, given.rounds)))
