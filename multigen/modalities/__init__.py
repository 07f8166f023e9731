"""Modalities: kinds of media, how their files are read and written, how they are shown, and their natural sizes.

A medium is a tensor in [-1, 1], channels first, without a batch axis:

    image  [C, H, W]       C is 1 (grey), 3 (RGB) or 4 (RGBA)
    audio  [C, N]          N samples
    video  [C, T, H, W]    T frames
    notes  [1, T, P+1, 128]  T steps of P parts, with 1, 0 or -1 for each pitch: `multigen.modalities.roll`

All modalities of a recipe follow one protocol, `Modality`. This module does not import torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from multigen.modalities.member import Member as Member
from multigen.modalities.member import Source as Source
from multigen.options import Option

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image
    from torch import Tensor

TIME, HEIGHT, WIDTH = "time", "height", "width"  # names of axes


@dataclass(frozen=True)
class Limits:
    """What may be decoded. The file's header is checked before anything is decoded, and what is decoded, too.

    max_bytes        of the file
    max_pixels       of one picture or frame
    max_seconds      of audio or video
    max_frames       of a video
    max_clip_pixels  of all frames that are decoded together
    """

    max_bytes: int = 2 * 1024**3
    max_pixels: int = 64_000_000
    max_seconds: float = 7200.0
    max_frames: int = 100_000
    max_clip_pixels: int = 300_000_000


@dataclass(frozen=True)
class Info:
    """What a file's header says; 0 where it does not apply.

    duration       s
    width, height  pixels
    channels       of audio or pixels
    rate           Hz
    fps            frames/s
    frames         number of frames
    """

    duration: float = 0.0
    width: int = 0
    height: int = 0
    channels: int = 0
    rate: int = 0
    fps: float = 0.0
    frames: int = 0


class Other(Protocol):
    """A medium [C, *D] in [-1, 1], of which its modality is known (`multigen.modalities.media.Media`)."""

    @property
    def tensor(self) -> Tensor:
        """Its values."""
        ...

    @property
    def modality(self) -> Modality:
        """What reads and writes it."""
        ...


class Modality(Protocol):
    """A kind of media, built from the recipe with its natural size and given to every part that handles media.

    name       of the modality
    suffixes   of the files that `read` accepts, lower case with the dot
    writes     suffixes of the files that `write` can make, lower case with the dot
    suffix     of the files that `write` makes by default
    animation  suffix of a small moving preview that `write` can make; "" for none
    options    what a request can say beside size and duration; see `finish`
    edited     whether its media can be edited
    axes       what the axes *D of its media mean: TIME, HEIGHT, WIDTH; empty where they are something else
    time_unit  in which a duration is said
    """

    name: str
    suffixes: tuple[str, ...]
    writes: tuple[str, ...]
    suffix: str
    animation: str
    options: tuple[Option, ...] = ()
    edited: bool = True
    axes: tuple[str, ...] = ()
    time_unit: str = "seconds"

    def shape(
        self, size: int | tuple[int, int] | None = None, duration: float | None = None
    ) -> tuple[int, ...]:
        """Return the shape [C, *D] of the natural size, or of a size and a duration (s).

        A size is a side or (height, width), in pixels. Raises ValueError for one that the modality does not have.
        """
        ...

    def info(self, path: Source) -> Info:
        """Read the header, without decoding. MediaError if the file is missing, unreadable or over a limit."""
        ...

    def read(self, path: Source, *, start: float = 0.0, duration: float | None = None) -> Tensor:
        """Read a medium [C, *D] at this modality's channels and rate (Hz or fps), in the file's own size.

        `start` and `duration` (s) select a span of audio or video. A `Member` is a file inside a shard. MediaError
        names the file and the fault.
        """
        ...

    def fit(self, media: Tensor, shape: tuple[int, ...], rng: torch.Generator | None = None) -> Tensor:
        """Resize and crop a medium [C, *D] to `shape`; short media get silence, or repeat the last frame.

        The crop is central (for samples and frames: from the start), or random with `rng`.
        """
        ...

    def write(self, media: Tensor, path: Path) -> None:
        """Write a file in the format of its suffix, atomically (temporary file, then rename). Warn of clipped values.

        MediaError for a suffix that is not in `writes`; OSError for faults of the disk.
        """
        ...

    def preview(self, media: list[Tensor]) -> Image:
        """Draw several media as one picture: a grid, spectrograms, or a contact sheet."""
        ...

    def heat(self, media: Tensor, levels: Tensor) -> Image:
        """Draw a medium [C, *D] in grey, with heat in [0, 1] over it: levels [T, H, W], stretched over the medium.

        By default heat along the last axis, W, the time of sounds and notes, over the preview.
        """
        from multigen.modalities.heat import laid_over

        return laid_over(self.preview([media]), [levels.flatten(0, 1).mean(0, keepdim=True)])

    def html(self, media: Tensor) -> str:
        """Return an HTML element that shows or plays a medium, with everything embedded."""
        ...

    def native(self, source: Source | Tensor) -> Modality:
        """Return this modality at the channels, size and rate of a file, or of a medium [C, *D].

        It reads the file as it is, and what it writes keeps the file's depth, colour profile and sound, as far as the
        suffix allows. MediaError if the file is missing, unreadable or over a limit.
        """
        return self

    def convert(self, media: Tensor, to: Modality) -> Tensor:
        """Return media of this modality with the channels, colours and rate (Hz, fps) of another of its kind.

        Pictures keep their size in pixels.
        """
        return media

    def kept(self, media: Tensor, words: str) -> Tensor | None:
        """What an edit keeps of a medium [C, *D] in words of this modality, such as "bars 1-2": bool [*D].

        None: it has no words of its own, or these are spans of time. MultigenError for what the medium does not have.
        """
        return None

    def describe(self, shape: Sequence[int]) -> str:
        """Say what a shape [C, *D] means in units: pixels, s, Hz, frames/s."""
        return " x ".join(map(str, shape))

    def facts(self, media: Tensor) -> dict[str, str]:
        """What a report says of a medium [C, *D], by name: {"loudness": "-16.0 LUFS"}."""
        return {}

    def check_options(self, options: Mapping[str, Any]) -> None:
        """MultigenError for values of `options` with which no medium could be finished, before one is made."""

    def finish(self, media: Tensor, options: Mapping[str, Any]) -> Tensor:
        """Apply a request's `options`, which hold a value for each declared option, to a generated medium [C, *D].

        What an edit keeps of its source is put back afterwards.
        """
        return media

    def check_writes(self, suffix: str) -> None:
        """MediaError where a file of a suffix cannot hold what `together` said, before there is any medium."""

    def together(self, other: Source | Other) -> Modality:
        """Return this modality, whose files also hold what a medium was made for: a video its sound, a sound its video.

        other  a file, or the medium; what does not go into one file with media of this modality is left out
        """
        return self
