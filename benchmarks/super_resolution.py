"""The last stage of a cascade of pictures beside Lanczos enlargement of the same small pictures.

`python -m benchmarks.super_resolution RUN` takes held-out pictures of the run's data, makes them smaller, and enlarges
them with the network and with Lanczos. With `--stages` the small pictures are those that the stages before make of the
held-out captions instead. The columns:

    kernel distance  from other pictures of the data, as they are (EfficientNet-Lite0 features; lower is better)
    edges            mean gradient between neighbouring pixels, as a share of the real pictures'
    psnr             dB, where the true picture is known
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image as PillowImage
from torch import Tensor

import multigen
from benchmarks.__main__ import table
from multigen import registry
from multigen.codecs.fidelity import psnr
from multigen.datasets import Dataset
from multigen.evaluation.distances import kernel
from multigen.modalities.media import Media
from multigen.modalities.raster import from_levels, to_levels
from multigen.model.build import build_dataset
from multigen.registry import Part

REFERENCE = 500  # real pictures that the others are compared with
BEST = 100.0  # dB: what equal pictures count as


def lanczos(small: Tensor, size: Sequence[int]) -> Tensor:
    """A picture [C, h, w] in [-1, 1] at a size [H, W]."""
    picture = PillowImage.fromarray(to_levels(small))
    grown = picture.resize((size[1], size[0]), PillowImage.Resampling.LANCZOS)
    return from_levels(np.asarray(grown))


def edges(pictures: Tensor) -> float:
    """The mean gradient of pictures [N, C, H, W] between neighbours."""
    return float(pictures.diff(dim=-1).abs().mean() + pictures.diff(dim=-2).abs().mean())


def features(model: multigen.Model, pictures: Tensor) -> Tensor:
    """Features [N, w] of pictures [N, C, H, W]."""
    given = {"modality": model.modality}
    feature = registry.build("feature", Part("efficientnet_lite0"), where="feature", given=given)
    return torch.cat([feature(part)[:, 0] for part in pictures.split(16)])


def spread(dataset: Dataset, indices: Sequence[int], n: int) -> list[Any]:
    """`n` items, evenly spread."""
    return [dataset[indices[k * len(indices) // n]] for k in range(min(n, len(indices)))]


def measure(model: multigen.Model, n: int, *, stages: bool = False) -> list[dict[str, Any]]:
    """A row for the network, one for Lanczos, and one for the real pictures."""
    assert model.cascade is not None, "the recipe has no cascade"
    dataset = build_dataset(model.recipe, model.modality)
    train, held_out = dataset.split()
    items = spread(dataset, held_out, n)
    true = torch.stack([item["media"] for item in items])
    other = features(model, torch.stack([item["media"] for item in spread(dataset, train, REFERENCE)]))
    small: list[Tensor]
    if stages:
        assert model.former is not None, "the recipe has no stages"
        prompts = [item.get("text") or "" for item in items]
        small = [medium.tensor for medium in model.former.generate(prompts, seed=0)]
    else:
        small = list(model.cascade.reduced(true))
    requests = [multigen.Request(edit=multigen.EditRequest(Media(one, model.modality))) for one in small]
    made = {
        "network": torch.stack([m.tensor for m in model.stream(requests, seed=0)]),
        "lanczos": torch.stack([lanczos(one, true.shape[-2:]) for one in small]),
        "real": true,
    }
    rows = []
    for name, pictures in made.items():
        found = kernel(other, features(model, pictures))
        row = {"pictures": name, "n": len(pictures), "kernel distance": round(found.value, 5)}
        row |= {"error": round(found.error, 5), "edges": round(edges(pictures) / edges(true), 3)}
        known = not stages and name != "real"
        near = round(float(psnr(pictures, true).clamp_max(BEST).mean()), 2) if known else math.nan
        rows.append(row | {"psnr": near})
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", help="a run folder, a weights file or a trained recipe with a cascade")
    parser.add_argument("-n", type=int, default=200, help="pictures that are enlarged")
    parser.add_argument("--stages", action="store_true", help="of small pictures that the stages before make")
    given = parser.parse_args()
    print(table(measure(multigen.load(given.run), given.n, stages=given.stages)))
