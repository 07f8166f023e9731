"""Emoji and their names: pictures for text-to-image, one item for each emoji or for each emoji in a style."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch

from multigen.datasets import NO_FAULTS, Catalogue, Dataset, Item, emoji_words, held_out, sprites
from multigen.datasets.colours import said
from multigen.datasets.emoji_catalogue import make_catalogue
from multigen.datasets.emoji_folder import read_folder
from multigen.datasets.emoji_items import Shown, colour_turns, held_pairs, held_styles
from multigen.datasets.emoji_pictures import Pictures
from multigen.datasets.emoji_scenes import FILL, Composer, Scene
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
_UNMIXED = [0.5, 0.0, 0.0, 1.0, 1.0, *[0.5] * 15]  # what `draw` draws where captions are of one kind only


class Emoji(Dataset):
    """Emoji on white (or clear, for four channels); labels are the categories, texts the names.

    `categories` and `names` choose which ones; `count` keeps that many, evenly spread in Unicode's order.
    `augment`: `draw` varies size (0.82 to 0.98 of the picture) and place (up to 3%) and mirrors where that is
    harmless. `recolour`: a share `recoloured` of the drawn emoji that have one main hue are turned to another, and
    the text says so: "blue car".

    Without `styles` the emoji are Twemoji's, out of installed packages. With `styles` they come out of a folder that
    `multigen datasets fetch emoji` made (`path`; null: where it put it), there is an item for each emoji and style,
    and texts say the style: "red apple, 3D". With `large` the folder is that of `emoji_large`: drawings of 222 pixels
    in place of 72, for pictures of 128 and more. Shares of what `draw` makes: `unstyled` texts without the word of the
    style; `keywords` texts with what else the emoji stands for; `several` counts, one to three ("two red apples");
    `placed` emoji ("red apple on the left"); `pairs` ("cat and dog", "cat above dog").

    `held_out`: share of the emoji that `split` keeps from training, with all their captions; with `recolour` or
    `styles`, share of the combinations instead: emoji and colour, emoji and style, pairs of emoji. These are items of
    their own, after the others: every emoji, style and colour is trained on, these combinations never.
    MultigenError if a package or the folder is missing, a name is unknown, nothing is left or the modality is no
    picture.
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
        recoloured: float = 0.5,
        styles: tuple[str, ...] | None = None,
        path: str | None = None,
        large: bool = False,
        unstyled: float = 0.0,
        keywords: float = 0.0,
        several: float = 0.0,
        placed: float = 0.0,
        pairs: float = 0.0,
        held_out: float = 0.1,
    ) -> None:
        if large and styles is None:
            raise ValueError(
                "large: true is not allowed without styles; the packages' own drawings have 72 pixels."
            )
        self.shape = modality.shape()
        if len(self.shape) != 3:
            raise MultigenError(f"data: emoji are pictures; the modality {modality.name} is not one")
        shares = {"recoloured": recoloured, "unstyled": unstyled, "keywords": keywords}
        _check_shares(shares, {"several": several, "placed": placed, "pairs": pairs})
        self.recoloured, self.unstyled, self.keywords = recoloured, unstyled, keywords
        self._scenes = (several, several + placed, several + placed + pairs)
        self.augment, self.recolour, self.share = augment, recolour, held_out
        self._styled = styles or ()
        known = sprites.all_emoji() if styles is None else read_folder(path, styles, large=large)
        self.emoji = _select(known, categories, names, count)
        self.classes: tuple[str, ...] = tuple(
            c for c in _CATEGORIES if any(e.category == c for e in self.emoji)
        )
        self._pictures = Pictures(self.emoji)
        self._turns: dict[int, list[str]] = {}  # the colours that each emoji is turned to in training
        self._items, self._trained = self._list(pairs > 0)
        self._composer = Composer(self.emoji, self._pictures, self._styles, self.shape[1:], held_out, augment)

    def _list(self, pairs: bool) -> tuple[list[Shown], int]:
        """All items, and how many of them are trained on where combinations are held out."""
        untrained = held_styles(self.emoji, self.share) if self._styled else {}
        self._styles = [
            tuple(s for s in self._pictures.styles(k) if untrained.get(k) != s)
            for k in range(len(self.emoji))
        ]
        items = [Shown(k, s) for k, some in enumerate(self._styles) for s in some]
        held = [Shown(k, s, held="style") for k, s in untrained.items()]
        if self.recolour:
            self._turns, coloured = colour_turns(self.emoji, self._pictures.colours, self.share)
            held += [c for c in coloured if self._shared_styles(c)]
        if pairs:
            held += [p for p in held_pairs(self.emoji, self.share) if self._shared_styles(p)]
        return [*items, *held], len(items)

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Item:
        """The emoji in the middle, with its first name; held-out combinations as they say."""
        shown = self._shown(index)
        style = shown.style or self._shared_styles(shown)[0]
        if shown.other is not None:
            scene = self._composer.beside(shown.thing, shown.other, style)
        else:
            name = self._name(shown.thing, shown.colour)
            scene = Scene(self._composer.alone(shown.thing, style, shown.colour), name, name)
        text = emoji_words.with_style(scene.id, style) if self._styled else scene.id
        return self._item(scene.picture, text, text, shown)

    def draw(self, index: int, rng: torch.Generator) -> Item:
        """The emoji at a size, place and hue drawn from `rng`, with one of its captions."""
        shown = self._shown(index)
        u = torch.rand(8, generator=rng).tolist()
        mixed = self._styled or self._scenes[2] > 0 or self.keywords > 0
        v = torch.rand(20, generator=rng).tolist() if mixed else _UNMIXED
        style = shown.style
        if style is None:
            some = self._shared_styles(shown)
            style = some[int(v[0] * len(some))]
        colour, turns = shown.colour, self._turns.get(shown.thing)
        if (
            colour is None
            and shown.held is None
            and turns
            and u[1] < self.recoloured
            and self._pictures.turns(shown.thing, style)
        ):
            colour = turns[int(u[2] * len(turns))]
        scene = self._scene(shown, style, colour, v) or self._single(shown.thing, style, colour, u, v)
        text, name = scene.text, scene.id
        if self._styled and (shown.held == "style" or v[1] >= self.unstyled):
            text, name = emoji_words.in_style(text, style, v[2]), emoji_words.with_style(name, style)
        return self._item(scene.picture, text, name, shown)

    def split(self) -> tuple[Sequence[int], Sequence[int]]:
        """Held out by a hash of the name, whole emoji or combinations: none of their captions is trained on."""
        if self.recolour or self._styled:
            return range(self._trained), range(self._trained, len(self))
        return held_out([e.name for e in self.emoji], self.share)

    def held_kinds(self) -> dict[str, Sequence[int]]:
        """The held-out combinations by their kind: "style", "colour", "pair". None where whole emoji are held out."""
        kinds: dict[str, list[int]] = {}
        for k, shown in enumerate(self._items[self._trained :], self._trained):
            kinds.setdefault(str(shown.held), []).append(k)
        return dict(kinds)

    def catalogue(self) -> Catalogue:
        """Each emoji in its own colours in every style and, with `recolour`, in all others; pairs that are held out."""
        return make_catalogue(
            self._pictures,
            self._composer,
            self._turns,
            self._items,
            self.split()[0],
            self._styled,
            self.shape[0],
            counted=self._scenes[0] > 0,
            unstyled=self.unstyled > 0,
        )

    def _shown(self, index: int) -> Shown:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._items[index]

    def _shared_styles(self, shown: Shown) -> tuple[str, ...]:
        """The styles that what is shown is trained in."""
        styles = self._styles[shown.thing]
        if shown.other is not None:
            return tuple(s for s in styles if s in self._styles[shown.other])
        return tuple(s for s in styles if shown.colour is None or self._pictures.turns(shown.thing, s))

    def _name(self, thing: int, colour: str | None) -> str:
        return self.emoji[thing].name if colour is None else said(colour, self.emoji[thing].name)

    def _scene(self, shown: Shown, style: str, colour: str | None, v: Sequence[float]) -> Scene | None:
        """Several, one at a place or two, as often as they are asked for; None for one in the middle."""
        if shown.other is not None:
            return self._composer.beside(shown.thing, shown.other, style, v[5:])
        if shown.held is not None or v[3] >= self._scenes[2]:
            return None
        if v[3] < self._scenes[0]:
            return self._composer.several(shown.thing, style, colour, v[5:])
        if v[3] < self._scenes[1]:
            return self._composer.placed(shown.thing, style, colour, v[5:])
        return self._composer.pair(shown.thing, style, v[5:])

    def _single(
        self, thing: int, style: str, colour: str | None, u: Sequence[float], v: Sequence[float]
    ) -> Scene:
        """One in the middle, with one of its captions."""
        emoji = self.emoji[thing]
        _, height, width = self.shape
        side, x, y, fill = min(height, width), width / 2, height / 2, FILL
        if self.augment:
            # Some hands draw up to the very edge: with styles nothing is cut.
            least, way = (0.78, 0.05) if self._styled else (0.82, 0.06)
            fill = least + 0.16 * u[3]
            x, y = x + way * (u[4] - 0.5) * side, y + way * (u[5] - 0.5) * side
        sprite = self._pictures.sprite(thing, style, colour, mirrored=self.augment and u[6] < 0.5)
        name = emoji.names[int(u[0] * len(emoji.names))]
        name = name if colour is None else said(colour, name)
        if v[4] < self.keywords and colour is None and emoji.keywords:
            text = emoji_words.with_keyword(name, emoji.keywords, v[4] / self.keywords, u[7])
        else:
            category = emoji.category.lower().replace("&", "and")
            text = _CAPTIONS[int(u[7] * len(_CAPTIONS))].format(name=name, category=category)
        placed = sprites.place(sprite, x, y, fill * side, height, width)
        return Scene(placed, text, self._name(thing, colour))

    def _item(self, picture: np.ndarray, text: str, name: str, shown: Shown) -> Item:
        label = self.classes.index(self.emoji[shown.thing].category)
        return Item(media=sprites.to_media(picture, self.shape[0]), id=name, text=text, label=label)


def _check_shares(single: dict[str, float], summed: dict[str, float]) -> None:
    for name, share in (single | summed).items():
        if not 0 <= share <= 1:
            raise ValueError(f"{name}: {share!r} is not allowed. Allowed: a share, 0 to 1.")
    if sum(summed.values()) > 1:
        raise ValueError(f"{' + '.join(summed)}: {sum(summed.values()):g} is more than 1")


def _select(
    known: list[sprites.Emoji],
    categories: tuple[Category, ...] | None,
    names: tuple[str, ...] | None,
    count: int | None,
) -> list[sprites.Emoji]:
    """The emoji of a selection, in the order of `names` or in Unicode's."""
    emoji = known
    if names is not None:
        emoji = list(dict.fromkeys(sprites.choose(known, name, "data.names") for name in names))
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
