"""What an emoji dataset can name, for measures that look for it."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

from torch import Tensor

from multigen.datasets import CaptionKind, Catalogue, emoji_words, sprites
from multigen.datasets.colours import said
from multigen.datasets.emoji_items import Shown
from multigen.datasets.emoji_pictures import Pictures
from multigen.datasets.emoji_scenes import Composer
from multigen.datasets.nouns import plural

_SEEDS = 4  # media of one caption that leaves the style open


def make_catalogue(
    pictures: Pictures,
    composer: Composer,
    turns: Mapping[int, Sequence[str]],
    items: Sequence[Shown],
    train: Sequence[int],
    styles: Sequence[str],
    channels: int,
    *,
    counted: bool,
    unstyled: bool,
) -> Catalogue:
    """Each emoji in every style and, in one of them, in its colours of training; then the pairs that are held out.

    items     of the dataset; train: the indices of those that are trained on
    counted   captions of training say how many there are
    unstyled  some captions of training leave the style out

    With styles two of the colours stand for all: thousands of pictures are compared, and features hardly see colour.
    Ids are found with their style, colour, count and place; of pairs, only those that are held out.
    """
    emoji = pictures.emoji
    known, pairs = _spoken(pictures), [s for s in items if s.held == "pair"]
    for n, pair in enumerate(pairs):
        for name in composer.names(pair):
            known[name] = len(emoji) + n
    shown_by = _by_thing(items, train)

    def show(thing: int) -> list[Tensor]:
        if thing >= len(emoji):
            drawn = composer.both(pairs[thing - len(emoji)])
        else:
            own = pictures.styles(thing)
            turned = next((s for s in own if pictures.turns(thing, s)), own[0])
            drawn = [composer.alone(thing, s, None) for s in own]
            colours = turns.get(thing, ())
            shown = colours[:: max(1, len(colours) // 2)][:2] if styles else colours
            drawn += [composer.alone(thing, turned, c) for c in shown]
        return [sprites.to_media(d, channels) for d in drawn]

    return Catalogue(
        (*(e.name for e in emoji), *(composer.names(p)[0] for p in pairs)),
        show,
        lambda name: emoji_words.look_up(known, name, styles),
        styles=tuple(styles),
        style=lambda name: emoji_words.style_of(name, styles),
        count=lambda name: emoji_words.count_of(known, name, styles),
        items=lambda thing: shown_by.get(thing, ()),
        kinds=_kinds(pictures, known, styles, counted=counted, unstyled=bool(styles) and unstyled),
    )


def _by_thing(items: Sequence[Shown], train: Sequence[int]) -> dict[int, list[int]]:
    """The training items that show each thing."""
    found: dict[int, list[int]] = {}
    for k in train:
        found.setdefault(items[k].thing, []).append(k)
    return found


def _kinds(
    pictures: Pictures, known: Container[str], styles: Sequence[str], *, counted: bool, unstyled: bool
) -> dict[str, CaptionKind]:
    """Captions that ask for a number, and names alone that leave the style open."""
    plain = {e.name for e in pictures.emoji}
    kinds: dict[str, CaptionKind] = {}
    if counted:
        kinds["counted"] = CaptionKind(lambda name: emoji_words.count_of(known, name, styles) is not None)
    if unstyled:
        kinds["no style"] = CaptionKind(plain.__contains__, each=_SEEDS)
    return kinds


def _spoken(pictures: Pictures) -> dict[str, int]:
    """What ids call the emoji: in their own colours and others, one and several."""
    known: dict[str, int] = {}
    for k, emoji in enumerate(pictures.emoji):
        several = plural(emoji.name)
        for name in (emoji.name,) if several is None else (emoji.name, several):
            known.setdefault(name, k)
            for colour in pictures.colours(k):
                known.setdefault(said(colour, name), k)
    return known | {e.name: k for k, e in enumerate(pictures.emoji)}
