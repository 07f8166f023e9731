"""Augmentation of sound [C, N] in [-1, 1]: gain, speed and pitch."""

from __future__ import annotations

import math
from fractions import Fraction

import torch
from torch import Tensor
from torch.nn import functional

from multigen.storage.torchaudio_shim import import_torchaudio

# Window of the phase vocoder, long enough to separate the notes of a chord; rounded to 2**n samples.
_WINDOW_SECONDS = 0.093


def gain(sound: Tensor, decibels: float) -> Tensor:
    """Change the level by `decibels`, but not beyond full scale: a positive gain stops at a peak of 1."""
    factor = 10 ** (decibels / 20)
    peak = sound.abs().max().item() if sound.numel() else 0.0
    return sound * (min(factor, max(1.0, 1 / peak)) if factor > 1 and peak > 0 else factor)


def warp(sound: Tensor, *, rate: float, speed: float = 1.0, semitones: float = 0.0) -> Tensor:
    """Change speed and pitch independently: [C, N] -> [C, round(N / speed)].

    rate       sampling rate in Hz
    speed      2 is twice as fast
    semitones  how much higher the pitch becomes, right to 3 cents

    A phase vocoder (Flanagan & Golden 1966; Laroche & Dolson 1999) changes the length, then resampling changes pitch
    and length together. ValueError for a speed of 0 or less.
    """
    if speed <= 0:
        raise ValueError(f"speed: {speed} is not allowed. Allowed: above 0.")
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
    """Raise the pitch at the same speed: [C, N] -> [C, N]. 12 semitones double the frequency."""
    return warp(sound, rate=rate, semitones=semitones)


def time_stretch(sound: Tensor, speed: float, *, rate: float) -> Tensor:
    """Change the speed at the same pitch: [C, N] -> [C, round(N / speed)]."""
    return warp(sound, rate=rate, speed=speed)


def _vocode(sound: Tensor, speed: float, rate: float) -> Tensor:
    """The phase vocoder: [C, N] -> [C, round(N / speed)] at the same pitch."""
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
    # The phase of each bin advances by its frequency: that of the bin over a hop, plus a rest within half a turn.
    advance = torch.linspace(0, math.pi * hop, size // 2 + 1, dtype=torch.float64)[:, None]
    rest = angle_of[..., place + 1] - angle - (advance % math.tau).float()
    turns = rest - math.tau * torch.round(rest / math.tau) + advance
    phase = torch.cat([angle[..., :1].double(), turns[..., :-1]], -1).cumsum(-1) % math.tau
    here = size_of[..., place]
    magnitude = torch.lerp(here, size_of[..., place + 1], (times - place).float())
    stretched = torch.polar(magnitude, _locked(phase.float(), here, angle))
    return torch.istft(stretched, size, hop, window=window, length=max(1, round(sound.shape[-1] / speed)))


def _locked(phase: Tensor, size: Tensor, angle: Tensor) -> Tensor:
    """Identity phase locking (Laroche & Dolson 1999, section III-B): phases [C, F, T].

    Each bin keeps its phase relative to the nearest peak of the spectrum; without this a tone loses up to 13% of its
    level. `size` and `angle` are magnitude and phase of the spectrum before stretching.
    """
    bins = size.shape[-2]
    around = functional.pad(size, (0, 0, 2, 2), value=-1.0)
    is_peak = torch.stack([size >= around[:, k : k + bins] for k in (0, 1, 3, 4)]).all(0)
    index = torch.arange(bins)[:, None].expand_as(size)
    below = torch.where(is_peak, index, -bins).cummax(-2).values
    above = torch.where(is_peak, index, 2 * bins).flip(-2).cummin(-2).values.flip(-2)
    peak = torch.where(index - below <= above - index, below, above)
    return angle + (phase - angle).gather(-2, peak)
