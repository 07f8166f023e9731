"""What a network is shown of a medium that is edited, beside the noisy sample: what of it is known, and pictures of it.

A network that makes videos of a picture is shown their first frame: what an edit keeps, or of a clip that is varied the
clip's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from multigen.codecs import Codec
from multigen.conditioners import Conditioner
from multigen.core.noise import normal
from multigen.errors import MultigenError
from multigen.generation.masks import Source
from multigen.generation.parts import ModelParts


@dataclass(frozen=True, eq=False)
class Shown:
    """Media [C, *D] of which `keep`, bool [*D], is known."""

    media: Tensor
    keep: Tensor
    codec: Codec
    conditioner: Conditioner
    device: torch.device

    def channels(self, seed: int) -> Tensor:
        """Mask and what is known in model space, [1, K + C', *D']; noise on it, where there is any, is keyed."""
        level = self.conditioner.known_noise
        if level == 0:
            return self._plain
        channels, *sides = self.media.shape
        noise = normal(
            (channels, *[1] * (len(sides) - 2), *sides[-2:]), seed, "known"
        )  # each frame's is the same
        return self._channels(self.media + level * noise)

    def channels_of(self, x0: Tensor) -> Tensor:
        """The same of media [1, C', *D'] in model space, without noise."""
        keep = self.keep[None].to(self.device)
        with torch.no_grad():
            known = self.codec.known_of(self.codec.decode(x0), keep, x0)
        return torch.cat([self.codec.shown_mask(self.keep)[None].to(known), known], 1)

    @cached_property
    def heard(self) -> Mapping[str, Tensor]:
        """What the network hears of the known part, `Cond.extra`: name -> [1, ...]."""
        with torch.no_grad():
            return self.conditioner.look(self.media.to(self.device), self.keep)

    @cached_property
    def _plain(self) -> Tensor:
        return self._channels(self.media)

    def _channels(self, media: Tensor) -> Tensor:
        with torch.no_grad():
            known = self.codec.known(media[None].to(self.device), self.keep)
        return torch.cat([self.codec.shown_mask(self.keep)[None].to(known), known], 1)


def shown_of(parts: ModelParts, seen: Source) -> Shown | None:
    """What the network is shown of a source; None where it takes nothing, or nothing is known.

    MultigenError where it begins with a picture and the first frame is not one that stays.
    """
    backbone, keep = parts.denoiser.backbone, seen.keep
    if backbone.begins and seen.media.shape[1] == 1:
        more = parts.modality.shape()[1] - 1
        raise MultigenError(
            f"extend: {parts.recipe.name} makes what follows a first frame; say how much: {more}f"
        )
    if keep is None and backbone.begins:
        keep = torch.zeros(seen.media.shape[1:], dtype=torch.bool)
        keep[0] = True
    if keep is None or not (parts.recipe.masked or backbone.sees_known):
        return None
    if backbone.begins and not bool(keep[0].all()):
        raise MultigenError(
            "keep: this model makes what follows a first frame, so that all of the first frame must stay"
        )
    return Shown(seen.media, keep, parts.codec, parts.conditioner, parts.device)


def check_beginning(parts: ModelParts, given: object | None, window: tuple[int, ...] | None) -> None:
    """MultigenError where a network that begins with a picture has none, or would make windows without one.

    given  what it is made from
    """
    if not parts.denoiser.backbone.begins:
        return
    name, frames = parts.recipe.name, parts.modality.shape()[1]
    if given is None:
        raise MultigenError(
            f"{name} makes videos of a picture, and there is none; give it: multigen edit MODEL --input PICTURE "
            f"--extend {frames - 1}f (in Python model.edit)"
        )
    if window is not None:
        raise MultigenError(
            f"{name} makes up to {frames} frames of its own size of a picture, not windows of a larger video; extend "
            "what it made to go on"
        )
