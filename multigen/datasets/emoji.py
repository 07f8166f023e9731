"""Emoji and their names: pictures for text-to-image, one item for each emoji."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from PIL import Image as PillowImage
from torch import Tensor

from multigen.datasets import NO_FAULTS, Catalogue, Item, held_out, sprites
from multigen.datasets.colours import Palette, said
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
    "blue car". `held_out`: share of the emoji that `split` keeps from training, with all their captions; with
    `recolour`, share of the pairs of an emoji and another colour. Such pairs are items of their own, after the emoji:
    every emoji and every colour is trained on, these pairs never.
    MultigenError if a package is missing, a name is unknown, nothing is left or the modality is no picture.
    """

    bad = NO_FAULTS
    holds_out = "captions"

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
        self._turns: dict[int, list[str]] = {}  # the colours that each emoji is turned to in training
        self._pairs = self._choose_colours() if recolour else []

    def __len__(self) -> int:
        return len(self.emoji) + len(self._pairs)

    def __getitem__(self, index: int) -> Item:
        """The emoji in the middle, with its first name; held-out pairs in their colour."""
        which, colour = self._which(index)
        sprite, name = self._in_colour(which, self.emoji[which].name, colour)
        return Item(media=self._drawn(sprite), id=name, text=name, label=self._label(which))

    def draw(self, index: int, rng: torch.Generator) -> Item:
        """The emoji at a size, place and hue drawn from `rng`, with one of its captions."""
        which, colour = self._which(index)
        emoji = self.emoji[which]
        _, height, width = self.shape
        u = torch.rand(8, generator=rng).tolist()
        turns = self._turns.get(which)
        if colour is None and turns and u[1] < 0.5:
            colour = turns[int(u[2] * len(turns))]
        sprite, name = self._in_colour(which, emoji.names[int(u[0] * len(emoji.names))], colour)
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
        shown = emoji.name if colour is None else said(colour, emoji.name)
        return Item(media=media, id=shown, text=text, label=self._label(which))

    def split(self) -> tuple[Sequence[int], Sequence[int]]:
        """Held out by a hash of the name, whole emoji or pairs with a colour: none of their captions is trained on."""
        if self.recolour:
            return range(len(self.emoji)), range(len(self.emoji), len(self))
        return held_out([e.name for e in self.emoji], self.share)

    def catalogue(self) -> Catalogue:
        """Each emoji in its own colours and, with `recolour`, in all others."""
        known = {e.name: i for i, e in enumerate(self.emoji)}
        for i, colours in self._turns.items():
            known |= {said(colour, self.emoji[i].name): i for colour in colours}
        known |= {said(colour, self.emoji[i].name): i for i, colour in self._pairs}

        def pictures(thing: int) -> list[Tensor]:
            own = self[thing]["media"]
            return [
                own,
                *(self._drawn(*self._in_colour(thing, "", c)[:1]) for c in self._turns.get(thing, ())),
            ]

        return Catalogue(tuple(e.name for e in self.emoji), pictures, known.get)

    def _drawn(self, sprite: PillowImage.Image) -> Tensor:
        """A sprite in the middle."""
        _, height, width = self.shape
        placed = sprites.place(sprite, width / 2, height / 2, _FILL * min(height, width), height, width)
        return sprites.to_media(placed, self.shape[0])

    def _which(self, index: int) -> tuple[int, str | None]:
        """The emoji of an item, and its colour if that is not its own."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._pairs[index - len(self.emoji)] if index >= len(self.emoji) else (index, None)

    def _choose_colours(self) -> list[tuple[int, str]]:
        """Fill `_turns` and return the pairs that are held out. A colour that makes another emoji's name is neither."""
        plain = {name for e in self.emoji for name in e.names}
        pairs = [
            (i, colour)
            for i, e in enumerate(self.emoji)
            for colour in self._palette.colours(e.file.stem, self._sprite(i), e.name)
            if said(colour, e.name) not in plain
        ]
        if not pairs:
            return []
        train, held = held_out([said(colour, self.emoji[i].name) for i, colour in pairs], self.share)
        for k in train:
            self._turns.setdefault(pairs[k][0], []).append(pairs[k][1])
        return [pairs[k] for k in held]

    def _in_colour(self, which: int, name: str, colour: str | None) -> tuple[PillowImage.Image, str]:
        sprite = self._sprite(which)
        if colour is None:
            return sprite, name
        return self._palette.turn(self.emoji[which].file.stem, sprite, name, colour)

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
