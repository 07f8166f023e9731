"""Captions of a training, drawn as training draws them, for what the weights say that they know."""

from __future__ import annotations

import torch

from multigen.conditioners import Conditioner
from multigen.conditioners.knowledge import MOST, Knowledge, summary
from multigen.core.noise import stream
from multigen.datasets import Dataset, caption_of
from multigen.errors import MediaError

_DRAWS = 2 * MOST


def caption_summary(
    conditioner: Conditioner, dataset: Dataset, seed: int, *, samples: int = _DRAWS, about: str = ""
) -> Knowledge | None:
    """Summarise captions of the training items; None where they have none, or the conditioner takes no text.

    samples  how many the training has drawn; at most 1,024 are taken
    """
    indices, _ = dataset.split()
    generator = stream(seed, "captions")
    captions = []
    for _ in range(min(samples, _DRAWS) if indices else 0):
        index = indices[int(torch.randint(len(indices), (), generator=generator))]
        try:
            captions.append(caption_of(dataset, index, generator))
        except MediaError:  # training names it
            continue
        if not captions[0]:
            return None
    return summary(conditioner, captions, about)
