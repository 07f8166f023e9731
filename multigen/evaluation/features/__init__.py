"""Feature extractors (kind "feature"): media -> embeddings that distances between sets are computed on.

A figure means something only beside its extractor, so each one states its facts: name, width, what it takes, how it
normalises, its weights and their licence. Two sets are compared only where these agree.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from multigen.errors import MultigenError


@dataclass(frozen=True)
class Facts:
    """What a result must say of its extractor. Two extractors of equal facts give the same features."""

    name: str  # as in a recipe, with the arguments that change the features
    width: int
    takes: str  # what media become before anything else: "224x224 RGB", "16000 Hz mono"
    normalisation: str
    licence: str  # of the weights; of the code where there are none
    weights: str = ""  # the first 16 hex digits of the sha256 of their file; "" where there are none

    @property
    def id(self) -> str:
        """16 hex digits: a hash of everything above."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


class Feature(Protocol):
    """Built through the registry for one modality. Each built-in one is an `nn.Module` that never trains."""

    facts: Facts

    def __call__(self, media: Tensor) -> Tensor:
        """[B, C, *D] in [-1, 1] -> [B, K, width] float32 on the media's device; K embeddings a medium, 1 or more.

        Deterministic, and the same for a medium alone as in a batch. MultigenError for media that it does not take.
        """
        ...


@runtime_checkable
class Classifier(Feature, Protocol):
    """A feature extractor that also tells classes apart: the Inception Score takes its probabilities."""

    def probabilities(self, media: Tensor) -> Tensor:
        """[B, C, *D] in [-1, 1] -> [B, classes], each row summing to 1."""
        ...


def extract(
    feature: Feature, media: Iterable[Tensor], *, batch: int = 16, device: torch.device | str = "cpu"
) -> Tensor:
    """Features [n, K, width] on the CPU of n media [C, *D], read one after the other, `batch` at a time on `device`.

    MultigenError if there are none, if their shapes differ, or if a feature is not finite.
    """
    done: list[Tensor] = []
    waiting: list[Tensor] = []
    shape: tuple[int, ...] | None = None
    for one in media:
        shape = tuple(one.shape) if shape is None else shape
        if tuple(one.shape) != shape:
            raise MultigenError(
                f"media of shape {tuple(one.shape)} among media of shape {shape}: fit them first."
            )
        waiting.append(one)
        if len(waiting) == batch:
            done.append(_features(feature, waiting, device))
            waiting = []
    if waiting:
        done.append(_features(feature, waiting, device))
    if not done:
        raise MultigenError(f"{feature.facts.name}: there are no media to take features of.")
    return torch.cat(done)


def _features(feature: Feature, media: list[Tensor], device: torch.device | str) -> Tensor:
    found = feature(torch.stack(media).to(device)).float().cpu()
    if not bool(torch.isfinite(found).all()):
        raise MultigenError(f"{feature.facts.name}: some features are not finite. Are the media?")
    return found
