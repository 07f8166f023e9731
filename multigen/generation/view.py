"""Views: how a medium of any size is seen by a model of a fixed size, and how what it makes goes back.

A view is a part of the medium, which may reach beyond its edges, brought to another size in pixels, and then padded to
what the codec takes. Time is never stretched.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from multigen.core.circles import OPEN, Closed, extend
from multigen.generation.request import PAD, STRETCH
from multigen.modalities.alpha import has_alpha, premultiplied, straight

_CONTEXT = 0.5  # of what is made, on each side of it: what a cropped view shows beside


@dataclass(frozen=True)
class View:
    """Where a view lies in a medium [C, *D]; a number for each axis, in samples, frames or pixels of the medium.

    start, length  the part that is seen; it may begin before 0 and end beyond the medium
    size           of that part as the model sees it
    whole          that with padding at the end
    closed         sides that meet: what lies beyond them is the other side
    """

    start: tuple[int, ...]
    length: tuple[int, ...]
    size: tuple[int, ...]
    whole: tuple[int, ...]
    closed: Closed = OPEN

    @property
    def scale(self) -> float:
        """Pixels of the medium for each that the model sees, along the axis that loses most."""
        return max(a / b for a, b in zip(self.length, self.size, strict=True))

    def seen(self, media: Tensor) -> Tensor:
        """[C, *D] -> [C, *whole]. Beyond its edges a picture goes on, and a sound is silent."""
        part = _resized(_part(media, self.start, self.length), self.size, self.closed)
        if media.ndim == 2:
            return F.pad(part, (0, self.whole[0] - part.shape[1]))
        return _part(part, [0] * len(self.whole), self.whole)

    def kept(self, keep: Tensor) -> Tensor:
        """Keep, bool [*D] -> bool [*whole]: what depends on kept places alone."""
        part = _part(keep[None], self.start, self.length)[0]
        if part.ndim >= 2 and tuple(part.shape) != self.size:
            new = (~part).float().reshape(-1, 1, *part.shape[-2:])
            part = F.adaptive_max_pool2d(new, self.size[-2:]).reshape(self.size) == 0
        return _part(part[None], [0] * len(self.whole), self.whole)[0]

    def trimmed(self, made: Tensor) -> Tensor:
        """What was made [C, *whole], without the padding: [C, *size]."""
        return made[(slice(None), *(slice(n) for n in self.size))]

    def put(self, made: Tensor, media: Tensor) -> Tensor:
        """What was made [C, *size], put into the medium [C, *D]."""
        grown = _resized(made, self.length, self.closed)
        into, of = [slice(None)], [slice(None)]
        for start, length, n in zip(self.start, self.length, media.shape[1:], strict=True):
            a, b = max(start, 0), min(start + length, n)
            into.append(slice(a, b))
            of.append(slice(a - start, b - start))
        out = media.clone()
        out[tuple(into)] = grown[tuple(of)].to(media)
        return out

    def inside(self, shape: Sequence[int]) -> Tensor:
        """The places of a medium of this shape [*D] that the view shows: bool [*D]."""
        found = torch.zeros(tuple(shape), dtype=torch.bool)
        found[tuple(slice(max(s, 0), s + n) for s, n in zip(self.start, self.length, strict=True))] = True
        return found


def identity(shape: Sequence[int]) -> View:
    """All of a medium [*D], as it is."""
    whole = tuple(shape)
    return View((0,) * len(whole), whole, whole, whole)


def middle(media: Tensor, like: Sequence[int]) -> Tensor:
    """The middle of a medium [C, *D, H, W], as large as it can be in the shape of `like`, (height, width)."""
    height, width = media.shape[-2:]
    scale = min(height / like[0], width / like[1])
    length = [max(min(round(n * scale), side), 1) for n, side in zip(like, (height, width), strict=True)]
    top, left = (height - length[0]) // 2, (width - length[1]) // 2
    return media[..., top : top + length[0], left : left + length[1]]


def grown_size(sides: tuple[int, int], before: tuple[int, int], model: tuple[int, int]) -> tuple[int, int]:
    """The size at which a model sees a picture that was grown to `sides`, all (height, width).

    At least the model's own, and so large that the picture `before` it grew is as large as without: a model knows how
    large things are, so that what is added is made in windows.
    """
    scale = min(m / n for m, n in zip(model, before, strict=True))
    if all(n <= m for n, m in zip(sides, model, strict=True)):
        return model
    return _pair([max(m, round(n * scale)) for n, m in zip(sides, model, strict=True)])


def picture_view(
    sides: tuple[int, int], model: tuple[int, int], fit: str, keep: Tensor | None
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Start and length, (height, width), of what a model of another size sees of a picture.

    keep  bool [H, W]: a crop shows what is not kept, with its surroundings, as large as the model can
    """
    if fit == STRETCH:
        return (0, 0), sides
    scale = [m / n for m, n in zip(model, sides, strict=True)]
    if fit == PAD:
        scale_all = min(scale)
        length = tuple(max(n, round(m / scale_all)) for m, n in zip(model, sides, strict=True))
        return _pair([-((a - n) // 2) for a, n in zip(length, sides, strict=True)]), _pair(length)
    largest = [min(n, round(m / max(scale))) for m, n in zip(model, sides, strict=True)]
    if keep is None or bool(keep.all()):
        return _pair([(n - a) // 2 for a, n in zip(largest, sides, strict=True)]), _pair(largest)
    return _around(sides, model, largest, ~keep)


def _around(
    sides: tuple[int, int], model: tuple[int, int], largest: list[int], new: Tensor
) -> tuple[tuple[int, int], tuple[int, int]]:
    """The box of the model's aspect around what is new."""
    spans = [(int(i.min()), int(i.max()) + 1) for i in (new.any(1).nonzero(), new.any(0).nonzero())]
    wanted = [(b - a) * (1 + 2 * _CONTEXT) for a, b in spans]
    factor = max([w / m for w, m in zip(wanted, model, strict=True)] + [1.0])
    length = [min(round(m * factor), most) for m, most in zip(model, largest, strict=True)]
    start = []
    for (a, b), n, side in zip(spans, length, sides, strict=True):
        start.append(min(max((a + b - n) // 2, 0), side - n))
    return _pair(start), _pair(length)


def time_view(count: int, most: int, keep: Tensor | None) -> tuple[int, int]:
    """Start and length of what is seen of a medium's `count` samples or frames.

    All of them where the model makes so many in one piece, or where everything is new; else what is new, with half of
    the model's own length on each side.
    """
    if count <= most or keep is None or bool(keep.all()):
        return 0, count
    places = (~keep).nonzero()
    first, last = int(places.min()), int(places.max()) + 1
    a, b = max(0, first - most // 2), min(count, last + most // 2)
    a = max(0, min(a, b - most))
    return a, max(b, min(a + most, count)) - a


def _pair(values: Sequence[int]) -> tuple[int, int]:
    first, second = values
    return first, second


def _part(media: Tensor, start: Sequence[int], length: Sequence[int]) -> Tensor:
    """A part of [C, *D] that may reach beyond its edges, which go on there."""
    for axis, (first, n) in enumerate(zip(start, length, strict=True), 1):
        if first or n != media.shape[axis]:
            places = (torch.arange(n) + first).clamp(0, media.shape[axis] - 1)
            media = media.index_select(axis, places.to(media.device))
    return media


def _resized(media: Tensor, size: Sequence[int], closed: Closed) -> Tensor:
    """[C, *D] with its height and width at those of `size`, bicubic and antialiased."""
    if media.ndim < 3 or tuple(media.shape[-2:]) == tuple(size[-2:]):
        return media
    alpha = has_alpha(media)
    flat = (premultiplied(media) if alpha else media).reshape(-1, 1, *media.shape[-2:])
    # more on both sides of what is closed, so that it is periodic
    (down, top), (right, left) = (
        _margin(media.shape[axis], size[axis]) if closed.goes_on(axis) else (0, 0) for axis in (-2, -1)
    )
    flat = extend(flat, (right, right, down, down), closed)
    sides = (size[-2] + 2 * top, size[-1] + 2 * left)
    made = F.interpolate(flat, size=sides, mode="bicubic", antialias=True, align_corners=False)
    made = made[..., top : top + size[-2], left : left + size[-1]]
    made = made.clamp(-1, 1).reshape(*media.shape[:-2], *size[-2:])
    return straight(made) if alpha else made


def _margin(side: int, size: int) -> tuple[int, int]:
    """Pixels that interpolation from `side` to `size` pixels sees beyond an end, and what they become, both whole."""
    common = math.gcd(side, size)
    least = math.ceil(4 * max(1.0, side / size))
    many = min(-(-least * common // side), common)  # of the smallest parts that are whole on both sides
    return many * (side // common), many * (size // common)
