"""Learning on without forgetting: old and new retrieval after image_emoji learned six names, by `train.replay`.

`python -m benchmarks.replay FOLDER [--only NAME]` tunes the whole network three times, alike but for what is mixed in:
nothing, samples of the former model's own, or items of the former data. Old skill: one picture of each of the 135
names that it knew, of equal seeds for all. New skill: pictures of the six names. A picture counts where its object is
among the five most similar of all 141. What is finished stays in FOLDER, so that a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import multigen
from benchmarks.__main__ import table
from benchmarks.erase import interval
from multigen import registry
from multigen.datasets import sprites
from multigen.evaluation.metrics.retrieval import Retrieval
from multigen.generation.request import Request
from multigen.model.model import Model
from multigen.registry import Part
from multigen.storage.files import write_json

BASE, TOP = "image_emoji", 5
NEW = ("guitar", "rocket", "umbrella", "cat face", "sunflower", "alarm clock")
DATA = f"data={{name: emoji, categories: null, recolour: false, held_out: 0, names: [{','.join(NEW)}]}}"
FORMER = "{name: emoji, categories: [Food & Drink], recolour: true, held_out: 0.1}"
ARMS = {
    "nothing": "train.replay=null",
    "own samples": "train.replay={share: 0.5, count: %d}",
    "former data": f"train.replay={{share: 0.5, data: {FORMER}}}",
}


def tuned(folder: Path, arm: str, steps: int, count: int) -> Model:
    """The model of a training in a folder, which goes on where it was stopped."""
    out = folder / arm.replace(" ", "_")
    replay = ARMS[arm] % count if "%d" in ARMS[arm] else ARMS[arm]
    settings = [
        f"steps={steps}", "minutes=null", "batch=8", "lr=4e-4", "warmup=10", "ema_decay=0.98",
        "held_out_every=0", "preview_every=0", "checkpoint_every=50", f"init={BASE}",
    ]  # fmt: skip
    overrides = ["weights=null", DATA, replay, *(f"train.{one}" for one in settings)]
    return multigen.train(BASE, *overrides, out=out, device="cpu")


def old_names() -> list[str]:
    """The names that the model knew."""
    return [one.name for one in sprites.all_emoji() if one.category == "Food & Drink"]


def skill(model: Model, metric: Retrieval, names: Sequence[str], n: int) -> list[bool]:
    """Whether each of `n` pictures of each name shows it; the seeds are the same for every model."""
    requests = [Request(name, seed=1000 * k + i) for k, name in enumerate(names) for i in range(n)]
    media = [medium.tensor for medium in model.stream(requests)]
    known = metric.catalogue.names
    ranks = metric.ranks(media, [known.index(name) for name in names for _ in range(n)])
    return [rank is not None and rank < TOP for rank in ranks]


def share_kept(before: Sequence[bool], after: Sequence[bool]) -> tuple[float, float, float]:
    """The skill after a training as a share of that before, and its 95% interval: pairs drawn again 10,000 times."""
    pairs = torch.tensor([before, after], dtype=torch.float64)
    drawn = torch.randint(len(before), (10_000, len(before)), generator=torch.Generator().manual_seed(0))
    one, other = pairs[:, drawn].sum(-1)
    low, high = (
        (other / one.clamp_min(1)).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    )
    return float(pairs[1].sum() / pairs[0].sum().clamp_min(1)), low, high


def measure(folder: Path, arms: Sequence[str], *, steps: int, count: int, n: int) -> list[dict[str, Any]]:
    """A row for the base and for each training."""
    base = multigen.load(BASE, device="cpu")
    old = old_names()
    part = Part("emoji", {"names": [*old, *NEW], "recolour": True})
    dataset = registry.build("dataset", part, given={"modality": base.modality})
    metric = Retrieval(modality=base.modality, dataset=dataset, top=TOP)
    found: dict[str, dict[str, list[bool]]] = {}
    for arm in ["before", *arms]:
        file = folder / f"{arm.replace(' ', '_')}.json"
        if not file.is_file():
            model = base if arm == "before" else tuned(folder, arm, steps, count)
            hits = {"old": skill(model, metric, old, 1), "new": skill(model, metric, NEW, n)}
            write_json(file, hits)
        found[arm] = json.loads(file.read_text("utf-8"))
    return [_row(arm, hits, found["before"]) for arm, hits in found.items()]


def _row(arm: str, hits: dict[str, list[bool]], before: dict[str, list[bool]]) -> dict[str, Any]:
    kept, low, high = share_kept(before["old"], hits["old"])
    first, last = interval(sum(hits["new"]), len(hits["new"]))
    return {
        "mixed in": arm,
        "old": f"{sum(hits['old'])}/{len(hits['old'])}",
        "of before": f"{kept:.2f} ({low:.2f} to {high:.2f})",
        "new": f"{sum(hits['new'])}/{len(hits['new'])}",
        "new, 95%": f"{first:.2f} to {last:.2f}",
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", choices=ARMS, action="append", help="this training (may be repeated)")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--count", type=int, default=120, help="samples of the former model's own")
    parser.add_argument("-n", type=int, default=6, help="pictures of each new name")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    arms = given.only or list(ARMS)
    print(table(measure(given.folder, arms, steps=given.steps, count=given.count, n=given.n)))
