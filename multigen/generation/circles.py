"""Tiles and loops: media whose ends meet, and what of that the network, the windows and the codec do."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from torch import Tensor

from multigen.codecs import Codec
from multigen.core.backbone import Backbone
from multigen.core.circles import OPEN, Closed, extend
from multigen.errors import MultigenError, message
from multigen.generation.request import GLOBE, TILES, Request

log = logging.getLogger(__name__)

_BEYOND = 16  # places in model space that a codec sees beyond the ends of a circle
_FADE = 1024  # samples in which a shortened sound fades into its own end
_SIDES = {"x": (-1,), "y": (-2,), "xy": (-1, -2), GLOBE: (-1,)}


@dataclass(frozen=True)
class Circles:
    """How a medium goes on beyond its ends, in model space.

    whole    all of that
    network  what the network's convolutions do: they see what lies beyond
    windows  axes along which windows go round, where it cannot: it is cut into windows there, or its network knows
             places
    poles    windows go on beyond the poles of a globe
    """

    whole: Closed = OPEN
    network: Closed = OPEN
    windows: tuple[int, ...] = ()
    poles: bool = False

    def __bool__(self) -> bool:
        return bool(self.whole)


def check_circles(request: Request, axes: int) -> None:
    """MultigenError for a tile or a loop of media of so many axes that have no such ends, or with a restoration."""
    tile, loop = request.tile, request.loop
    if tile not in (None, False, True, *TILES):
        raise MultigenError(message("tile", tile, TILES))
    if axes == 1 and isinstance(tile, str):
        raise MultigenError(f"tile: {tile} is for pictures and videos; loop closes a sound")
    if axes == 2 and loop:
        raise MultigenError("loop: a picture has no time; tile closes its sides")
    for name, given in (("tile", tile), ("loop", loop)):
        if given and request.edit is not None and request.edit.restore is not None:
            raise MultigenError(f"{name}: it does not go with restore")


def asked_circles(request: Request, codec: Codec, media: tuple[int, ...]) -> Closed:
    """What a request closes of media [C, *D], which the codec takes as they are."""
    axes = len(media) - 1
    check_circles(request, axes)
    closed = picture_sides(request, axes)
    if not closes_time(request, axes):
        return closed
    check_time(codec, media)
    return closed._replace(axes=(*closed.axes, 1 - len(codec.shape(media))))


def check_time(codec: Codec, media: tuple[int, ...]) -> None:
    """MultigenError where twice as long media [C, *D] are not twice as long in model space: none of these is a circle.

    The VAEs of videos that are causal in time are so: their first latent holds one frame, each other f.
    """
    made = codec.whole(media)
    twice = (made[0], 2 * made[1], *made[2:])
    if codec.whole(twice) != twice or codec.shape(twice)[1] != 2 * codec.shape(made)[1]:
        raise MultigenError(
            "loop: the codec of this model holds the first frame in a latent of its own, so that no other place is "
            "like the beginning. Leave loop away"
        )


def closes_time(request: Request, axes: int) -> bool:
    """Whether the time of media of so many axes is closed."""
    return request.loop or bool(request.tile and axes == 1)


def picture_sides(request: Request, axes: int) -> Closed:
    """What a request closes of the pixels of media of so many axes."""
    tile = "xy" if request.tile is True else request.tile
    return (
        Closed(_SIDES[tile], tile == GLOBE) if isinstance(tile, str) and tile in TILES and axes > 1 else OPEN
    )


def circles_of(
    backbone: Backbone, asked: Closed, shape: tuple[int, ...], window: tuple[int, ...] | None
) -> Circles:
    """Who closes what, for samples [C, *D] that are made in windows [*d], or whole.

    Of a globe whose network cannot see beyond its poles windows do. MultigenError for one of an odd width.
    """
    sizes = shape[1:] if window is None else window
    able = tuple(
        axis
        for axis in range(-len(sizes), 0)
        if axis in backbone.closes
        and sizes[axis] >= shape[axis]
        and shape[axis] % backbone.circle_multiple(axis) == 0
    )
    if asked.poles:
        if shape[-1] % 2:
            raise MultigenError(
                f"tile: globe is not allowed here: {shape[-1]} places of the model make its width, and half a turn "
                "would end within one. Allowed: x, or a width of an even number"
            )
        if -1 not in able or -2 not in able or shape[-1] % (2 * backbone.circle_multiple(-1)):
            network = tuple(axis for axis in asked.axes if axis in able and axis < -2)
            windows = tuple(axis for axis in asked.axes if axis not in network)
            return Circles(asked, Closed(network), windows, poles=True)
    network = tuple(axis for axis in asked.axes if axis in able)
    windows = tuple(axis for axis in asked.axes if axis not in able)
    return Circles(asked, Closed(network, asked.poles), windows)


def whole_circle(codec: Codec, backbone: Backbone, media: tuple[int, ...]) -> tuple[int, ...]:
    """Media [C, *D] of so many samples or frames, or a little more, that the end can meet the beginning.

    Sides of pictures stay: who asks for one counts on it.
    """
    if len(media) == 3:
        return media
    check_time(codec, media)
    made = (media[0], codec.whole(media)[1], *media[2:])
    shape = codec.shape(made)
    axis = 1 - len(shape)
    count = -(-shape[1] // (many := backbone.circle_multiple(axis))) * many
    if axis in backbone.closes and count != shape[1]:
        made = (made[0], made[1] // shape[1] * count, *made[2:])
    if made != media:
        log.info(
            "loop: %d in place of %d along time, so that whole steps of the model close it", made[1], media[1]
        )
    return made


def decode_circle(codec: Codec, x: Tensor, closed: Closed, seed: int) -> Tensor:
    """A sample [C, *D] as media whose ends meet: the codec sees what lies beyond."""
    more = _beyond(closed, tuple(x.shape[1:]))
    media = codec.decode(extend(x, _pad(more), closed)[None], seed=seed)[0]
    first, end = [], []
    for n, m, size in zip(x.shape[1:], more, media.shape[1:], strict=True):
        each = size // (n + 2 * m)
        first.append(m * each)
        end.append((m + n) * each if m else size)
    out = media[(slice(None), *(slice(a, b) for a, b in zip(first, end, strict=True)))].clone()
    if media.ndim == 2:  # a vocoder may give the beginning another phase after the end than at its own place
        each = out.shape[-1] // x.shape[-1]
        share = torch.linspace(0, 1, each, device=media.device, dtype=media.dtype)
        out[..., :each] = torch.lerp(media[..., end[0] : end[0] + each], out[..., :each], share)
    return out


def shorter_circle(sound: Tensor, length: int) -> Tensor:
    """A sound [C, N] whose end meets its beginning, at `length` samples: a little of its end is faded over."""
    fade = min(_FADE, length)
    out = sound[:, :length].clone()
    share = torch.linspace(0, 1, fade, dtype=out.dtype, device=out.device)
    out[:, length - fade :] = torch.lerp(out[:, length - fade :], sound[:, sound.shape[1] - fade :], share)
    return out


def encode_circle(codec: Codec, media: Tensor, closed: Closed) -> Tensor:
    """Media [B, C, *D] whose ends meet, as samples [B, C', *D'] whose ends meet."""
    shape = codec.shape(tuple(media.shape[1:]))
    more = _beyond(closed, shape[1:])
    each = [side // n for side, n in zip(media.shape[2:], shape[1:], strict=True)]
    pad = _pad([m * step for m, step in zip(more, each, strict=True)])
    x = codec.encode(extend(media, pad, closed))
    return x[(slice(None), slice(None), *(slice(m, m + n) for m, n in zip(more, shape[1:], strict=True)))]


def _beyond(closed: Closed, sides: tuple[int, ...]) -> list[int]:
    """Places that a codec sees beyond both ends of each axis."""
    return [min(_BEYOND, n) if closed.goes_on(k - len(sides)) else 0 for k, n in enumerate(sides)]


def _pad(more: list[int]) -> list[int]:
    """As `torch.nn.functional.pad` takes it."""
    return [n for m in reversed(more) for n in (m, m)]
