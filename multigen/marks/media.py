"""Which media carry a mark when they are saved, and which never do."""

from __future__ import annotations

import logging
from typing import Literal, cast

from torch import Tensor

from multigen.marks import carries, embed
from multigen.marks.keys import own_key
from multigen.modalities import Modality
from multigen.modalities.audio import Audio
from multigen.modalities.image import Image
from multigen.modalities.media import Media

log = logging.getLogger(__name__)


def key_for(setting: Literal["auto", "on", "off"], *, public: bool = False) -> bytes | None:
    """The key that media are marked with, made where there is none; None where they are not.

    setting  the recipe's `watermark`; `auto`: where others than this machine's users get the media
    public   whether they do
    """
    return own_key() if setting == "on" or (setting == "auto" and public) else None


def marked(medium: Media, key: bytes | None) -> Media:
    """A medium with the mark of a key, but for what of it an edit kept. It is the same medium where it has no place.

    Pictures of 16 bits, media of other modalities and media that are too small stay as they are; the last is logged.
    """
    modality = medium.modality
    if key is None or modality.name not in ("image", "audio", "video"):
        return medium
    if isinstance(modality, Image) and modality.deep:
        return medium
    rate = rate_of(modality)
    if not carries(medium.tensor, rate):
        log.warning("too small for a watermark, so saved without: %s", modality.describe(medium.tensor.shape))
        return medium
    keep = None if medium.kept is None else _on_axes(medium.kept, medium.tensor)
    return medium.with_tensor(embed(medium.tensor, key=key, rate=rate, keep=keep))


def rate_of(modality: Modality) -> int | None:
    """Of sounds, Hz; None of others."""
    return cast(Audio, modality).rate if modality.name == "audio" else None


def _on_axes(kept: Tensor, media: Tensor) -> Tensor:
    """What is kept, bool, on all axes but the channels."""
    return kept.expand(media.shape[1:])
