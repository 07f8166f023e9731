"""Moving emoji: an object that moves in one of eight directions, or stands still, and a text that says so."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image as PillowImage
from torch import Tensor

from multigen.datasets import NO_FAULTS, Catalogue, Item, held_out, sprites
from multigen.datasets.nouns import with_article
from multigen.errors import MultigenError
from multigen.modalities import Modality
from multigen.registry import Given

# What reads well at 18 pixels: emoji's short name -> what a text calls it.
OBJECTS = {
    "apple": "red apple", "green apple": "green apple", "banana": "banana", "strawberry": "strawberry",
    "watermelon": "watermelon", "lemon": "lemon", "tangerine": "tangerine", "pear": "pear", "peach": "peach",
    "pineapple": "pineapple", "tomato": "tomato", "eggplant": "eggplant", "carrot": "carrot", "corn": "corn cob",
    "broccoli": "broccoli", "avocado": "avocado", "mushroom": "red mushroom", "croissant": "croissant",
    "hamburger": "hamburger", "pizza": "slice of pizza", "hotdog": "hot dog", "taco": "taco", "egg": "egg",
    "doughnut": "doughnut", "cookie": "cookie", "birthday": "birthday cake", "cupcake": "cupcake",
    "lollipop": "lollipop", "icecream": "ice cream cone", "coffee": "cup of coffee", "beer": "beer mug",
    "crab": "crab", "lobster": "lobster", "octopus": "octopus", "fish": "blue fish", "tropical fish": "tropical fish",
    "whale": "whale", "dolphin": "dolphin", "turtle": "turtle", "snail": "snail", "butterfly": "butterfly",
    "bee": "bee", "ladybug": "ladybug", "spider": "spider", "frog": "frog", "cat": "cat", "dog": "dog",
    "fox face": "fox", "lion face": "lion", "tiger": "tiger", "bear": "bear", "panda face": "panda",
    "koala": "koala", "pig": "pig", "cow": "cow", "mouse": "mouse", "rabbit": "rabbit", "monkey face": "monkey",
    "chicken": "chicken", "penguin": "penguin", "owl": "owl", "duck": "duck", "baby chick": "baby chick",
    "elephant": "elephant", "unicorn face": "unicorn", "rose": "rose", "tulip": "tulip", "sunflower": "sunflower",
    "cactus": "cactus", "evergreen tree": "fir tree", "palm tree": "palm tree", "maple leaf": "maple leaf",
    "four leaf clover": "clover", "car": "red car", "blue car": "blue car", "taxi": "yellow taxi", "bus": "bus",
    "fire engine": "fire engine", "tractor": "tractor", "airplane": "airplane", "rocket": "rocket",
    "helicopter": "helicopter", "boat": "sailboat", "flying saucer": "flying saucer", "sunny": "sun",
    "crescent moon": "crescent moon", "star": "star", "rainbow": "rainbow", "zap": "lightning bolt",
    "snowman": "snowman", "fire": "fire", "droplet": "water drop", "umbrella": "umbrella", "soccer": "soccer ball",
    "basketball": "basketball", "tennis": "tennis ball", "baseball": "baseball", "football": "american football",
    "8ball": "billiard ball", "balloon": "balloon", "gift": "gift", "heart": "red heart", "blue heart": "blue heart",
    "green heart": "green heart", "crown": "crown", "gem": "gem", "key": "key", "bell": "bell", "bomb": "bomb",
    "bulb": "light bulb", "alarm clock": "alarm clock", "trophy": "trophy", "guitar": "guitar",
    "drum with drumsticks": "drum",
    "ghost": "ghost", "skull": "skull", "robot face": "robot", "alien": "alien", "grinning": "smiley",
    "jack o lantern": "pumpkin", "tophat": "top hat", "anchor": "anchor", "earth americas": "globe",
}  # fmt: skip

# Name -> step (x to the right, y down) and ways to say it after the object's name.
DIRECTIONS: dict[str, tuple[tuple[int, int], tuple[str, ...]]] = {
    "left": ((-1, 0), ("moving left", "moves to the left", "moving to the left")),
    "right": ((1, 0), ("moving right", "moves to the right", "moving to the right")),
    "up": ((0, -1), ("moving up", "moves up", "rising")),
    "down": ((0, 1), ("moving down", "moves down", "sinking")),
    "up left": ((-1, -1), ("moving up and left", "moves up and to the left", "moving diagonally up left")),
    "up right": ((1, -1), ("moving up and right", "moves up and to the right", "moving diagonally up right")),
    "down left": (
        (-1, 1),
        ("moving down and left", "moves down and to the left", "moving diagonally down left"),
    ),
    "down right": (
        (1, 1),
        ("moving down and right", "moves down and to the right", "moving diagonally down right"),
    ),
    "still": ((0, 0), ("standing still", "stays still", "not moving")),
}
_SIDE, _WAY = 0.56, 0.5  # of the frame's shorter side: the sprite's side and the way that it goes
_DIAGONAL = 0.85  # of the way, along each axis


class MovingEmoji:
    """An item for each pair of an object and a direction: `index = object * 9 + direction`.

    The object crosses the middle of a white frame at a steady speed, subpixel smooth, and is never less than mostly
    visible; x grows to the right and y downwards. Labels are the directions, texts like "red apple moving left".
    `objects` names which ones (any emoji's name; null: the built-in list), `count` how many of them, evenly
    spread. `augment`: `draw` varies size, speed and place. `held_out`: share of the pairs that `split` keeps from
    training; every object and every direction is still seen, in other pairs.
    For a modality of pictures the items are frames: the middle one, or one drawn. What is learnt from them is where
    a video may start (`train.init`).
    MultigenError if a package is missing, a name is unknown or the modality is neither.
    """

    classes = tuple(DIRECTIONS)
    bad = NO_FAULTS
    holds_out = "captions"

    def __init__(
        self,
        *,
        modality: Given[Modality],
        objects: tuple[str, ...] | None = None,
        count: int | None = 100,
        augment: bool = True,
        held_out: float = 0.1,
    ) -> None:
        self.shape = modality.shape()
        if modality.name not in ("video", "image"):
            raise MultigenError(
                f"data: moving emoji are videos or their frames; the modality {modality.name} is neither"
            )
        self.augment, self.share = augment, held_out
        self.objects = _select(objects, count)
        self._sprites: dict[int, PillowImage.Image] = {}

    def __len__(self) -> int:
        return len(self.objects) * len(DIRECTIONS)

    def __getitem__(self, index: int) -> Item:
        """The middle size, speed and path; the text is "<object> <first way to say the direction>"."""
        return self._item(index, [0.5] * 5, 0)

    def draw(self, index: int, rng: torch.Generator) -> Item:
        """Size, speed, path and words drawn from `rng`."""
        u = torch.rand(7, generator=rng).tolist()
        words = int(u[4] * 3)
        place = [*u[:4], u[6]] if self.augment else [0.5] * 5
        return self._item(index, place, words, article=u[5] < 0.5)

    def split(self) -> tuple[Sequence[int], Sequence[int]]:
        """Whole pairs are held out, by a hash of the first text: none of their texts is trained on."""
        return held_out([self._name(i) for i in range(len(self))], self.share)

    def catalogue(self) -> Catalogue:
        """Each object, standing still."""
        still = self.classes.index("still")

        def pictures(thing: int) -> list[Tensor]:
            media = self[thing * len(DIRECTIONS) + still]["media"]
            return [media if media.ndim == 3 else media[:, 0]]

        known = {self._name(i): i // len(DIRECTIONS) for i in range(len(self))}
        return Catalogue(tuple(name for name, _ in self.objects), pictures, known.get)

    def _name(self, index: int) -> str:
        thing, direction = divmod(index, len(DIRECTIONS))
        return f"{self.objects[thing][0]} {DIRECTIONS[self.classes[direction]][1][0]}"

    def _item(self, index: int, u: Sequence[float], words: int, article: bool = False) -> Item:
        thing, direction = divmod(index, len(DIRECTIONS))
        step, says = DIRECTIONS[self.classes[direction]]
        name = self.objects[thing][0]
        text = f"{with_article(name) if article else name} {says[words]}"
        media = sprites.to_media(self._frames(thing, step, u), self.shape[0])
        return Item(media=media, id=self._name(index), text=text, label=direction)

    def _frames(self, thing: int, step: tuple[int, int], u: Sequence[float]) -> np.ndarray:
        """Premultiplied uint8 [(T,) H, W, 4] of the object on its way; `u`: size, way, place (x, y), moment."""
        height, width = self.shape[-2:]
        unit = min(height, width)
        side = (_SIDE + 0.08 * (u[0] - 0.5)) * unit
        way = (_WAY + 0.12 * (u[1] - 0.5)) * unit * (_DIAGONAL if all(step) else 1)
        slack = 0.6 * (unit - side)  # within which the middle of the way may lie
        x = width / 2 + slack * (u[2] - 0.5) * (0.25 if step[0] else 1)
        y = height / 2 + slack * (u[3] - 0.5) * (0.25 if step[1] else 1)
        if thing not in self._sprites:
            self._sprites[thing] = sprites.load(self.objects[thing][1].file)
        sprite = sprites.shrink(self._sprites[thing], side)

        def at(share: float) -> np.ndarray:
            return sprites.place(
                sprite, x + way * step[0] * share, y + way * step[1] * share, side, height, width
            )

        if len(self.shape) == 3:
            return at(u[4] - 0.5)
        frames = self.shape[1]
        if step == (0, 0):
            return np.broadcast_to(at(0), (frames, height, width, 4))
        return np.stack([at(k / max(1, frames - 1) - 0.5) for k in range(frames)])


def _select(objects: tuple[str, ...] | None, count: int | None) -> list[tuple[str, sprites.Emoji]]:
    """Text names and emoji of a selection."""
    emoji = sprites.all_emoji()
    known = {name: short for short, name in OBJECTS.items()}
    names = list(OBJECTS.values()) if objects is None else list(dict.fromkeys(objects))
    if not names:
        raise ValueError("objects: none are named")
    if count is not None and objects is None:
        if count < 1:
            raise ValueError(f"count: {count!r} is not allowed. Allowed: 1 or more.")
        kept = min(count, len(names))
        names = [names[i * len(names) // kept] for i in range(kept)]
    return [(name, sprites.choose(emoji, known.get(name, name), "data.objects")) for name in names]
