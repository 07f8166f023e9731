"""Reconstructions: real media beside their copies through a codec, for recipes that train a codec."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from multigen.datasets import Dataset
from multigen.errors import MediaError
from multigen.modalities.media import Media
from multigen.model.model import Model


def copies(model: Model, dataset: Dataset, n: int, seed: int) -> Iterator[Media]:
    """Up to `n` held-out media (training media, if none are held out), each followed by its copy.

    A copy is encoded and decoded; that of medium k has the seed `seed + k`. The prompts end in "original" and "copy".
    """
    train, held_out = dataset.split()
    indices = list(held_out) or list(train)
    for k, index in enumerate(indices[:: max(len(indices) // n, 1)][:n]):
        try:
            item = dataset[index]
        except MediaError:  # named by the dataset or in training
            continue
        name = item.get("text") or item["id"]
        media = item["media"][None].to(model.device)
        with torch.no_grad():
            copy = model.codec.decode(model.codec.encode(media), seed=seed + k)[0].float().cpu()
        yield Media(item["media"], model.modality, f"{name}, original", seed + k)
        yield Media(copy.clamp(-1, 1), model.modality, f"{name}, copy", seed + k)
