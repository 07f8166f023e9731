"""The mark of pictures: signs on the discrete cosine transform of the luminance, at wavelengths of 4 to 26 px of 64.

Frequencies are counted in half waves along the shorter side, whatever its pixels: a resized picture has the same ones,
and the detector looks at pictures of 64 px. Video has the same mark in each frame, so that it survives in any of them,
and does not flicker.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from multigen.marks.chips import Chips, chips_of, chosen, turned
from multigen.modalities.raster import to_channels

SIDE = 64  # px; the shorter side that the detector looks at
BANDS = ((5.0, 35.0), (3.0, 28.0))  # half waves along the shorter side; the second: of pictures under 64 px
_CROPS = 10  # px of 64; most that is searched for
_AROUND, _SPREAD = 5, 1.0  # px: the median's window; the standard deviation of the window of the variance
_FLOOR, _CLIP = (
    8.0,
    2.5,
)  # of the variance, in levels squared; of the weighed residual, in its root mean squares
_CLOSE = 0.02  # dB


class View(NamedTuple):
    """A guess of where a picture's pixels were in what was marked: how probable it was held, before looking.

    whole   height and width of what was marked, at `SIDE` px
    window  those of what is seen of it
    prior   share of the threshold that is spent on it
    """

    whole: tuple[int, int]
    window: tuple[int, int]
    prior: float


def pattern(key: bytes, name: str, bits: int, payload: int, sides: tuple[int, int]) -> Tensor:
    """The mark [H, W] of a picture of these sides, of mean square 1."""
    band = BANDS[min(sides) < SIDE]
    high, wide, inside = _band(sides, band)
    chips = chips_of(key, name, bits, high, wide)
    spectrum = torch.where(inside, turned(chips, payload).view(high, wide), 0.0)
    made = _cosines(sides[0], high).T @ spectrum @ _cosines(sides[1], wide)
    return made / made.square().mean().sqrt()


def added(media: Tensor, mark: Tensor, strength: float, room: Tensor) -> Tensor:
    """Media [C, ..., H, W] in [-1, 1] with a mark [H, W], so many dB under full scale where the mark has room.

    room  how much of the mark each place takes, [..., H, W] in [0, 1]

    The colours change alike. White cannot get brighter, so half of the mark is lost there: the other half is made
    larger, until the change of the whole, as 8 bits store it, is as large as asked.
    """
    alpha = media[3:]
    shown = room * ((alpha[0] + 1) / 2 if len(alpha) else 1.0)
    step, colours = mark * shown, media[: 3 if len(media) == 4 else len(media)]
    share = float(room.mean())
    if not share:
        return media
    wanted = 10 ** (-strength / 20) * 2 * math.sqrt(share)
    most = 16 * wanted

    def at(size: float) -> Tensor:
        return (colours + size * step).clamp(-1, 1)

    def change(size: float) -> float:
        stored = ((at(size) + 1) * 127.5).round() / 127.5 - 1
        return float(((stored - colours) * shown).square().mean().sqrt())

    low, high = 0.0, wanted
    while high < most and change(high) < wanted:
        low, high = high, 2 * high
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if change(middle) < wanted else (low, middle)
    return torch.where(room > 0, torch.cat([at(low), alpha]), media)


def luminance(media: Tensor) -> Tensor:
    """Levels [T, H, W], 0 to 255, of media [C, H, W] or [C, T, H, W] on white."""
    grey = to_channels(media.detach().float().cpu(), 1)[0]
    return (grey if grey.ndim == 3 else grey[None]).add(1).mul(127.5)


def residual(grey: Tensor, window: tuple[int, int]) -> Tensor:
    """What of the luminance [T, H, W] may be a mark, weighed by how little the picture disturbs it there: [h, w].

    The picture is what a median shows; what is left, over its local variance, is summed over frames.
    """
    if tuple(grey.shape[1:]) != window:
        smaller = window[0] * window[1] < grey.shape[1] * grey.shape[2]
        grey = F.interpolate(grey[:, None], window, mode="bicubic", antialias=smaller)[:, 0]
    side = _AROUND // 2
    around = F.pad(grey[:, None], (side,) * 4, mode="reflect").unfold(2, _AROUND, 1).unfold(3, _AROUND, 1)
    left = grey - around.flatten(4).median(-1).values[:, 0]
    weighed = left / (_blurred(left.square()) + _FLOOR)
    weighed = weighed / (weighed.square().mean((1, 2), keepdim=True).sqrt() + 1e-9)
    return weighed.clamp(-_CLIP, _CLIP).sum(0)


def views(sides: tuple[int, int]) -> Iterator[View]:
    """Guesses for a picture of these sides: all that was marked, and then cuts of both sides or of one."""
    shares = [(1 - k / SIDE, 1 - k / SIDE) for k in range(1, _CROPS + 1)]
    shares += [(1 - k / SIDE, 1.0) for k in range(1, _CROPS + 1)]
    shares += [(1.0, 1 - k / SIDE) for k in range(1, _CROPS + 1)]
    yield View(at_side(sides), at_side(sides), 0.5)
    for high, wide in shares:
        whole = at_side((sides[0] / high, sides[1] / wide))
        window = (round(whole[0] * high), round(whole[1] * wide))
        yield View(whole, window, 0.5 / len(shares))


def at_side(sides: tuple[float, float]) -> tuple[int, int]:
    """Height and width of a picture of these sides when its shorter one is `SIDE` px."""
    return round(SIDE * sides[0] / min(sides)), round(SIDE * sides[1] / min(sides))


def coefficients(left: Tensor, view: View, band: tuple[float, float]) -> Iterator[Tensor]:
    """The band's coefficients of a residual [h, w], for each place that its window may have had."""
    high, wide, inside = _band(view.whole, band)
    rows, columns = _cosines(view.whole[0], high), _cosines(view.whole[1], wide)
    for top in range(view.whole[0] - view.window[0] + 1):
        lines = rows[:, top : top + view.window[0]] @ left
        for start in range(view.whole[1] - view.window[1] + 1):
            yield (lines @ columns[:, start : start + view.window[1]].T)[inside]


