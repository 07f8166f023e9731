"""What `multigen verify` says of the mark in a file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from torch import Tensor

from multigen.errors import MediaError
from multigen.marks import Found, carries, detect
from multigen.marks.keys import find_key
from multigen.marks.media import rate_of
from multigen.marks.search import better, judged
from multigen.modalities import Limits
from multigen.modalities.audio import Audio
from multigen.modalities.guard import guarded
from multigen.modalities.image import Image
from multigen.modalities.video import Video

MOST = Limits()


@dataclass(frozen=True)
class MarkReport:
    """The mark of one file.

    state    found: there is one of this key; absent: there is none; no_key: no key was made or given here, so nobody
             looked; not_checked: nobody could look; small: the medium is too small for one
    text     for people
    p_value  how likely a file that this key never marked looks at least so marked; None: nobody looked
    payload  the number that the mark carries
    """

    state: Literal["found", "absent", "no_key", "not_checked", "small"]
    text: str
    p_value: float | None = None
    payload: int | None = None


def report(path: Path, key: bytes | None = None) -> MarkReport:
    """Look for the mark of a key in a file, by default the key at hand; none is made here.

    MediaError for a file that is no medium, or cannot be read.
    """
    key = key or find_key()
    return no_key() if key is None else seen(guarded(path, readings, path), key)


def no_key() -> MarkReport:
    """Where there is no key."""
    return MarkReport("no_key", "not looked for: there is no key of watermarks here")


def seen(media: Sequence[tuple[Tensor, int | None]], key: bytes) -> MarkReport:
    """Look for the mark of a key in the `readings` of a file."""
    if not any(carries(one, rate) for one, rate in media):
        return MarkReport("small", "none: too small for a watermark")
    best = Found()
    for cuts in (False, True):  # the search for cuts is slow
        for one, rate in media:
            found = detect(one, key=key, rate=rate, cuts=cuts)
            # Each way to read a file is one more chance to be wrong.
            best = better(best, replace(found, log_p=min(0.0, found.log_p + math.log(len(media)))))
        if best.found:
            break
    best = judged(best)
    if not best.found:
        return MarkReport("absent", f"no watermark of this key (p = {best.p_value:.2g})", best.p_value)
    text = f"watermark found (p = {best.p_value:.1g}, payload {best.payload})"
    return MarkReport("found", text, best.p_value, best.payload)


def readings(path: Path, limits: Limits = MOST) -> list[tuple[Tensor, int | None]]:
    """A file's media, with the rate of sounds: of what may be a picture or frames of a video, both readings.

    limits  beyond which nothing is decoded

    MediaError for a file that is no medium, cannot be read, or is over the limits.
    """
    return list(_readings(path, limits))


def _readings(path: Path, limits: Limits) -> Iterator[tuple[Tensor, int | None]]:
    suffix = path.suffix.lower()
    video = Video(
        max_bytes=limits.max_bytes, max_pixels=limits.max_pixels, max_seconds=limits.max_seconds,
        max_clip_pixels=limits.max_clip_pixels,
    )  # fmt: skip
    if suffix in Image.suffixes:
        own = Image(max_bytes=limits.max_bytes, max_pixels=limits.max_pixels).native(path)
        read = own.read(path)
        picture = own.convert(read, Image(channels=4 if len(read) == 4 else 3))
        yield picture, None
        yield picture[:, None], None
        if suffix in Video.suffixes:
            with suppress(MediaError):  # a still picture
                yield video.native(path).read(path), None
    elif suffix in Video.suffixes:
        yield video.native(path).read(path), None
    elif suffix in Audio.suffixes:
        sound = Audio(max_bytes=limits.max_bytes, max_seconds=limits.max_seconds).native(path)
        yield sound.read(path), rate_of(sound)
    else:
        raise MediaError(
            f"{path}: {suffix or 'a name without a suffix'} is no medium that carries a watermark"
        )
