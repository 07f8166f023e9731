"""The items of moving emoji: what is trained on, and the combinations that never are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from multigen.datasets.emoji_items import held_pairs, held_styles, score
from multigen.datasets.emoji_pictures import Pictures
from multigen.datasets.emoji_words import without_style
from multigen.datasets.motions import MOTIONS, parse
from multigen.datasets.sprites import Emoji

Kind = Literal["motion", "style", "pair"]


@dataclass(frozen=True)
class Clip:
    """What a video shows. An item says what is fixed; `draw` chooses the rest."""

    thing: int
    motion: str | None = None  # None: any that the thing is trained with
    style: str | None = None  # None: any that the thing is trained in
    other: int | None = None  # a second thing beside the first
    held: Kind | None = None  # why it is held out


class Clips:
    """All items of a selection, and what each thing is trained with.

    styles   of each thing, the styles that it is trained in
    motions  of each thing, the motions that it is trained with
    items    those that are trained on, then those that are held out
    trained  how many are trained on
    """

    def __init__(self, emoji: Sequence[Emoji], pictures: Pictures, motions: Sequence[str]) -> None:
        self.emoji = emoji
        self.styles: list[tuple[str, ...]] = [pictures.styles(k) for k in range(len(emoji))]
        self.motions: list[tuple[str, ...]] = [tuple(motions)] * len(emoji)
        self.items = self._all()
        self.trained = len(self.items)

    def hold_out(self, share: float, pairs: bool) -> None:
        """Hold out that share of thing and motion, of thing and style and, with `pairs`, some pairs of things."""
        untrained = held_styles(self.emoji, share)
        self.styles = [tuple(s for s in some if untrained.get(k) != s) for k, some in enumerate(self.styles)]
        held: list[Clip] = []
        for k, one in enumerate(self.emoji):
            # The motion of the highest score stays, whatever the share.
            order = sorted(self.motions[k], key=lambda m, one=one: score(said(one.name, m)))
            out = [m for m in order[:-1] if score(said(one.name, m)) < share]
            self.motions[k] = tuple(m for m in self.motions[k] if m not in out)
            held += [Clip(k, m, held="motion") for m in out]
        held += [Clip(k, style=s, held="style") for k, s in untrained.items()]
        if pairs:
            some = [Clip(p.thing, other=p.other, held="pair") for p in held_pairs(self.emoji, share)]
            held += [c for c in some if self.shared(c)]
        items = self._all()
        self.items, self.trained = [*items, *held], len(items)

    def shared(self, clip: Clip) -> tuple[str, ...]:
        """The styles that what is shown is trained in."""
        styles = self.styles[clip.thing]
        return styles if clip.other is None else tuple(s for s in styles if s in self.styles[clip.other])

    def kinds(self) -> dict[str, Sequence[int]]:
        """The held-out items by their kind."""
        kinds: dict[str, list[int]] = {}
        for k, clip in enumerate(self.items[self.trained :], self.trained):
            kinds.setdefault(str(clip.held), []).append(k)
        return dict(kinds)

    def _all(self) -> list[Clip]:
        return [
            Clip(k, motion, style)
            for k in range(len(self.emoji))
            for style in self.styles[k]
            for motion in self.motions[k]
        ]


def said(name: str, motion: str) -> str:
    """ "red apple moving left"."""
    return f"{name} {MOTIONS[motion].says[0]}"


def best_moment(name: str) -> float:
    """When the object of an id is seen best; the middle for two."""
    found = parse(name)
    return MOTIONS[found[0][1]].best if len(found) == 1 else 0.5


def find(known: Mapping[str, int], name: str, styles: Sequence[str]) -> int | None:
    """The thing, or the pair "cat and dog", that an id says is moving."""
    return known.get(" and ".join(thing for thing, _ in parse(without_style(name, styles))))