def chips_in(key: bytes, name: str, bits: int, whole: tuple[int, int], band: tuple[float, float]) -> Chips:
    """The chips of the band's coefficients."""
    high, wide, inside = _band(whole, band)
    return chosen(chips_of(key, name, bits, high, wide), inside.flatten())


@lru_cache(maxsize=64)
def _band(sides: tuple[int, int], band: tuple[float, float]) -> tuple[int, int, Tensor]:
    """How many rows and columns of coefficients a band reaches into, and which of them it has, bool."""
    short = min(sides)
    high, wide = (min(n, math.floor(band[1] * n / short) + 1) for n in sides)
    down = torch.arange(high, dtype=torch.float64)[:, None] * short / sides[0]
    along = torch.arange(wide, dtype=torch.float64) * short / sides[1]
    radius = (down.square() + along.square()).sqrt()
    return high, wide, (radius >= band[0]) & (radius <= band[1])


@lru_cache(maxsize=64)
def _cosines(length: int, count: int) -> Tensor:
    """The first rows of the orthonormal discrete cosine transform (DCT-II), [count, length]."""
    places = (torch.arange(length, dtype=torch.float64) + 0.5) * math.pi / length
    rows = torch.cos(torch.arange(count, dtype=torch.float64)[:, None] * places) * math.sqrt(2 / length)
    rows[0] /= math.sqrt(2)
    return rows.float()


def _blurred(media: Tensor) -> Tensor:
    """[T, H, W] under a Gaussian window."""
    reach = math.ceil(3 * _SPREAD)
    line = torch.exp(-torch.arange(-reach, reach + 1).float().square() / (2 * _SPREAD**2))
    line = line / line.sum()
    padded = F.pad(media[:, None], (reach,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(padded, line[None, None, None]), line[None, None, :, None])[:, 0]
