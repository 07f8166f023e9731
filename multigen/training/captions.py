"""Captions of a training, drawn as training draws them, for what the weights say that they know."""

from __future__ import annotations

import torch

from multigen.conditioners import Conditioner
from multigen.conditioners.knowledge import MOST, Knowledge, summary
from multigen.core.noise import stream
from multigen.datasets import Dataset
from multigen.datasets.fewer import Fewer
from multigen.datasets.media_files import Files
from multigen.datasets.replayed import Replayed
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
            captions.append(_caption(dataset, index, generator))
        except MediaError:  # training names it
            continue
        if not captions[0]:
            return None
    return summary(conditioner, captions, about)


def _caption(dataset: Dataset, index: int, generator: torch.Generator) -> str:
    while not isinstance(dataset, Files):
        if isinstance(dataset, Replayed):
            dataset, index = dataset.at(index)
        elif isinstance(dataset, Fewer):
            dataset = dataset.whole
        else:
            break
    if isinstance(dataset, Files):  # their media need not be opened
        return dataset.caption(index, generator)
    return dataset.draw(index, generator).get("text", "")
