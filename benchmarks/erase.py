"""What is left of an erased concept, and of everything else: retrieval before and after.

`python -m benchmarks.erase RUN...` takes finished trainings of `erase_emoji`. The same prompts and seeds are made by
image_emoji and by each student. A picture counts as its object where that is among the five most similar of all that
the dataset names. The floor is how often pictures of other things count as the erased one.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from typing import Any

import multigen
from benchmarks.__main__ import table
from multigen import registry
from multigen.evaluation.metrics.retrieval import Retrieval
from multigen.generation.request import Request
from multigen.model.model import Model

BASE, ERASED, TOP = "image_emoji", "hamburger", 5
ASKED = (
    "hamburger",
    "hamburger emoji",
    "a hamburger",
    "green hamburger",
)  # the second is not taught
OTHERS = (
    "banana", "strawberry", "watermelon", "lemon", "carrot", "broccoli", "croissant", "pretzel", "slice of pizza",
    "sandwich", "hot dog", "taco", "egg", "sushi", "doughnut", "cupcake", "pie", "ice cream", "teapot", "beer mug",
)  # fmt: skip


def pictures(model: Model, prompts: Sequence[str], n: int) -> list[Any]:
    """`n` pictures of each prompt, whose seeds are the same for every model."""
    requests = [Request(prompt, seed=1000 * k + i) for k, prompt in enumerate(prompts) for i in range(n)]
    return [medium.tensor for medium in model.stream(requests)]


def interval(hits: int, count: int) -> tuple[float, float]:
    """The 95% interval of a share (Wilson 1927)."""
    z = 1.96
    share, spread = (hits + z * z / 2) / (count + z * z), count + z * z
    half = z / spread * math.sqrt(hits * (count - hits) / count + z * z / 4)
    return share - half, share + half


def measure(runs: Sequence[str], n: int) -> list[dict[str, Any]]:
    """A row for the base and for each student."""
    base = multigen.load(BASE, device="cpu")
    dataset = registry.build("dataset", base.recipe.data, given={"modality": base.modality})
    metric = Retrieval(modality=base.modality, dataset=dataset, top=TOP)
    names = metric.catalogue.names
    rows: list[dict[str, Any]] = []
    for name, model in [(BASE, base), *((run, _tuned(run)) for run in runs)]:
        erased, others = pictures(model, ASKED, n), pictures(model, OTHERS, n)
        wanted = [names.index(one) for one in OTHERS for _ in range(n)]
        found = _hits(metric, erased, [names.index(ERASED)] * len(erased))
        kept = _hits(metric, others, wanted)
        low, high = interval(_hits(metric, others, [names.index(ERASED)] * len(others)), len(others))
        rows.append({
            "model": name, ERASED: f"{found}/{len(erased)}", "floor, 95%": f"{max(low, 0):.2f} to {high:.2f}",
            "others": f"{kept}/{len(others)}", "others, share": round(kept / len(others), 3),
        })  # fmt: skip
    return rows


def _tuned(run: str) -> Model:
    return multigen.load(BASE, device="cpu", loras={run: 1.0})


def _hits(metric: Retrieval, media: Sequence[Any], wanted: Sequence[int]) -> int:
    return sum(rank is not None and rank < TOP for rank in metric.ranks(media, list(wanted)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("-n", type=int, default=2, help="pictures of each prompt")
    given = parser.parse_args()
    print(table(measure(given.runs, given.n)))
