"""Feature extractors (kind "feature"): media -> embeddings on which distances between sets are computed.

A figure means something only together with its extractor, so each extractor states its facts: name, width, what it
takes, how it normalises, its weights and their licence. Two sets are compared only if their facts agree.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Protocol

import torch
from torch import Tensor

from multigen.errors import MultigenError


@dataclass(frozen=True)
class Facts:
    """What a result must say about its extractor. Two extractors with equal facts give the same features."""

    name: str  # as in a recipe, with the arguments that change the features
    width: int
    takes: str  # the form that media are converted to first: "224x224 RGB", "16000 Hz mono"
    normalisation: str
    licence: str  # of the weights, or of the code if there are no weights
    weights: str = ""  # first 16 hex digits of the sha256 of the weights file; "" if there is none

    @property
    def id(self) -> str:
        """16 hex digits: a hash of all fields."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


class Feature(Protocol):
    """Built through the registry for one modality. The built-in ones are frozen `nn.Module`s.

    facts    what a result says about the extractor
    classes  how many classes `probabilities` tells apart; 0: the extractor does not classify

    Subclass the protocol to inherit the defaults.
    """

    facts: Facts
    classes: int = 0

    def __call__(self, media: Tensor) -> Tensor:
        """[B, C, *D] in [-1, 1] -> [B, K, width] float32 on the media's device; K embeddings per medium, 1 or more.

        Deterministic; a medium gives the same features alone and in a batch. MultigenError for media that the extractor
        does not take.
        """
        ...

    def probabilities(self, media: Tensor) -> Tensor:
        """[B, C, *D] in [-1, 1] -> [B, classes], each row summing to 1; the Inception Score is computed from them."""
        raise MultigenError(f"{self.facts.name}: this feature does not classify media.")

    def maps(self, media: Tensor) -> list[Tensor]:
        """[B, C, *D] in [-1, 1] -> features of several layers, [B, channels, *D'] each, for perceptual losses.

        Unlike the others it is differentiable: no rounding, no resizing.
        """
        raise MultigenError(f"{self.facts.name}: this feature has no maps that a loss could be computed of.")


def extract(
    feature: Feature, media: Iterable[Tensor], *, batch: int = 16, device: torch.device | str = "cpu"
) -> Tensor:
    """Features [n, K, width], on the CPU, of n media [C, *D], computed `batch` at a time on `device`.

    The media are read one after the other. MultigenError if there are none, if their shapes differ, or if a feature is
    not finite.
    """
    done: list[Tensor] = []
    waiting: list[Tensor] = []
    shape: tuple[int, ...] | None = None
    for one in media:
        shape = tuple(one.shape) if shape is None else shape
        if tuple(one.shape) != shape:
            raise MultigenError(
                f"media of shape {tuple(one.shape)} among media of shape {shape}: bring them to one shape first."
            )
        waiting.append(one)
        if len(waiting) == batch:
            done.append(_features(feature, waiting, device))
            waiting = []
    if waiting:
        done.append(_features(feature, waiting, device))
    if not done:
        raise MultigenError(f"{feature.facts.name}: there are no media to compute features of.")
    return torch.cat(done)


def _features(feature: Feature, media: list[Tensor], device: torch.device | str) -> Tensor:
    found = feature(torch.stack(media).to(device)).float().cpu()
    if not bool(torch.isfinite(found).all()):
        raise MultigenError(
            f"{feature.facts.name}: some features are not finite. Check that the media are finite."
        )
    return found
