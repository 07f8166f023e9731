"""Pictures of several emoji, or of one at a place, and the captions that say so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image as PillowImage

from multigen.datasets import emoji_words, sprites
from multigen.datasets.colours import said
from multigen.datasets.emoji_items import Shown, held_pair
from multigen.datasets.emoji_pictures import Pictures
from multigen.datasets.nouns import plural

FILL = 0.92  # of the shorter side: one in the middle
_PLACED = 0.48  # ... one at a side or in a corner
_TRIES = 4  # partners that are looked at
# Middles of one, two and three alike, in shares of the width and height, and the side of each: none touches another.
_SIDE = 0.45
_LAYOUTS: dict[int, tuple[tuple[float, tuple[tuple[float, float], ...]], ...]] = {
    1: ((0.64, ((0.5, 0.5),)),),
    2: ((_SIDE, ((0.25, 0.5), (0.75, 0.5))), (_SIDE, ((0.25, 0.3), (0.75, 0.7)))),
    3: (
        (_SIDE, ((0.5, 0.25), (0.25, 0.75), (0.75, 0.75))),
        (_SIDE, ((0.25, 0.25), (0.75, 0.25), (0.5, 0.75))),
    ),
}
_PAIRS = {"beside": ((0.25, 0.5), (0.75, 0.5)), "below": ((0.5, 0.25), (0.5, 0.75))}


class Scene(NamedTuple):
    """A premultiplied uint8 picture [H, W, 4], a caption that is true of it, and what it shows in standard words."""

    picture: np.ndarray
    text: str
    id: str


class Composer:
    """Composes pictures of the given emoji, in the styles that each is trained in.

    Numbers `u` in [0, 1) make the choices; with `augment` also the sizes and places.
    """

    def __init__(
        self,
        emoji: Sequence[sprites.Emoji],
        pictures: Pictures,
        styles: Sequence[tuple[str, ...]],
        shape: tuple[int, ...],
        held_out: float,
        augment: bool,
    ) -> None:
        self.emoji, self.pictures, self.styles = emoji, pictures, styles
        self.height, self.width = shape
        self.held_out, self.augment = held_out, augment
        words = {word for e in emoji for word in e.name.split()}
        self.spoken = [emoji_words.spoken(e, words) for e in emoji]
        self.pairable = [k for k, e in enumerate(emoji) if emoji_words.pairs(e)]

    def several(self, thing: int, style: str, colour: str | None, u: Sequence[float]) -> Scene | None:
        """One, two or three; None of what is not counted."""
        emoji = self.emoji[thing]
        if not emoji_words.counts(emoji):
            return None
        count = 1 + int(u[0] * 3)
        side, middles = _LAYOUTS[count][int(u[1] * len(_LAYOUTS[count]))]
        sprite = self.pictures.sprite(thing, style, colour, mirrored=self.augment and u[2] < 0.5)
        name = _called([n for n in self.spoken[thing] if plural(n)], u[3])
        number = str(count) if u[4] < 0.15 else emoji_words.COUNTS[count - 1]
        picture = self._compose([sprite] * count, middles, side, u[5:])
        return Scene(picture, _counted(number, count, colour, name), counted(count, colour, emoji.name))

    def placed(self, thing: int, style: str, colour: str | None, u: Sequence[float]) -> Scene | None:
        """One at a side or in a corner; None of what is too long to say."""
        emoji = self.emoji[thing]
        if not emoji_words.placed(emoji):
            return None
        places = emoji_words.PLACES
        x, y, where = places[int(u[0] * len(places))]
        sprite = self.pictures.sprite(thing, style, colour, mirrored=self.augment and u[2] < 0.5)
        name = _called(self.spoken[thing], u[3])
        text, shown = (n if colour is None else said(colour, n) for n in (name, emoji.name))
        picture = self._compose([sprite], [(x, y)], _PLACED, u[5:])
        return Scene(picture, f"{text} {where}", f"{shown} {where}")

    def pair(self, thing: int, style: str, u: Sequence[float]) -> Scene | None:
        """The emoji and another that is trained in that style; None if none is found, or it stands in no pairs."""
        if not emoji_words.pairs(self.emoji[thing]) or len(self.pairable) < 2:
            return None
        first = int(u[0] * len(self.pairable))
        step = 1 + int(u[1] * (len(self.pairable) - 1))
        for n in range(_TRIES):
            other = self.pairable[(first + n * step) % len(self.pairable)]
            held = held_pair(self.emoji[thing].name, self.emoji[other].name, self.held_out)
            if other != thing and not held and style in self.styles[other]:
                return self.beside(thing, other, style, u)
        return None

    def alone(self, thing: int, style: str, colour: str | None) -> np.ndarray:
        """One in the middle, as large as it gets."""
        sprite = self.pictures.sprite(thing, style, colour)
        side = FILL * min(self.height, self.width)
        return sprites.place(sprite, self.width / 2, self.height / 2, side, self.height, self.width)

    def beside(self, thing: int, other: int, style: str, u: Sequence[float] | None = None) -> Scene:
        """Two emoji, the first to the left of the other or above it; without `u` to the left, and as they are."""
        augment = self.augment and u is not None
        u = [0.0] * 16 if u is None else u
        names = self.emoji[thing].name, self.emoji[other].name
        how = "beside" if u[2] < 0.7 else "below"
        says = emoji_words.PAIRS[how]
        parts = [
            self.pictures.sprite(k, style, mirrored=augment and v < 0.5)
            for k, v in ((thing, u[3]), (other, u[4]))
        ]
        picture = self._compose(parts, _PAIRS[how], _SIDE, u[5:] if augment else None)
        text = says[int(u[1] * len(says))].format(a=names[0], b=names[1])
        return Scene(picture, text, says[0].format(a=names[0], b=names[1]))

    def names(self, pair: Shown) -> tuple[str, ...]:
        """What ids call a pair: side by side, then above each other."""
        assert pair.other is not None
        one, other = self.emoji[pair.thing].name, self.emoji[pair.other].name
        return tuple(says[0].format(a=one, b=other) for says in emoji_words.PAIRS.values())

    def both(self, pair: Shown) -> list[np.ndarray]:
        """A pair side by side and above each other, in the first style that both are trained in."""
        assert pair.other is not None
        style = next(s for s in self.styles[pair.thing] if s in self.styles[pair.other])
        return [
            self.beside(pair.thing, pair.other, style, [0.0, 0.0, u, *[0.5] * 13]).picture for u in (0.0, 0.9)
        ]

    def _compose(
        self,
        parts: Sequence[PillowImage.Image],
        middles: Sequence[tuple[float, float]],
        side: float,
        u: Sequence[float] | None,
    ) -> np.ndarray:
        """Each part in its middle; `u` varies the size of all by 12% and the place of each by 1%."""
        unit = min(self.height, self.width)
        u = u if u is not None and self.augment else [0.0, *[0.5] * 2 * len(parts)]
        side *= unit * (1 - 0.12 * u[0])
        out = np.zeros((self.height, self.width, 4), np.uint8)
        for k, (part, (x, y)) in enumerate(zip(parts, middles, strict=True)):
            dx, dy = (0.02 * unit * (v - 0.5) for v in u[1 + 2 * k : 3 + 2 * k])
            one = sprites.place(
                part, x * self.width + dx, y * self.height + dy, side, self.height, self.width
            )
            out = sprites.over(one, out) if k else one
        return out


def _called(names: Sequence[str], u: float) -> str:
    """The first of some names seven times of ten, else any."""
    return names[0] if u < 0.7 else names[int((u - 0.7) / 0.3 * len(names))]


def counted(count: int, colour: str | None, name: str) -> str:
    """ "two blue cars"."""
    return _counted(emoji_words.COUNTS[count - 1], count, colour, name)


def _counted(number: str, count: int, colour: str | None, name: str) -> str:
    shown = name if count == 1 else plural(name) or name
    return f"{number} {shown if colour is None else said(colour, shown)}"
