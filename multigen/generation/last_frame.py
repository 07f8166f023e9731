"""The frame that a video ends with."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from multigen.errors import MultigenError
from multigen.generation.masks import Source
from multigen.generation.parts import ModelParts
from multigen.modalities import Modality
from multigen.modalities.guard import guarded
from multigen.modalities.image import Image
from multigen.modalities.video import Video


def ended(source: Source, own: Modality, last: Tensor | str | Path) -> Source:
    """A source whose last frame is a picture [C, H, W], brought to its size, and stays.

    MultigenError for media that have no frames to end with, and for a tensor that is no picture.
    """
    if not isinstance(own, Video):
        raise MultigenError(f"last: it goes with videos, not with the modality {own.name}")
    count = source.media.shape[1]
    if count < 2:
        raise MultigenError(
            "last: the video has one frame, and so no other to end with; extend it: extend 15f"
        )
    if isinstance(last, Tensor):
        if last.ndim != 3 or last.shape[0] not in (1, 3) or not bool(torch.isfinite(last).all()):
            raise MultigenError(
                f"last: shape {tuple(last.shape)} is not allowed; give a picture [C, H, W] of finite values"
            )
        picture = last
    else:
        picture = guarded(Path(last), Image().read, Path(last))
    media = source.media.clone()
    media[:, -1:] = own.fit(picture[:, None].to(media), (len(media), 1, *media.shape[2:]))
    keep = torch.zeros(media.shape[1:], dtype=torch.bool) if source.keep is None else source.keep.clone()
    keep[-1] = True
    if bool(keep.all()):
        raise MultigenError("last: everything of the video stays, so there is nothing to make; extend it")
    return Source(media, keep)


def check_last(parts: ModelParts, seen: Source, window: tuple[int, ...] | None) -> None:
    """MultigenError where a last frame alone would not lead the network, because a latent holds several frames."""
    codec, keep = parts.codec, seen.keep
    assert keep is not None
    lone = parts.denoiser.backbone.lone_frames and window is None
    if codec.mask_width > 1 or lone or bool(codec.latent_mask(keep)[-1].any()):
        return
    raise MultigenError(
        f"last: a latent of {parts.recipe.name} holds several frames, so that a last one alone would not lead it; keep "
        "more of a clip's end, with keep"
    )
