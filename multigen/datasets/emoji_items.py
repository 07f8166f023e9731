"""The items of an emoji dataset: what is trained on, and the combinations that never are."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from multigen.datasets import emoji_words, held_out
from multigen.datasets.colours import said
from multigen.datasets.sprites import Emoji

Kind = Literal["style", "colour", "pair"]
_TRIES = 64


@dataclass(frozen=True)
class Shown:
    """What a picture shows. An item says what is fixed; `draw` chooses the rest."""

    thing: int
    style: str | None = None  # None: any that the thing is trained in
    colour: str | None = None  # None: its own
    other: int | None = None  # a second thing beside the first
    held: Kind | None = None  # why it is held out


def score(text: str) -> float:
    """A hash of a text in [0, 1)."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") / 2**64


def held_styles(emoji: Sequence[Emoji], share: float) -> dict[int, str]:
    """For some things the one style that they are never trained in: `share` of all drawings, no thing's only one."""
    out: dict[int, str] = {}
    for k, one in enumerate(emoji):
        styles = [s for s, _ in one.files]
        if len(styles) > 1 and score(f"{one.name} in a style") < share * len(styles):
            out[k] = min(styles, key=lambda s, one=one: score(f"{one.name}, {s}"))
    return out


def held_pair(one: str, other: str, share: float) -> bool:
    """Whether two names are never trained on together, in either order."""
    return score(" and ".join(sorted((one, other)))) < share


def colour_turns(
    emoji: Sequence[Emoji], colours: Callable[[int], Sequence[str]], share: float
) -> tuple[dict[int, list[str]], list[Shown]]:
    """The colours that each thing is turned to in training, and the pairs of a thing and a colour held out.

    A colour that makes another emoji's name is neither.
    """
    plain = {name for e in emoji for name in e.names}
    pairs = [(i, c) for i, e in enumerate(emoji) for c in colours(i) if said(c, e.name) not in plain]
    turns: dict[int, list[str]] = {}
    if not pairs:
        return turns, []
    train, held = held_out([said(c, emoji[i].name) for i, c in pairs], share)
    for k in train:
        turns.setdefault(pairs[k][0], []).append(pairs[k][1])
    return turns, [Shown(pairs[k][0], colour=pairs[k][1], held="colour") for k in held]


def held_pairs(emoji: Sequence[Emoji], share: float) -> list[Shown]:
    """Some of the pairs that are held out, about one for ten things that stand in pairs."""
    able = sorted(
        (k for k, e in enumerate(emoji) if emoji_words.pairs(e)),
        key=lambda k: score(f"{emoji[k].name} and another"),
    )
    out: dict[frozenset[int], Shown] = {}
    for k in able:
        if len(out) >= math.ceil(len(able) / 10):
            break
        name = emoji[k].name
        order = (able[int(score(f"{name} and {n}") * len(able))] for n in range(_TRIES))
        other = next((o for o in order if o != k and held_pair(name, emoji[o].name, share)), None)
        if other is not None:
            out.setdefault(frozenset((k, other)), Shown(k, other=other, held="pair"))
    return list(out.values())
