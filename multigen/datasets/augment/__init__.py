"""Augmentation of media: `Augment` draws the amounts; pure functions for pictures and sound apply them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from multigen.datasets.augment import pictures
from multigen.datasets.augment import sound as sounds

PICTURE = ("flip", "crop", "hue", "brightness", "contrast", "turn")
SOUND = ("time_stretch", "pitch", "gain")


def uniform(low: float, high: float, rng: torch.Generator) -> float:
    """One number in [low, high)."""
    return low + (high - low) * torch.rand((), generator=rng).item()


@dataclass(frozen=True)
class Augment:
    """Ranges of augmentation; the defaults change nothing.

    flip          mirror half of the items left to right
    crop          least share of the picture's area that a crop keeps
    hue           degrees in either direction
    brightness    share of the full range in either direction
    contrast      factor 1 ± this
    time_stretch  share by which a sound is faster or slower at most
    pitch         semitones in either direction
    gain          dB in either direction
    turn          turn equirectangular pictures by any angle about the vertical: what leaves on one side comes in on the
                  other. Media of another shape than is trained at are refused
    """

    flip: bool = False
    crop: float = 1.0
    hue: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    time_stretch: float = 0.0
    pitch: float = 0.0
    gain: float = 0.0
    turn: bool = False

    def __post_init__(self) -> None:
        bounds = {"hue": 180, "brightness": 1, "contrast": 1, "time_stretch": 1, "pitch": 24, "gain": 60}
        values = asdict(self)
        for name, most in bounds.items():
            value = values[name]
            if not 0 <= value <= most:
                raise ValueError(f"{name}: {value!r} is not allowed. Allowed: 0 to {most}.")
        if not 0 < self.crop <= 1:
            raise ValueError(
                f"crop: {self.crop!r} is not allowed. Allowed: above 0, to 1 (the whole picture)."
            )

    def check(self, allowed: tuple[str, ...], channels: int, name: str) -> None:
        """ValueError for settings outside `allowed` (`PICTURE` or `SOUND`) of the modality called `name`."""
        defaults = asdict(Augment())
        for setting, value in asdict(self).items():
            if setting not in allowed and value != defaults[setting]:
                fitting = ", ".join(allowed) or "no augmentation"
                raise ValueError(f"{setting}: does not apply to {name}. Allowed: {fitting}.")
        if self.hue and channels < 3:
            raise ValueError(f"hue: needs 3 colour channels; this {name} has {channels}.")

    def draw_speed(self, rng: torch.Generator) -> float:
        """A speed, with equal chances for faster and slower."""
        if not self.time_stretch:
            return 1.0
        most = math.log1p(self.time_stretch)
        return math.exp(uniform(-most, most, rng))

    def crop_picture(self, media: Tensor, rng: torch.Generator) -> Tensor:
        """[..., H, W] at its own size -> a random crop, to be resized."""
        return pictures.crop(media, uniform(self.crop, 1.0, rng), rng) if self.crop < 1 else media

    def change_picture(self, media: Tensor, rng: torch.Generator) -> Tensor:
        """Turn, flip and change hue, contrast and brightness of [C, ..., H, W] at its final size.

        Alpha is turned and flipped alone.
        """
        if self.turn:
            media = media.roll(int(uniform(0, media.shape[-1], rng)), -1)
        if self.flip and uniform(0, 1, rng) < 0.5:
            media = pictures.flip(media)
        media, alpha = (media[:3], media[3:]) if len(media) == 4 else (media, None)
        if self.hue:
            media = pictures.rotate_hue(media, uniform(-self.hue, self.hue, rng))
        if self.contrast:
            media = pictures.contrast(media, 1 + uniform(-self.contrast, self.contrast, rng))
        if self.brightness:
            # The full range is 2 wide.
            media = pictures.brightness(media, 2 * uniform(-self.brightness, self.brightness, rng))
        return media if alpha is None else torch.cat([media, alpha])

    def change_sound(self, sound: Tensor, speed: float, rate: float, rng: torch.Generator) -> Tensor:
        """Change speed, pitch and gain: [C, N] -> [C, round(N / speed)]; `rate` in Hz."""
        semitones = uniform(-self.pitch, self.pitch, rng) if self.pitch else 0.0
        sound = sounds.warp(sound, rate=rate, speed=speed, semitones=semitones)
        return sounds.gain(sound, uniform(-self.gain, self.gain, rng)) if self.gain else sound
