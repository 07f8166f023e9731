"""Edits as a model sees them: the source in model space, and what of it is kept."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from multigen.codecs import Codec
from multigen.core.circles import OPEN, Closed
from multigen.errors import MultigenError, message
from multigen.generation.cascade import Enlarged, plan_enlargement
from multigen.generation.circles import asked_circles, closes_time, encode_circle, picture_sides
from multigen.generation.last_frame import check_last, ended
from multigen.generation.masks import Source, prepared
from multigen.generation.original import Original, in_time, rate_of, read_original, say_form
from multigen.generation.parts import ModelParts, check_prompt
from multigen.generation.picture_mask import picture_mask
from multigen.generation.request import CROP, FITS, MEANINGS, PAD, STRETCH, EditRequest, Request
from multigen.generation.restore import Known, plan_restoration
from multigen.generation.shown import Shown, shown_of
from multigen.generation.sizes import largest, window_of
from multigen.generation.spans import amounts, spans
from multigen.generation.view import View, grown_size, identity, middle, picture_view, time_view
from multigen.modalities import Limits, Modality
from multigen.modalities.pace import unit
from multigen.modalities.video import Video

log = logging.getLogger(__name__)

_PADDED = (4_000_000, 16)  # pixels, and times its own, beyond which a picture is not padded
_PIXELS = 2  # of what the model sees: the feather of a picture where none is asked for
_SECONDS = 0.05  # that of a sound


class Start(NamedTuple):
    """What a medium begins with: its shape [C, *D], its windows in model space, and what it is made from."""

    shape: tuple[int, ...]
    window: tuple[int, ...] | None = None
    edit: EditPlan | None = None
    known: Known | None = None
    enlarged: Enlarged | None = None


@dataclass(frozen=True, eq=False)
class EditPlan:
    """An edit begins with its source, as the model sees it.

    source    what the model sees, and what of it is kept
    original  the medium that it is a view of
    strength  share of the way back to noise
    resample  how often each step is taken
    invert    a prompt: start from the noise that leads to the source under it, in place of random noise
    shown     what a network that takes it is shown of the source; None: nothing
    closed    which of its ends meet, in model space
    purifying the times [n+1] of the walk that purifies the source before it conditions anything; None: it is seen as is
    """

    source: Source
    original: Original
    codec: Codec
    device: torch.device
    strength: float = 1.0
    resample: int = 1
    invert: str | None = None
    shown: Shown | None = None
    closed: Closed = OPEN
    purifying: Tensor | None = None

    @cached_property
    def x0(self) -> Tensor:
        """The source in model space, [1, C, *D]. Encoded when it is first asked for: a codec may be a network."""
        with torch.no_grad():
            media = self.source.media[None].to(self.device)
            return encode_circle(self.codec, media, self.closed) if self.closed else self.codec.encode(media)

    @cached_property
    def keep(self) -> Tensor | None:
        """What of x0 stays, bool [*D]."""
        return None if self.source.keep is None else self.codec.latent_mask(self.source.keep).to(self.device)


def plan_edit(parts: ModelParts, request: Request) -> Start:
    """Resolve the edit of a request. MultigenError for what does not fit the model, before any network call."""
    edit = request.edit
    assert edit is not None
    edit.check()
    if parts.cascade is not None and parts.cascade.replaces:
        grown = plan_enlargement(parts, edit)
        return Start(grown.shape, grown.window, enlarged=grown)
    if edit.restore is not None:
        made = plan_restoration(parts, request)
        return Start(made.shape, made.window, known=made)
    _check(parts, edit)
    source, own, before = _source(parts, edit)
    plain = own.convert(source.media, parts.modality).float()
    view, source = _view(parts, request, source, plain, before)
    if len(view.size) == 1 or view.length[-2:] != view.size[-2:]:
        say_form(_name(edit), own, parts.modality, tuple(source.media.shape), source.keep is not None)
    original = Original(source, own, plain, view, _feather(edit, own, source, view))
    seen = _seen(original)
    window = window_of(parts, (len(plain), *view.size), sliding=True)
    if edit.last is not None:
        check_last(parts, seen, window)
    if window is not None and not request.sliding_window:
        log.info(
            "%s: larger than the model makes in one piece; it is made in overlapping windows", _name(edit)
        )
    strength = edit.strength
    if strength is None:
        partly = (edit.mask, edit.keep, edit.extend, edit.last)
        strength = 0.6 if all(part is None for part in partly) else 1.0
    shown = shown_of(parts, seen)
    shape = tuple(seen.media.shape)
    closed = asked_circles(request, parts.codec, shape) if request.tile or request.loop else OPEN
    plan = EditPlan(
        seen, original, parts.codec, parts.device, strength, edit.resample, edit.invert, shown, closed
    )
    return Start(shape, window, plan)


def _check(parts: ModelParts, edit: EditRequest) -> None:
    """MultigenError for what is wrong whatever the medium, beyond `EditRequest.check`."""
    if not parts.modality.edited:
        raise MultigenError(
            f"{parts.recipe.name}: it makes media of the kind {parts.modality.name}, which are not edited; sample them"
        )
    for name, value, allowed in (("fit", edit.fit, FITS), ("mask_is", edit.mask_is, MEANINGS)):
        if value is not None and value not in allowed:
            raise MultigenError(message(name, value, allowed))
    if edit.mask_is is not None and edit.mask is None:
        raise MultigenError("mask_is: it goes with mask")
    if edit.invert is not None:
        check_prompt(parts, edit.invert)


def _source(parts: ModelParts, edit: EditRequest) -> tuple[Source, Modality, tuple[int, int]]:
    """The medium in its own form, grown, and what is kept of it; its last two axes before it grew."""
    media, own = read_original(parts, edit.media)
    extend = _extended(own, edit, media)
    if isinstance(own, Video) and len(extend) == 2 * (media.ndim - 1):
        own = own.with_sound_later(extend[-2] / own.fps)
        if edit.fit == CROP and any(
            extend[-2:]
        ):  # whole frames are new: all of them are of the model's shape
            media = middle(media, largest(parts)[-2:])
    keep = _kept(parts, own, edit, media)
    source = prepared(media, keep, extend)
    if edit.last is not None:
        source = ended(source, own, edit.last)
    return source, own, (media.shape[-2], media.shape[-1])


def _name(edit: EditRequest) -> str:
    return Path(edit.media).name if isinstance(edit.media, str | Path) else "the medium"


def _view(
    parts: ModelParts, request: Request, source: Source, plain: Tensor, before: tuple[int, int]
) -> tuple[View, Source]:
    """What of the medium the model sees; the source, whose parts that are not seen are kept.

    before  height and width before it grew
    """
    edit = request.edit
    assert edit is not None
    axes, keep = tuple(plain.shape[1:]), source.keep
    view, most = identity(axes), largest(parts)
    start, length, size = list(view.start), list(view.length), list(view.size)
    new = None if keep is None else in_time(keep, axes[0]) if len(axes) != 2 else keep
    if len(axes) != 2 and not closes_time(request, len(axes)):
        around = None if new is None else new.reshape(len(new), -1).all(1)
        start[0], length[0] = time_view(axes[0], most[0], around)
        size[0] = length[0]
    if len(axes) > 1 and not request.sliding_window and axes[-2:] != most[-2:]:
        flat = None if new is None else new if new.ndim == 2 else new.all(0)
        sides, model = (axes[-2], axes[-1]), (most[-2], most[-1])
        if edit.fit != CROP:
            model = grown_size(sides, before, model)
        fit = edit.fit or (STRETCH if request.tile else PAD)  # a tile has nothing around it
        start[-2:], length[-2:] = picture_view(sides, model, fit, flat)
        size[-2:] = model
        _check_padded(sides, math.prod(length[-2:]))
    shape = parts.codec.whole((len(plain), *size))
    closed = picture_sides(request, len(axes))
    view = View(tuple(start), tuple(length), tuple(size), shape[1:], closed)
    if edit.fit != CROP or len(axes) == 1:
        return view, source
    shown = view.inside(axes)
    if keep is None:
        hidden = ~shown if len(axes) == 2 else (~shown).any(0).expand(source.media.shape[1:])
        return view, Source(source.media, hidden if bool(hidden.any()) else None)
    if new is not None and not bool((new | shown).all()):
        raise MultigenError("fit crop: what is made anew is larger than the crop; take fit pad")
    return view, source


def _check_padded(sides: tuple[int, int], pixels: int) -> None:
    """MultigenError for a picture so long and narrow that its padding would take the memory of a hundred others."""
    if (pixels > _PADDED[0] and pixels > _PADDED[1] * math.prod(sides)) or pixels > Limits.max_pixels:
        raise MultigenError(
            f"the medium: {sides[1]} x {sides[0]} pixels are too far from the model's shape to be padded to it; "
            "take fit crop or stretch"
        )


def _seen(original: Original) -> Source:
    """What the model sees of a medium, and what of that is kept; None where nothing is."""
    view, keep = original.view, original.source.keep
    media = view.seen(original.plain)
    if keep is None:
        return Source(media)
    kept = view.kept(keep if keep.ndim == 2 else in_time(keep, original.plain.shape[1]))
    return Source(media, kept if bool(kept.any()) else None)


def _kept(parts: ModelParts, own: Modality, edit: EditRequest, medium: Tensor) -> Tensor | None:
    """What mask and spans keep of the medium, bool; None: nothing is said."""
    axes = medium.ndim - 1
    keep = None
    if edit.mask is not None:
        shown = medium if axes == 1 else own.convert(medium, parts.modality)
        keep = picture_mask(Path(edit.mask), shown, edit.mask_is)
        keep = keep if axes == 2 else keep[:1].expand(medium.shape[1:])
    if edit.keep is None:
        return keep
    if isinstance(edit.keep, str):
        if axes == 2:
            raise MultigenError("keep: a picture has no time; give a mask, a picture")
        stays = own.kept(medium, edit.keep)
        if stays is None:
            stays = spans(edit.keep, medium.shape[1], rate_of(own), unit(own))
            stays = stays.view(-1, *[1] * (axes - 1)).expand(medium.shape[1:])
    else:
        stays = edit.keep
    return stays if keep is None else keep | stays


def _extended(own: Modality, edit: EditRequest, medium: Tensor) -> Sequence[int]:
    """How much is added before and after each axis, from the last one on."""
    if edit.extend is None:
        return ()
    if isinstance(edit.extend, str | int):
        return amounts(str(edit.extend), medium.ndim - 1, rate_of(own))
    return edit.extend


def _feather(edit: EditRequest, own: Modality, source: Source, view: View) -> int:
    """In samples, pixels or frames of the medium's own."""
    axes = source.media.ndim - 1
    most = max(source.media.shape[1:])
    if edit.feather is None:
        usual = {1: round(_SECONDS * rate_of(own)), 2: round(_PIXELS * max(view.scale, 1.0))}
        return min(usual.get(axes, 0), most)
    rate = rate_of(own) if axes == 1 else 1.0
    feather = round(edit.feather * rate)
    if not 0 <= feather <= most:
        raise MultigenError(
            f"feather: {edit.feather:.6g} is not allowed; the medium has room for 0 to {most / rate:.6g}"
        )
    return feather
