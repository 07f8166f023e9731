"""What the families whose network is a flow transformer of videos have in common."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, ClassVar

from multigen.families.transformer import TransformerFamily
from multigen.registry import Part
from multigen.storage.diffusers_folder import temporal_factors


class VideoTransformer(TransformerFamily):
    """A transformer of the latents of a temporal VAE, which makes f k + 1 frames.

    size   height and width of the videos that it was trained on, pixels
    frames of those videos; rate: frames/s
    """

    modality = "video"
    size: ClassVar[tuple[int, int]]
    frames: ClassVar[int]
    rate: ClassVar[float]

    @functools.cached_property
    def factors(self) -> tuple[int, int]:
        """Frames, and pixels along each side, of a latent. Read once: networks are told at every call."""
        return temporal_factors(self.folder)

    @functools.cached_property
    def factor(self) -> int:
        """Pixels of a latent along each side."""
        return self.factors[1]

    def media(self) -> Mapping[str, Any]:
        """The videos that it was trained on."""
        return {"size": list(self.size), "frames": self.frames, "fps": self.rate}

    def codec(self, source: str) -> Part:
        """Its VAE, with sides of whole patches."""
        return Part("temporal_vae", {"path": source, "multiple": self.patch})
