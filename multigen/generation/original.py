"""The medium of an edit at its own channels, size and rate, and how what a model makes goes back into it.

A model sees the medium at its own channels, rate and size. What is kept of the medium never passes through the model:
it comes back as its file has it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from multigen.errors import MultigenError
from multigen.generation.masks import Source, spliced
from multigen.generation.parts import ModelParts
from multigen.generation.sound_level import levelled, panned
from multigen.generation.view import View
from multigen.modalities import Modality
from multigen.modalities.audio import Audio
from multigen.modalities.guard import guarded
from multigen.modalities.media import Media
from multigen.modalities.pace import per_second
from multigen.modalities.video import Video

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Original:
    """A medium, grown by what is added, and what of it is kept, both in its own form.

    source    media [C, *D] and what is kept of them
    modality  writes them as the file holds them
    plain     the media in the model's channels, colours and rate, [C', *D']
    view      what of `plain` the model sees
    feather   samples, frames or pixels in which what is kept fades into what is made
    """

    source: Source
    modality: Modality
    plain: Tensor
    view: View
    feather: int = 0

    def with_made(self, made: Tensor, model: Modality) -> Tensor:
        """The medium [C, *D] with what a model of this modality made of its view, [C', *whole]."""
        whole = self.view.put(made, self.plain)
        new = in_form(whole, model, self.modality, self.source)
        if isinstance(self.modality, Audio):
            new = levelled(new, self.source, rate_of(self.modality))
        return spliced(new, self.source, self.feather)


def read_original(parts: ModelParts, media: Media | Tensor | str | Path) -> tuple[Tensor, Modality]:
    """A medium [C, *D] in its own form, and the modality that writes it so. MediaError names a file's fault."""
    if isinstance(media, str | Path):
        path = Path(media)
        modality, tensor = guarded(path, read_own, parts.modality, path)
    elif isinstance(media, Media):
        tensor, modality = media.tensor, media.modality
    else:
        tensor, modality = media, parts.modality
    if not bool(torch.isfinite(tensor).all()):
        raise MultigenError("the medium: some values are not finite (NaN or infinity)")
    natural = parts.modality.shape()
    if tensor.ndim != len(natural) or modality.name != parts.modality.name:
        raise MultigenError(
            f"the medium: shape {tuple(tensor.shape)} is not allowed; {parts.modality.name} has {len(natural)} axes"
        )
    if not isinstance(media, str | Path | Media):
        modality = parts.modality.native(tensor)
    channels = modality.shape()[0]
    if tensor.shape[0] != channels:
        tensor = modality.fit(tensor, (channels, *tensor.shape[1:]))
    return (tensor if tensor.dtype == torch.float64 else tensor.float()), modality


def read_own(modality: Modality, path: Path) -> tuple[Modality, Tensor]:
    """The modality of a file's own form, and the medium in it. MediaError names the file's fault."""
    own = modality.native(path)
    return own, own.read(path)


def in_form(made: Tensor, model: Modality, own: Modality, source: Source) -> Tensor:
    """What was made [C', *D'], of a model's modality, in the channels, rate and length of a source [C, *D].

    Where the source has more channels of sound, it takes their balance over. Without a mask a picture keeps its alpha.
    """
    old = source.media
    new = model.convert(made, own)
    lack = old.shape[1] - new.shape[1]
    if lack and new.ndim == 2:
        new = F.pad(new, (0, lack))
    elif lack:
        new = new[:, torch.arange(old.shape[1]).clamp(max=new.shape[1] - 1)]
    if new.ndim == 2 and len(made) < len(new):
        new = panned(new, source, rate_of(own))
    if len(old) == 4 and len(made) < 4 and new.ndim == 3 and source.keep is None:
        new = torch.cat([new[:3], old[3:]])
    return new


def rate_of(modality: Modality) -> float:
    """Samples or frames a second; 1 for pictures."""
    return per_second(modality) or 1.0


def in_time(keep: Tensor, count: int) -> Tensor:
    """Keep, bool [N, ...], at another rate: [count, ...], True where all that belongs to a place is kept."""
    n = len(keep)
    if n == count:
        return keep
    if keep.ndim == 1:
        return F.adaptive_max_pool1d((~keep).float()[None, None], count)[0, 0] == 0
    spans = [(k * n // count, max(-(-(k + 1) * n // count), k * n // count + 1)) for k in range(count)]
    return torch.stack([keep[a:b].all(0) for a, b in spans])


def form_of(modality: Modality, shape: tuple[int, ...]) -> str:
    """A medium's rate, channels and size in words: `48000 Hz, 2 channels`, `512 x 384 pixels at 30 frames/s`."""
    channels, *sides = shape
    if len(sides) == 1:
        return f"{rate_of(modality):g} Hz, {channels} channel{'s' if channels > 1 else ''}"
    pixels = f"{sides[-1]} x {sides[-2]} pixels"
    return f"{pixels} at {rate_of(modality):.4g} frames/s" if isinstance(modality, Video) else pixels


def say_form(name: str, own: Modality, model: Modality, shape: tuple[int, ...], kept: bool) -> None:
    """Say that a medium has another form than the model's, and what comes of it."""
    natural = model.shape()
    seen = (natural[0], *shape[1:-2], *natural[-2:]) if len(shape) > 2 else natural
    theirs, ours = form_of(own, shape), form_of(model, seen)
    if theirs == ours:
        return
    how = "resampled" if len(shape) == 2 else "brought to that size"
    if len(shape) == 2 and shape[0] > natural[0]:
        how += " and panned as its surroundings"
    stays = "what is kept stays as it is; " if kept else ""
    log.info("%s: %s; the model makes %s: %swhat is new is %s", name, theirs, ours, stays, how)
