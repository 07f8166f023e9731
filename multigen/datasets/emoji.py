"""Emoji and their names: pictures for text-to-image, one item for each emoji."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from PIL import Image as PillowImage

from multigen.datasets import NO_FAULTS, Item, held_out, sprites
from multigen.datasets.colours import Palette
from multigen.errors import MultigenError
from multigen.modalities import Modality
from multigen.registry import Given

Category = Literal[
    "Smileys & Emotion",
    "People & Body",
    "Animals & Nature",
    "Food & Drink",
    "Travel & Places",
    "Activities",
    "Objects",
    "Symbols",
    "Flags",
]
_CATEGORIES: tuple[Category, ...] = Category.__args__  # pyright: ignore[reportAttributeAccessIssue]
# The plain name comes as often as all others together.
_CAPTIONS = ("{name}", "{name}", "{name}", "{name} emoji", "emoji of {name}", "{name}, {category}")
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
_FILL = 0.92  # of the shorter side that the sprite fills


class Emoji:
    """Emoji on white (or clear, for four channels); labels are the categories, texts the names.

    `categories` and `names` choose which ones; `count` keeps that many, evenly spread in Unicode's order.
    `augment`: `draw` varies size (0.82 to 0.98 of the picture) and place (up to 3%) and mirrors where that is
    harmless. `recolour`: half of the drawn emoji that have one main hue are turned to another, and the text says so:
    "blue car". `held_out`: share of the emoji that `split` keeps from training, with all their captions.
    MultigenError if a package is missing, a name is unknown, nothing is left or the modality is no picture.
    """

    bad = NO_FAULTS

    def __init__(
        self,
        *,
        modality: Given[Modality],
        categories: tuple[Category, ...] | None = None,
        names: tuple[str, ...] | None = None,
        count: int | None = None,
        augment: bool = True,
        recolour: bool = False,
        held_out: float = 0.1,
    ) -> None:
        self.shape = modality.shape()
        if len(self.shape) != 3:
            raise MultigenError(f"data: emoji are pictures; the modality {modality.name} is not one")
        self.augment, self.recolour, self.share = augment, recolour, held_out
        self.emoji = _select(categories, names, count)
        self.classes: tuple[str, ...] = tuple(
            c for c in _CATEGORIES if any(e.category == c for e in self.emoji)
        )
        self._sprites: dict[int, PillowImage.Image] = {}
        self._palette = Palette()

    def __len__(self) -> int:
        return len(self.emoji)

    def __getitem__(self, index: int) -> Item:
        """The emoji in the middle, with its first name."""
        _, height, width = self.shape
        placed = sprites.place(
            self._sprite(index), width / 2, height / 2, _FILL * min(height, width), height, width
        )
        return Item(
            media=sprites.to_media(placed, self.shape[0]),
            id=self.emoji[index].name,
            text=self.emoji[index].name,
            label=self._label(index),
        )

    def draw(self, index: int, rng: torch.Generator) -> Item:
        """The emoji at a size, place and hue drawn from `rng`, with one of its captions."""
        emoji, sprite = self.emoji[index], self._sprite(index)
        _, height, width = self.shape
        u = torch.rand(8, generator=rng).tolist()
        name = emoji.names[int(u[0] * len(emoji.names))]
        if self.recolour and u[1] < 0.5:
            turned = self._palette.turn(emoji.file.stem, sprite, name, u[2])
            sprite, name = turned if turned else (sprite, name)
        side, x, y = min(height, width), width / 2, height / 2
        fill = _FILL
        if self.augment:
            fill = 0.82 + 0.16 * u[3]
            x, y = x + 0.06 * (u[4] - 0.5) * side, y + 0.06 * (u[5] - 0.5) * side
            if u[6] < 0.5 and _mirrors(emoji):
                sprite = sprite.transpose(PillowImage.Transpose.FLIP_LEFT_RIGHT)
        placed = sprites.place(sprite, x, y, fill * side, height, width)
        category = emoji.category.lower().replace("&", "and")
        text = _CAPTIONS[int(u[7] * len(_CAPTIONS))].format(name=name, category=category)
        media = sprites.to_media(placed, self.shape[0])
        return Item(media=media, id=emoji.name, text=text, label=self._label(index))

    def split(self) -> tuple[Sequence[int], Sequence[int]]:
        """Whole emoji are held out, by a hash of the name: none of their captions is trained on."""
        return held_out([e.name for e in self.emoji], self.share)

    def _sprite(self, index: int) -> PillowImage.Image:
        if index not in self._sprites:
            self._sprites[index] = sprites.load(self.emoji[index])
        return self._sprites[index]

    def _label(self, index: int) -> int:
        return self.classes.index(self.emoji[index].category)


def _mirrors(emoji: sprites.Emoji) -> bool:
    """Whether the mirror image has the same name."""
    sided = any(word in emoji.name.split() for word in ("left", "right", "leftwards", "rightwards"))
    return emoji.group.startswith(_MIRRORED) and not sided


def _select(
    categories: tuple[Category, ...] | None, names: tuple[str, ...] | None, count: int | None
) -> list[sprites.Emoji]:
    """The emoji of a selection, in the order of `names` or in Unicode's."""
    emoji = sprites.all_emoji()
    if names is not None:
        emoji = list(dict.fromkeys(sprites.choose(emoji, name, "data.names") for name in names))
    if categories is not None:
        emoji = [e for e in emoji if e.category in categories]
    if count is not None:
        if count < 1:
            raise ValueError(f"count: {count!r} is not allowed. Allowed: 1 or more.")
        kept = min(count, len(emoji))
        emoji = [emoji[i * len(emoji) // kept] for i in range(kept)]
    if not emoji:
        raise MultigenError("data: no emoji is left; widen categories or names")
    return emoji
