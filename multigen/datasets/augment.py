"""Augmentation of media in [-1, 1]: pure functions, and `Augment`, which draws their amounts.

Pictures are [C, H, W] and video [C, T, H, W]: both are handled by their last two axes, so that a whole clip
gets what was drawn once. Sound is [C, N].
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor
from torch.nn import functional

from multigen.storage.torchaudio_shim import import_torchaudio

PICTURE = ("flip", "crop", "hue", "brightness", "contrast")
SOUND = ("time_stretch", "pitch", "gain")
# The window of the phase vocoder, long enough to part the notes of a chord; rounded to 2**n samples.
_WINDOW_SECONDS = 0.093


def uniform(low: float, high: float, rng: torch.Generator) -> float:
    """One number in [low, high)."""
    return low + (high - low) * torch.rand((), generator=rng).item()


# --- pictures and clips -------------------------------------------------------------------------------------


def flip(media: Tensor) -> Tensor:
    """Left for right: [..., H, W] -> [..., H, W]."""
    return media.flip(-1)


def crop(media: Tensor, share: float, rng: torch.Generator) -> Tensor:
    """A box of `share` of the area, at a random place and of the same aspect: [..., H, W] -> [..., h, w]."""
    height, width = media.shape[-2:]
    h, w = (max(1, round(side * math.sqrt(share))) for side in (height, width))
    top = int(torch.randint(height - h + 1, (), generator=rng))
    left = int(torch.randint(width - w + 1, (), generator=rng))
    return media[..., top : top + h, left : left + w]


def rotate_hue(media: Tensor, degrees: float) -> Tensor:
    """Rotate the hue of [3, ..., H, W] in HSV: 120 degrees turn red into green; value and chroma stay."""
    if media.shape[0] != 3:
        raise ValueError(f"hue needs 3 colour channels, not {media.shape[0]}")
    red, green, blue = media.unbind(0)
    high, low = media.amax(0), media.amin(0)
    chroma = high - low
    safe = torch.where(chroma > 0, chroma, torch.ones_like(chroma))
    sixth = torch.where(
        high == red,
        (green - blue) / safe,
        torch.where(high == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    sixth = sixth + degrees / 60
    # Each channel falls from the largest value, by as much of the chroma as its corner is from the hue.
    corners = [(corner + sixth) % 6 for corner in (5, 3, 1)]
    return torch.stack([high - chroma * torch.minimum(k, 4 - k).clamp(0, 1) for k in corners])


def brightness(media: Tensor, by: float) -> Tensor:
    """Add `by` (in units of [-1, 1]), kept within range."""
    return (media + by).clamp(-1, 1)


def contrast(media: Tensor, factor: float) -> Tensor:
    """Scale about the mean of the whole, kept within range."""
    mean = media.mean()
    return (mean + (media - mean) * factor).clamp(-1, 1)


# --- sound --------------------------------------------------------------------------------------------------


def gain(sound: Tensor, decibels: float) -> Tensor:
    """Louder or softer by `decibels`, but never beyond full scale: a positive gain ends at a peak of 1."""
    factor = 10 ** (decibels / 20)
    peak = sound.abs().max().item() if sound.numel() else 0.0
    return sound * (min(factor, max(1.0, 1 / peak)) if factor > 1 and peak > 0 else factor)


def warp(sound: Tensor, *, rate: float, speed: float = 1.0, semitones: float = 0.0) -> Tensor:
    """Play at `speed` and raise the pitch by `semitones`, each on its own: [C, N] -> [C, round(N / speed)].

    A phase vocoder (Flanagan & Golden 1966; Laroche & Dolson 1999) changes the length, resampling then
    changes pitch and length together. `rate` is the sampling rate in Hz. The pitch is right to 3 cents.
    """
    if speed <= 0:
        raise ValueError(f"speed must be above 0, not {speed}")
    length = max(1, round(sound.shape[-1] / speed))
    ratio = Fraction(2 ** (semitones / 12)).limit_denominator(256)
    if speed == 1 and ratio == 1:
        return sound
    resample = import_torchaudio().functional.resample
    out = _vocode(sound, speed / float(ratio), rate)
    if ratio != 1:
        out = resample(out, ratio.numerator, ratio.denominator)
    return functional.pad(out[..., :length], (0, max(0, length - out.shape[-1])))


def pitch_shift(sound: Tensor, semitones: float, *, rate: float) -> Tensor:
    """[C, N] -> [C, N], `semitones` higher (12 double the frequency) at the same speed."""
    return warp(sound, rate=rate, semitones=semitones)


def time_stretch(sound: Tensor, speed: float, *, rate: float) -> Tensor:
    """[C, N] -> [C, round(N / speed)] at the same pitch."""
    return warp(sound, rate=rate, speed=speed)


def _vocode(sound: Tensor, speed: float, rate: float) -> Tensor:
    """[C, N] -> [C, round(N / speed)] at the same pitch."""
    if speed == 1:
        return sound
    size = 2 ** max(4, round(math.log2(rate * _WINDOW_SECONDS)))
    hop = size // 4
    window = torch.hann_window(size)
    frames = torch.stft(
        sound, size, hop, window=window, pad_mode="constant", return_complex=True
    )  # [C, F, T]
    times = torch.arange(0, frames.shape[-1], speed, dtype=torch.float64)
    place = times.long()
    frames = functional.pad(frames, (0, 2))
    size_of, angle_of = frames.abs(), frames.angle()
    angle = angle_of[..., place]
    # Each bin advances by its own frequency: what a hop advances it by, and the rest within half a turn.
    advance = torch.linspace(0, math.pi * hop, size // 2 + 1, dtype=torch.float64)[:, None]
    rest = angle_of[..., place + 1] - angle - (advance % math.tau).float()
    turns = rest - math.tau * torch.round(rest / math.tau) + advance
    phase = torch.cat([angle[..., :1].double(), turns[..., :-1]], -1).cumsum(-1) % math.tau
    here = size_of[..., place]
    magnitude = torch.lerp(here, size_of[..., place + 1], (times - place).float())
    stretched = torch.polar(magnitude, _locked(phase.float(), here, angle))
    return torch.istft(stretched, size, hop, window=window, length=max(1, round(sound.shape[-1] / speed)))


def _locked(phase: Tensor, size: Tensor, angle: Tensor) -> Tensor:
    """Phases [C, F, T] in which each bin keeps its phase relative to the nearest peak of the spectrum.

    `size` and `angle` are those of the spectrum before stretching. Identity phase locking (Laroche & Dolson 1999,
    section III-B); without it a tone loses up to 13% of its level.
    """
    bins = size.shape[-2]
    around = functional.pad(size, (0, 0, 2, 2), value=-1.0)
    is_peak = torch.stack([size >= around[:, k : k + bins] for k in (0, 1, 3, 4)]).all(0)
    index = torch.arange(bins)[:, None].expand_as(size)
    below = torch.where(is_peak, index, -bins).cummax(-2).values
    above = torch.where(is_peak, index, 2 * bins).flip(-2).cummin(-2).values.flip(-2)
    peak = torch.where(index - below <= above - index, below, above)
    return angle + (phase - angle).gather(-2, peak)


# --- what a recipe sets -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Augment:
    """Ranges to draw from; the defaults change nothing.

    flip: half of the items mirrored left to right · crop: least share of the picture's area that is kept ·
    hue: degrees either way · brightness: share of full range either way · contrast: factor 1 ± this ·
    time_stretch: up to this share faster or slower · pitch: semitones either way · gain: dB either way
    """

    flip: bool = False
    crop: float = 1.0
    hue: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    time_stretch: float = 0.0
    pitch: float = 0.0
    gain: float = 0.0

    def __post_init__(self) -> None:
        bounds = {"hue": 180, "brightness": 1, "contrast": 1, "time_stretch": 1, "pitch": 24, "gain": 60}
        for name, most in bounds.items():
            value = getattr(self, name)
            if not 0 <= value <= most:
                raise ValueError(f"{name}: {value!r} is not allowed. Allowed: 0 to {most}.")
        if not 0 < self.crop <= 1:
            raise ValueError(
                f"crop: {self.crop!r} is not allowed. Allowed: above 0, to 1 (the whole picture)."
            )

    def check(self, allowed: tuple[str, ...], channels: int, name: str) -> None:
        """ValueError for settings outside `allowed` (`PICTURE`, `SOUND`), those of the modality called `name`."""
        for setting in (*PICTURE, *SOUND):
            if setting not in allowed and getattr(self, setting) != getattr(Augment(), setting):
                fitting = ", ".join(allowed) or "no augmentation"
                raise ValueError(f"{setting}: does not apply to {name}. Allowed: {fitting}.")
        if self.hue and channels != 3:
            raise ValueError(f"hue: needs 3 colour channels; this {name} has {channels}.")

    def draw_speed(self, rng: torch.Generator) -> float:
        """How much faster to play, as likely faster as slower."""
        if not self.time_stretch:
            return 1.0
        most = math.log1p(self.time_stretch)
        return math.exp(uniform(-most, most, rng))

    def cropped(self, media: Tensor, rng: torch.Generator) -> Tensor:
        """[..., H, W] at its own size -> a random part of it, to be resized."""
        return crop(media, uniform(self.crop, 1.0, rng), rng) if self.crop < 1 else media

    def coloured(self, media: Tensor, rng: torch.Generator) -> Tensor:
        """[C, ..., H, W] at its final size: flip, hue, contrast, brightness."""
        if self.flip and uniform(0, 1, rng) < 0.5:
            media = flip(media)
        if self.hue:
            media = rotate_hue(media, uniform(-self.hue, self.hue, rng))
        if self.contrast:
            media = contrast(media, 1 + uniform(-self.contrast, self.contrast, rng))
        if self.brightness:
            # The full range is 2 wide.
            media = brightness(media, 2 * uniform(-self.brightness, self.brightness, rng))
        return media

    def voiced(self, sound: Tensor, speed: float, rate: float, rng: torch.Generator) -> Tensor:
        """[C, N] -> [C, round(N / speed)]: speed, pitch, gain. `rate` in Hz."""
        semitones = uniform(-self.pitch, self.pitch, rng) if self.pitch else 0.0
        sound = warp(sound, rate=rate, speed=speed, semitones=semitones)
        return gain(sound, uniform(-self.gain, self.gain, rng)) if self.gain else sound
