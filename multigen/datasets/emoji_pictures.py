"""Sprites of emoji by style and colour, loaded once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image as PillowImage

from multigen.datasets import sprites
from multigen.datasets.bodies import Body, measure, recolour
from multigen.datasets.colours import HUES, is_coloured, main_hue, rotate

# Groups whose mirror images are as good: no writing, no hands of a clock, no named direction.
_MIRRORED = (
    "animal-",
    "plant-",
    "food-",
    "face-",
    "cat-face",
    "monkey-face",
    "transport-air",
    "transport-water",
)
_PEOPLE = ("person", "family")  # green skin is asked for by nobody
OWN = ""  # the style of emoji that have only one


class Pictures:
    """The sprites of a selection of emoji, and the colours that they can be turned to."""

    def __init__(self, emoji: Sequence[sprites.Emoji]) -> None:
        self.emoji = emoji
        self._files: list[dict[str, Path]] = [dict(e.files) or {OWN: e.file} for e in emoji]
        self._hues: dict[tuple[int, str], float | None] = {}
        for k, one in enumerate(emoji):
            turns = is_coloured(one.name) and one.category != "Flags" and not one.group.startswith(_PEOPLE)
            for style, _ in one.files:
                self._hues[k, style] = dict(one.hues).get(style) if turns else None
        self._bodies: dict[tuple[int, str], Body] = {}
        self._sprites: dict[tuple[int, str], PillowImage.Image] = {}

    def styles(self, thing: int) -> tuple[str, ...]:
        """The styles that it is drawn in."""
        return tuple(self._files[thing])

    def colours(self, thing: int) -> tuple[str, ...]:
        """The colours that it can be turned to in one style at least."""
        return tuple(HUES) if any(self.turns(thing, s) for s in self.styles(thing)) else ()

    def turns(self, thing: int, style: str) -> bool:
        """Whether it can be turned to other colours: it has one main hue, and is called more than a colour."""
        return self._hue(thing, style) is not None

    def sprite(
        self, thing: int, style: str, colour: str | None = None, *, mirrored: bool = False
    ) -> PillowImage.Image:
        """As `sprites.load` makes it, in a colour and mirrored where asked and harmless."""
        out = self._sprite(thing, style)
        if colour is not None:
            hue = self._hue(thing, style)
            if hue is None:
                raise ValueError(f"{self.emoji[thing].name}: cannot be made {colour}")
            out = self._turned(thing, style, colour, hue)
        if mirrored and mirrors(self.emoji[thing]):
            out = out.transpose(PillowImage.Transpose.FLIP_LEFT_RIGHT)
        return out

    def _sprite(self, thing: int, style: str) -> PillowImage.Image:
        file, side = self._files[thing][style], self.emoji[thing].side
        if side > sprites.SIDE:  # all of them would take gigabytes
            return sprites.load(file, side)
        if (thing, style) not in self._sprites:
            self._sprites[thing, style] = sprites.load(file)
        return self._sprites[thing, style]

    def _turned(self, thing: int, style: str, colour: str, hue: float) -> PillowImage.Image:
        """Without styles all hues are turned, as the shipped weights learnt it; with styles only the main one."""
        sprite = self._sprite(thing, style)
        if style == OWN:
            return rotate(sprite, HUES[colour] - hue)
        if (thing, style) not in self._bodies:
            self._bodies[thing, style] = measure(sprite, hue)
        return recolour(sprite, self._bodies[thing, style], colour)

    def _hue(self, thing: int, style: str) -> float | None:
        if (thing, style) not in self._hues:
            named = is_coloured(self.emoji[thing].name)
            self._hues[thing, style] = main_hue(self._sprite(thing, style)) if named else None
        return self._hues[thing, style]


def mirrors(emoji: sprites.Emoji) -> bool:
    """Whether the mirror image has the same name."""
    sided = any(word in emoji.name.split() for word in ("left", "right", "leftwards", "rightwards"))
    return emoji.group.startswith(_MIRRORED) and not sided
