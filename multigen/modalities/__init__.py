"""A modality is a kind of media: reading, writing, preview and natural sizes.

Media are tensors in [-1, 1], channels first, without a batch axis here:
image [C, H, W] · audio [C, N] samples · video [C, T, H, W]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from multigen.modalities.member import Member as Member
from multigen.modalities.member import Source as Source
from multigen.options import Option

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Limits:
    """What may be decoded; checked against the file's header before any decoding, and while decoding."""

    max_bytes: int = 2 * 1024**3
    max_pixels: int = 64_000_000
    max_seconds: float = 7200.0
    max_frames: int = 100_000
    max_clip_pixels: int = 300_000_000  # of all frames that are decoded together


@dataclass(frozen=True)
class Info:
    """What a file's header says; 0 where it does not apply. `duration` in s, `rate` in Hz, `fps` in frames/s."""

    duration: float = 0.0
    width: int = 0
    height: int = 0
    channels: int = 0
    rate: int = 0
    fps: float = 0.0
    frames: int = 0


class Modality(Protocol):
    """Built from the recipe with its natural size; every part that handles media of this kind is given it."""

    name: str
    suffixes: tuple[str, ...]  # of the files that `read` accepts, lower case with the dot
    writes: tuple[str, ...]  # suffixes of the files that `write` can make, lower case with the dot
    suffix: str  # of the files that `write` makes unless asked otherwise
    animation: str  # suffix of a small moving preview that `write` can make beside it; "" for none
    options: tuple[Option, ...] = ()  # what a request can say beside size and duration; see `finish`

    def shape(
        self, size: int | tuple[int, int] | None = None, duration: float | None = None
    ) -> tuple[int, ...]:
        """Media shape [C, *D] of the natural size, or of `size` (pixels: side or height, width) and `duration` (s).

        ValueError where one does not apply to this modality.
        """
        ...

    def info(self, path: Source) -> Info:
        """What the header says, without decoding. MediaError if the file is missing, unreadable or over a limit."""
        ...

    def read(self, path: Source, *, start: float = 0.0, duration: float | None = None) -> Tensor:
        """Media [C, *D] at this modality's channels and rate (Hz or fps), its own size otherwise.

        `start` and `duration` (s) choose a span of audio or video. A `Member` is a file inside a shard. MediaError
        names the file and the fault.
        """
        ...

    def fit(self, media: Tensor, shape: tuple[int, ...], rng: torch.Generator | None = None) -> Tensor:
        """Resize and crop (or pad with silence, or repeat the last frame) to `shape`.

        Crops at the centre (audio and frames: from the start), or at random with `rng`.
        """
        ...

    def write(self, media: Tensor, path: Path) -> None:
        """Write by suffix, atomically (temporary file, then rename). Never clips silently: warns and says how far.

        MediaError if the suffix is none of `writes`; OSError if the disk is at fault.
        """
        ...

    def preview(self, media: list[Tensor]) -> Image:
        """One picture of several: a grid, spectrograms, or a contact sheet."""
        ...

    def html(self, media: Tensor) -> str:
        """An HTML element that shows or plays it, everything embedded."""
        ...

    def finish(self, media: Tensor, options: Mapping[str, Any]) -> Tensor:
        """A generated medium [C, *D] as a request's `options` want it; they hold a value for each that is declared.

        What an edit keeps of its source is put back afterwards.
        """
        return media
