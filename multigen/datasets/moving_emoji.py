"""Moving emoji: an object, or two, that moves as the text says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from multigen.datasets import (
    NO_FAULTS,
    Catalogue,
    Dataset,
    Item,
    emoji_words,
    held_out,
    moving_items,
    sprites,
)
from multigen.datasets.emoji_items import held_pair
from multigen.datasets.emoji_pictures import Pictures
from multigen.datasets.motions import DIRECTIONS, MOTIONS, moments
from multigen.datasets.moving_frames import ALONE, LEFT, RIGHT, Mover, compose
from multigen.datasets.moving_items import Clip, Clips, said
from multigen.datasets.moving_objects import choose
from multigen.datasets.nouns import plural, with_article
from multigen.errors import MultigenError
from multigen.modalities import Modality
from multigen.registry import Given

MotionName = Literal[
    "left",
    "right",
    "up",
    "down",
    "up left",
    "up right",
    "down left",
    "down right",
    "still",
    "bounce",
    "spin",
    "grow",
    "shrink",
    "appear",
]
_TRIES = 4  # partners that are looked at
_MIDDLE = [0.5] * 4


class _Part(NamedTuple):
    """One of the objects of a video, its motion and how it is drawn: numbers in [0, 1)."""

    thing: int
    motion: str
    u: Sequence[float]
    mirrored: bool = False


class MovingEmoji(Dataset):
    """An item for each pair of an object and a motion: `index = object * motions + motion`.

    The object is on white, moves subpixel smooth, and is never less than mostly visible; x grows to the right and y
    downwards. Labels are the motions, texts like "red apple moving left". `objects` names which ones (any emoji's
    name; null: the built-in list), `count` how many of them, evenly spread. `motions`: eight directions and still, if
    nothing else is named; also bounce, spin, grow, shrink, appear. `augment`: `draw` varies size, speed and place.
    `held_out`: share of the pairs of object and motion that `split` keeps from training; every object and every
    motion is still seen, in other pairs.

    With `styles` the emoji come out of a folder that `multigen datasets fetch emoji` made (`path`; null: where it put
    it), all of them without `objects` and with `count` null; there is an item for each object, style and motion, and
    texts say the style: "red apple bouncing, 3D". `unstyled`: share of the texts that do not. `pairs`: share of what
    `draw` makes that shows two objects, the first on the left, each with a motion of its own: "cat moving left and
    dog bouncing". With either, `held_out` is the share of objects and motions, of objects and styles and of pairs of
    objects; these combinations are items of their own, after the others.

    For a modality of pictures the items are frames: the middle one, or one drawn. What is learnt from them is where
    a video may start (`train.init`).
    MultigenError if a package or the folder is missing, a name is unknown or the modality is neither.
    """

    bad = NO_FAULTS
    holds_out = "captions"

    def __init__(
        self,
        *,
        modality: Given[Modality],
        objects: tuple[str, ...] | None = None,
        count: int | None = 100,
        motions: tuple[MotionName, ...] | None = None,
        augment: bool = True,
        styles: tuple[str, ...] | None = None,
        path: str | None = None,
        unstyled: float = 0.0,
        pairs: float = 0.0,
        held_out: float = 0.1,
    ) -> None:
        self.shape = modality.shape()
        if modality.name not in ("video", "image"):
            raise MultigenError(
                f"data: moving emoji are videos or their frames; the modality {modality.name} is neither"
            )
        for name, share in {"unstyled": unstyled, "pairs": pairs}.items():
            if not 0 <= share <= 1:
                raise ValueError(f"{name}: {share!r} is not allowed. Allowed: a share, 0 to 1.")
        self.augment, self.share, self.unstyled, self.pairs = augment, held_out, unstyled, pairs
        self.classes: tuple[str, ...] = tuple(dict.fromkeys(motions)) if motions else tuple(DIRECTIONS)
        self._styled = styles or ()
        self._mixed = styles is not None or pairs > 0
        self.emoji = choose(objects, count, styles, path)
        self._pictures = Pictures(self.emoji)
        self._clips = Clips(self.emoji, self._pictures, self.classes)
        self._pairable = [k for k, e in enumerate(self.emoji) if emoji_words.pairs(e)]
        words = {word for e in self.emoji for word in e.name.split()}
        self._spoken = [emoji_words.spoken(e, words) if self._mixed else [e.name] for e in self.emoji]
        if self._mixed:
            self._clips.hold_out(held_out, pairs > 0)

    def __len__(self) -> int:
        return len(self._clips.items)

    def __getitem__(self, index: int) -> Item:
        """The middle size, speed and place; what the item leaves open is the first; texts are said the first way."""
        clip = self._clip(index)
        style = clip.style or self._clips.shared(clip)[0]
        parts = [_Part(clip.thing, clip.motion or self._clips.motions[clip.thing][0], _MIDDLE)]
        if clip.other is not None:
            parts.append(_Part(clip.other, self._clips.motions[clip.other][-1], _MIDDLE))
        name = self._name(parts, style if self._styled else None)
        return self._item(parts, style, 0.5, name, name)

    def draw(self, index: int, rng: torch.Generator) -> Item:
        """Size, speed, place and words drawn from `rng`; with styles or pairs also what the item leaves open."""
        clip = self._clip(index)
        u = torch.rand(7, generator=rng).tolist()
        way, place = int(u[4] * 3), [*u[:4]] if self.augment else _MIDDLE
        if not self._mixed:
            parts = [_Part(clip.thing, clip.motion or self.classes[0], place)]
            text = self._text(parts, [self.emoji[clip.thing].name], way, article=u[5] < 0.5)
            return self._item(parts, clip.style or "", u[6], self._name(parts, None), text)
        v = torch.rand(16, generator=rng).tolist()
        style = clip.style or _pick(self._clips.shared(clip), v[0])
        parts = [_Part(clip.thing, clip.motion or _pick(self._clips.motions[clip.thing], v[1]), place)]
        if (other := self._partner(clip, style, v)) is not None:
            motion = _pick(self._clips.motions[other], v[8])
            parts.append(_Part(other, motion, v[9:13] if self.augment else _MIDDLE, v[13] < 0.5))
        parts[0] = parts[0]._replace(mirrored=v[14] < 0.5)
        called = [_called(self._spoken[part.thing], v[7]) for part in parts]
        says_style = bool(self._styled) and (clip.held == "style" or v[2] >= self.unstyled)
        before = says_style and 0.7 <= v[3] < 0.85  # "3D cat bouncing": no article
        text = self._text(parts, called, way, article=u[5] < 0.3 and not before)
        text = emoji_words.in_style(text, style, v[3]) if says_style else text
        return self._item(parts, style, u[6], self._name(parts, style if says_style else None), text)

    def split(self) -> tuple[Sequence[int], Sequence[int]]:
        """Whole combinations are held out, by a hash of what they say: none of their texts is trained on."""
        if self._mixed:
            return range(self._clips.trained), range(self._clips.trained, len(self))
        ids = [said(self.emoji[c.thing].name, c.motion or "") for c in self._clips.items]
        return held_out(ids, self.share)

    def held_kinds(self) -> dict[str, Sequence[int]]:
        """With styles or pairs, the held-out combinations by their kind: "motion", "style", "pair"."""
        return self._clips.kinds()

    def catalogue(self) -> Catalogue:
        """Each object in each style, standing still; then the pairs that are held out, side by side."""
        pairs = [c for c in self._clips.items[self._clips.trained :] if c.other is not None]
        clips = [*(Clip(k) for k in range(len(self.emoji))), *pairs]
        names = [" and ".join(self.emoji[k].name for k in _things(c)) for c in clips]

        def pictures(thing: int) -> list[Tensor]:
            clip = clips[thing]
            parts = [_Part(k, "still", _MIDDLE) for k in _things(clip)]
            styles = self._clips.shared(clip)[:1] if clip.other is not None else self._pictures.styles(thing)
            return [self._media(parts, style, [0.5])[:, 0] for style in styles]

        known = {name: k for k, name in reversed(list(enumerate(names)))}
        return Catalogue(
            tuple(names),
            pictures,
            lambda name: moving_items.find(known, name, self._styled),
            lambda name: moving_items.best_moment(emoji_words.without_style(name, self._styled)),
            styles=self._styled,
            style=lambda name: emoji_words.style_of(name, self._styled),
        )

    def _clip(self, index: int) -> Clip:
        return self._clips.items[index]

    def _partner(self, clip: Clip, style: str, v: Sequence[float]) -> int | None:
        """The second object, if there is to be one."""
        if clip.other is not None or clip.held is not None:
            return clip.other
        if v[4] >= self.pairs or len(self._pairable) < 2 or not emoji_words.pairs(self.emoji[clip.thing]):
            return None
        first, step = int(v[5] * len(self._pairable)), 1 + int(v[6] * (len(self._pairable) - 1))
        for n in range(_TRIES):
            other = self._pairable[(first + n * step) % len(self._pairable)]
            held = held_pair(self.emoji[clip.thing].name, self.emoji[other].name, self.share)
            if other != clip.thing and not held and style in self._clips.styles[other]:
                return other
        return None

    def _name(self, parts: Sequence[_Part], style: str | None) -> str:
        name = " and ".join(said(self.emoji[p.thing].name, p.motion) for p in parts)
        return name if style is None else emoji_words.with_style(name, style)

    def _text(self, parts: Sequence[_Part], called: Sequence[str], way: int, article: bool) -> str:
        """What moves and how, said in one of three ways; with articles if all can have one."""
        article = article and (not self._mixed or all(plural(name) for name in called))
        names = [with_article(name) if article else name for name in called]
        return " and ".join(f"{n} {MOTIONS[p.motion].says[way]}" for n, p in zip(names, parts, strict=True))

    def _item(self, parts: Sequence[_Part], style: str, moment: float, name: str, text: str) -> Item:
        at = [moment if self.augment else 0.5] if len(self.shape) == 3 else moments(self.shape[1])
        media = self._media(parts, style, at)
        media = media[:, 0] if len(self.shape) == 3 else media
        return Item(media=media, id=name, text=text, label=self.classes.index(parts[0].motion))

    def _media(self, parts: Sequence[_Part], style: str, at: Sequence[float]) -> Tensor:
        """[C, T, H, W] at the given moments."""
        lanes = (ALONE,) if len(parts) == 1 else (LEFT, RIGHT)
        movers = [
            Mover(
                self._pictures.sprite(p.thing, style, mirrored=self.augment and p.mirrored),
                MOTIONS[p.motion],
                p.u,
                lane,
            )
            for p, lane in zip(parts, lanes, strict=True)
        ]
        media = sprites.to_media(compose(movers, at, *self.shape[-2:]), self.shape[0])
        return media if media.shape[1] == len(at) else media.repeat(1, len(at), 1, 1)


def _things(clip: Clip) -> tuple[int, ...]:
    return (clip.thing,) if clip.other is None else (clip.thing, clip.other)


def _pick(some: Sequence[str], u: float) -> str:
    return some[int(u * len(some))]


def _called(names: Sequence[str], u: float) -> str:
    """The first of some names seven times of ten, else any."""
    return names[0] if u < 0.7 else names[int((u - 0.7) / 0.3 * len(names))]
