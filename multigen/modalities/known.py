"""The built-in modalities, as far as a request is checked before they are imported, and torch with them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multigen.errors import MultigenError, RecipeError, message
from multigen.modalities import Limits


@dataclass(frozen=True)
class Known:
    """What a modality takes and writes.

    writes    suffixes of the files that it can make, lower case with the dot
    sized     whether its media have a size in pixels
    timed     whether they have a duration
    restores  the operators for its media
    """

    writes: tuple[str, ...]
    sized: bool
    timed: bool
    restores: tuple[str, ...]


KNOWN: Mapping[str, Known] = {
    "image": Known((".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff"), True, False, ("blur", "downsample")),
    "audio": Known((".wav", ".flac", ".ogg", ".mp3", ".m4a", ".mp4", ".opus"), False, True, ("band_limit",)),
    "video": Known(
        (".mp4", ".mov", ".mkv", ".webm", ".gif", ".webp", ".png", ".apng"),
        True,
        True,
        ("blur", "downsample", "frames"),
    ),
    "notes": Known((".mid", ".midi", ".musicxml", ".wav", ".flac", ".ogg", ".mp3"), False, True, ()),
}


def check_suffix(modality: str, suffix: str | None) -> None:
    """RecipeError for a suffix that a built-in modality does not write."""
    known = KNOWN.get(modality)
    if known is not None and suffix is not None and suffix not in known.writes:
        raise RecipeError(message("sample.suffix", suffix, known.writes))


def check_extent(modality: str, *, size: object, duration: object) -> None:
    """MultigenError for a size or a duration of media that have none."""
    known = KNOWN.get(modality)
    if known is not None and size is not None and not known.sized:
        raise MultigenError(
            f"size: {size} is not allowed; {modality} has no size in pixels, give a duration in s"
        )
    if known is not None and duration is not None and not known.timed:
        raise MultigenError(
            f"duration: {duration} is not allowed; an {modality} has no duration, give a size"
        )


def check_operator(modality: str, operator: str) -> None:
    """MultigenError for a built-in operator that is for media of other kinds."""
    known = KNOWN.get(modality)
    if known is None or operator in known.restores:
        return
    if any(operator in other.restores for other in KNOWN.values()):
        raise MultigenError(f"restore: {operator} is not for {modality}; take {' or '.join(known.restores)}")


def check_header(modality: str, path: Path, settings: Mapping[str, Any]) -> None:
    """MediaError for a file that a built-in modality with these settings cannot open. Nothing is decoded."""
    names = {field.name for field in dataclasses.fields(Limits)}
    limits = Limits(**{name: value for name, value in settings.items() if name in names})
    if modality == "image":
        from multigen.modalities.image_header import open_image

        with open_image(path, limits):
            return
    if modality == "audio":
        from multigen.modalities.audio_header import audio_stream
        from multigen.modalities.container import open_container

        with open_container(path, limits) as container:
            audio_stream(container, path)
    if modality == "video":
        from multigen.modalities.frames import PICTURES
        from multigen.modalities.image_header import open_image
        from multigen.modalities.video_stream import stream_header

        if path.suffix.lower() not in PICTURES:
            stream_header(path, limits)
            return
        with open_image(path, limits):
            return
