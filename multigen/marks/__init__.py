"""A mark in the signal of pictures, sounds and videos: `embed` adds it, `detect` finds it with the same key.

>>> from multigen import marks
>>> marked = marks.embed(media[0].tensor, key=key, payload=7)
>>> marks.detect(marked, key=key).payload
7
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from multigen.errors import MultigenError
from multigen.marks import pixels, sounds
from multigen.marks.keys import checked
from multigen.marks.search import THRESHOLD, Found

Kind = Literal["image", "audio", "video"]
BITS = {**pixels.BITS, "audio": sounds.BITS}  # of the payload

__all__ = ["BITS", "THRESHOLD", "Found", "Kind", "carries", "detect", "embed", "kind_of"]


def embed(
    media: Tensor,
    *,
    key: bytes,
    payload: int = 0,
    strength: float | None = None,
    rate: int | None = None,
    keep: Tensor | None = None,
) -> Tensor:
    """Media with a mark.

    media     a picture [C, H, W], a sound [C, N] or a video [C, T, H, W], in [-1, 1]; alpha stays as it is
    key       secret, 16 bytes or more, at random: who has it can find the mark, and remove it
    payload   a number of as many bits as `BITS` says: 32 in a picture or sound, 16 in a video
    strength  how far the mark lies under full scale (pictures, videos; 40) or under the sound (36), in dB
    rate      of a sound, Hz
    keep      what stays exactly as it is, bool: [H, W], [N] or [T, H, W]

    MultigenError for media that are too small (under 32 px, under 1 s), for a key, payload or strength that is none.
    """
    kind = kind_of(media, rate)
    if not carries(media, rate):
        raise MultigenError(f"media: {_size(media, rate)} are too small for a mark. Allowed: {_LEAST[kind]}.")
    if not 0 <= payload < 2 ** BITS[kind]:
        raise MultigenError(f"payload: {payload} is not allowed. Allowed: 0 to {2 ** BITS[kind] - 1}.")
    strength = strength if strength is not None else sounds.STRENGTH if kind == "audio" else pixels.STRENGTH
    if not 10 <= strength <= 80:
        raise MultigenError(f"strength: {strength:g} dB is not allowed. Allowed: 10 to 80.")
    if rate is not None:
        return sounds.mark_samples(media, checked(key), rate, payload, strength, keep)
    return pixels.mark_pixels(media, checked(key), kind, payload, strength, keep)


def detect(media: Tensor, *, key: bytes, rate: int | None = None, cuts: bool = True) -> Found:
    """Whether media carry a mark of this key, how sure that is, and its payload. Arguments as for `embed`.

    cuts  where nothing is found in a picture as it is, look as if up to a sixth of its sides was cut: a second more.
          Of sounds any part is found anyway; cut frames of videos are not searched

    Of a video also a single frame may be asked for, as [C, 1, H, W]; a picture's marks are others than a video's.
    """
    kind = kind_of(media, rate)
    if not carries(media, rate):
        return Found()
    if rate is not None:
        return sounds.find_in_samples(media, checked(key), rate)
    return pixels.find_in_pixels(media, checked(key), kind, cuts and kind == "image")


def carries(media: Tensor, rate: int | None = None) -> bool:
    """Whether media are large enough for a mark."""
    if rate is not None:
        return media.shape[-1] >= sounds.LEAST * rate and rate >= sounds.LEAST_RATE
    return min(media.shape[-2:]) >= pixels.LEAST


def kind_of(media: Tensor, rate: int | None = None) -> Kind:
    """What media are, by their axes. MultigenError for others."""
    kinds: dict[int, Kind] = {2: "audio", 3: "image", 4: "video"}
    kind = kinds.get(media.ndim)
    if kind is None:
        raise MultigenError(
            f"media: {media.ndim} axes are not allowed. Allowed: [C, H, W], [C, N] with a rate, [C, T, H, W]."
        )
    if (kind == "audio") != (rate is not None):
        raise MultigenError("rate: it goes with sounds [C, N], and sounds need it, in Hz")
    return kind


_LEAST = {
    "image": f"{pixels.LEAST} px a side or more",
    "video": f"{pixels.LEAST} px a side or more",
    "audio": f"{sounds.LEAST:g} s or more, at {sounds.LEAST_RATE} Hz or more",
}


def _size(media: Tensor, rate: int | None) -> str:
    if rate is not None:
        return f"{media.shape[-1] / rate:.3g} s at {rate} Hz"
    return f"{media.shape[-1]} x {media.shape[-2]} pixels"
