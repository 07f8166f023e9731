"""Bouncing emoji with their sound: pairs of a video and a sound of the same event, either of which can be made."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image as PillowImage
from torch import Tensor

from multigen.core.noise import stream
from multigen.datasets import Catalogue, Dataset, Item, held_out, sprites
from multigen.datasets.bounces import Course, course, sound
from multigen.datasets.moving_objects import choose
from multigen.errors import MultigenError
from multigen.modalities import Modality
from multigen.modalities.audio import Audio
from multigen.modalities.media import Media
from multigen.modalities.video import Video
from multigen.registry import Given

_KINDS = (False, False, True, False)  # which of the clips of an object float
_WORDS = ("bouncing", "floating")
_SIDE = 0.4  # of the shorter side


class BouncingEmoji(Dataset):
    """Emoji that bounce or float on white, and their sound: a tone as high as the object is, a blow at each impact.

    The modality says which of the two an item's medium is, `condition` is the other: for `audio` a video, for `video` a
    sound, of the same length. Each object has four clips, three that bounce and one that floats; `draw` makes them as
    long, high and springy as it draws. Texts are like "soccer ball bouncing".

    objects      names of emoji; null: the built-in list, `count` of them evenly spread
    augment      `draw` varies the motion, the place and the size; else each item is one clip
    size, frames, fps  of the video that sounds are made for, pixels and frames/s
    rate         Hz, of the sound that videos are made for
    held_out     share of the objects that is kept from training

    MultigenError if a package is missing, a name is unknown or the modality is neither sound nor video.
    """

    def __init__(
        self,
        *,
        modality: Given[Modality],
        objects: tuple[str, ...] | None = None,
        count: int | None = 100,
        augment: bool = True,
        size: int = 32,
        frames: int = 16,
        fps: float = 8.0,
        rate: int = 16000,
        held_out: float = 0.1,
    ) -> None:
        self.shape, self.augment, self.share = modality.shape(), augment, held_out
        if modality.name not in ("audio", "video"):
            raise MultigenError(
                f"data: bouncing emoji are sounds or videos; the modality {modality.name} is neither. "
                "Set modality.name=audio or modality.name=video."
            )
        self.sounds = modality.name == "audio"
        if self.sounds:
            self.video, self.audio = Video(size=size, frames=frames, fps=fps), modality
        else:
            per_second = modality.shape(duration=1000.0)[1] / 1000
            seconds = modality.shape()[1] / per_second
            self.video, self.audio = modality, Audio(rate=rate, seconds=seconds)
        self.fps = self.video.shape(duration=1000.0)[1] / 1000
        self.rate = round(self.audio.shape(duration=1000.0)[1] / 1000)
        self.seconds = self.shape[1] / (self.rate if self.sounds else self.fps)
        self.emoji = choose(objects, count, None, None)
        self._sprites: dict[int, PillowImage.Image] = {}

    def __len__(self) -> int:
        return len(self.emoji) * len(_KINDS)

    def __getitem__(self, index: int) -> Item:
        """One clip, always the same."""
        return self._item(index, stream(0, "bouncing emoji", index))

    def draw(self, index: int, rng: torch.Generator) -> Item:
        """A clip of the object of this kind, its course, place and size drawn from `rng`."""
        return self._item(index, rng) if self.augment else self[index]

    def split(self) -> tuple[Sequence[int], Sequence[int]]:
        """Whole objects are held out, by a hash of their names."""
        return held_out([self.emoji[k // len(_KINDS)].name for k in range(len(self))], self.share)

    def catalogue(self) -> Catalogue:
        """Each object in the middle of a white picture."""
        names = tuple(e.name for e in self.emoji)
        known = {name: k for k, name in enumerate(names)}

        def pictures(thing: int) -> list[Tensor]:
            channels, _, height, width = self.video.shape()
            placed = sprites.place(
                self._sprite(thing), width / 2, height / 2, _SIDE * min(height, width), height, width
            )
            return [sprites.to_media(placed, channels)]

        return Catalogue(names, pictures, lambda name: known.get(name.rpartition(" ")[0]))

    def course_of(self, index: int, rng: torch.Generator) -> Course:
        """The course that `draw` takes of a generator in this state."""
        u = torch.rand(4, generator=rng, dtype=torch.float64).tolist()
        return course(u, self.seconds, floats=_KINDS[index % len(_KINDS)])

    def _item(self, index: int, rng: torch.Generator) -> Item:
        way = self.course_of(index, rng)
        thing, floats = index // len(_KINDS), _KINDS[index % len(_KINDS)]
        video, heard = self._frames(thing, way, rng), sound(way, self.rate, self._samples, rng)
        heard = heard.expand(self.audio.shape()[0], -1).contiguous()
        pair = Media(video, self.video), Media(heard, self.audio)
        condition, media = pair if self.sounds else pair[::-1]
        name = f"{self.emoji[thing].name} {_WORDS[floats]}"
        return Item(media=media.tensor, id=name, text=name, condition=condition)

    @property
    def _samples(self) -> int:
        return self.audio.shape()[1] if self.sounds else round(self.seconds * self.rate)

    def _frames(self, thing: int, way: Course, rng: torch.Generator) -> Tensor:
        """[C, T, H, W]: each frame shows the middle of the time for which it is seen."""
        channels, count, height, width = (
            self.video.shape(duration=self.seconds) if self.sounds else self.shape
        )
        u = torch.rand(3, generator=rng).tolist()
        unit = min(height, width)
        side = (_SIDE + 0.06 * (u[0] - 0.5)) * unit
        times = (torch.arange(count, dtype=torch.float64) + 0.5) / self.fps
        heights = way.height(times).tolist()
        ground, top = height - 0.5 - side / 2, 0.5 + side / 2
        # Sideways at a steady speed, within the picture.
        room = width - side - 1
        first, last = (0.5 + side / 2 + room * (0.5 + 0.7 * (v - 0.5)) for v in u[1:])
        sprite = sprites.shrink(self._sprite(thing), side)
        frames = [
            sprites.place(
                sprite,
                first + (last - first) * k / max(count - 1, 1),
                ground + (top - ground) * h,
                side,
                height,
                width,
            )
            for k, h in enumerate(heights)
        ]
        return sprites.to_media(np.stack(frames), channels)

    def _sprite(self, thing: int) -> PillowImage.Image:
        if thing not in self._sprites:
            self._sprites[thing] = sprites.load(self.emoji[thing].file)
        return self._sprites[thing]
