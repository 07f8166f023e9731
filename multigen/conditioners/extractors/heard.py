"""What is heard in sounds: onsets and loudness, the pitch, and the energy of bands, a hundred times a second."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from multigen.conditioners.extractors import Extractor, check_axes
from multigen.modalities import TIME, Modality
from multigen.modalities.pace import per_second
from multigen.registry import Given

STEPS = 100  # a second
_WINDOW = 0.04  # s
_FLOOR = 1e-3  # of amplitude, 60 dB under full scale
_HEARD = 1e-2  # of a band that can begin: what is quieter than 40 dB under full scale is noise
_EDGE = 3  # hundredths of a second at each end, in which half a window and more is beyond the sound
_COUNT = 24  # bands in which onsets are sought
_LOW, _HIGH = 100.0, 1600.0  # Hz, of a pitch
_RISE = math.log(2.0)  # of a band's amplitude, that counts as an onset in full


class _Sound(Extractor):
    """Sounds of one rate, as magnitudes a hundred times a second."""

    axes = (TIME,)

    def __init__(self, modality: Modality, name: str) -> None:
        super().__init__()
        check_axes(modality, ((TIME,),), name)
        self.rate = per_second(modality)


class Onsets(_Sound):
    """Where something begins, and how loud it is: two numbers, a hundred times a second. Computed.

    The first is the share of all bands that become louder at once (0 to 1), which a tone that glides does not reach.
    """

    width = 2

    def __init__(self, *, modality: Given[Modality]) -> None:
        super().__init__(modality, "onsets")

    def forward(self, media: Tensor) -> Tensor:
        """[B, C, N] -> [B, 2, N * 100 / rate]."""
        sound = media.mean(1)
        levels = bands(sound, self.rate, _COUNT)
        loud = levels.exp().square().mean(1).sqrt().log() / -math.log(_FLOOR) + 1
        return torch.stack([onset_strength(sound, self.rate), loud], 1)


class Pitch(_Sound):
    """The pitch, in octaves around 400 Hz, and how clear it is: two numbers, a hundred times a second. Computed."""

    width = 2

    def __init__(self, *, modality: Given[Modality]) -> None:
        super().__init__(modality, "pitch")

    def forward(self, media: Tensor) -> Tensor:
        """[B, C, N] -> [B, 2, N * 100 / rate]."""
        hertz, clear = pitch(media.mean(1), self.rate)
        return torch.stack([(hertz / 400).log2() / 2 * clear, clear], 1)


class Bands(_Sound):
    """The loudness of bands of frequency, a hundred times a second. Computed.

    count  of the bands, from 60 Hz to half the rate, evenly spaced in octaves
    """

    def __init__(self, *, modality: Given[Modality], count: int = 16) -> None:
        super().__init__(modality, "bands")
        if count < 1:
            raise ValueError(f"count: {count} is not allowed. Allowed: 1 or more.")
        self.width = count

    def forward(self, media: Tensor) -> Tensor:
        """[B, C, N] -> [B, count, N * 100 / rate]."""
        return bands(media.mean(1), self.rate, self.width) / -math.log(_FLOOR) * 2 + 1


def bands(sound: Tensor, rate: float, count: int, floor: float = _FLOOR) -> Tensor:
    """[B, N] -> log amplitudes [B, count, N * 100 / rate] of bands, from 60 Hz up; silence is log(floor)."""
    power = _spectrum(sound, rate)
    edges = torch.logspace(math.log10(60.0), math.log10(rate / 2), count + 1, dtype=torch.float64)
    hertz = torch.arange(power.shape[1], dtype=torch.float64) * (rate / 2 / (power.shape[1] - 1))
    inside = ((hertz >= edges[:-1, None]) & (hertz < edges[1:, None])).float()
    # A band between two places of the spectrum takes the nearest.
    nearest = (hertz - (edges[:-1, None] * edges[1:, None]).sqrt()).abs().argmin(1)
    inside[torch.arange(count), nearest] = 1.0
    energy = inside.to(power) @ power
    return (energy.sqrt() + floor).log()


def onset_strength(sound: Tensor, rate: float) -> Tensor:
    """[B, N] -> share of the bands that rise at once [B, N * 100 / rate]: a doubling within 30 ms counts in full.

    A rise counts above 40 dB under full scale. 0 where the window reaches beyond the sound, whose ends are no onsets.
    """
    levels = bands(sound, rate, _COUNT, _HEARD)
    before = torch.nn.functional.pad(levels, (3, 0), mode="replicate")[..., : levels.shape[2]]
    strength = ((levels - before) / _RISE).clamp(0, 1).mean(1)
    inside = torch.zeros_like(strength)
    inside[:, _EDGE:-_EDGE] = 1.0
    return strength * inside


def pitch(sound: Tensor, rate: float) -> tuple[Tensor, Tensor]:
    """[B, N] -> the fundamental in Hz and how clear it is (0 to 1), each [B, N * 100 / rate].

    The lag of the largest peak of the normalised autocorrelation, between 100 and 1600 Hz.
    """
    frames, steps = _frames(sound, rate, 2 * _WINDOW)
    size = 2 * frames.shape[-1]
    spectrum = torch.fft.rfft(frames * torch.hann_window(frames.shape[-1]).to(frames), size).abs().square()
    auto = torch.fft.irfft(spectrum, size)
    first, last = int(rate / _HIGH), int(rate / _LOW)
    window = torch.fft.irfft(
        torch.fft.rfft(torch.hann_window(frames.shape[-1]).to(frames), size).abs().square(), size
    )
    normal = auto[..., : last + 2] / auto[..., :1].clamp_min(1e-9) * (window[0] / window[: last + 2])
    some = normal[..., first : last + 1]
    peak = (some >= normal[..., first - 1 : last]) & (some >= normal[..., first + 1 : last + 2])
    # Multiples of the period are as high: the first peak that comes near the highest is meant.
    best = some.where(peak, -1.0).amax(-1, keepdim=True)
    lag = (peak & (some >= 0.85 * best)).float().argmax(-1)
    clear = some.gather(-1, lag[..., None])[..., 0].clamp(0, 1)
    loud = frames.square().mean(-1).sqrt() > _FLOOR
    return (rate / (lag + first)).unflatten(0, (len(sound), steps)), (clear * loud).unflatten(
        0, (len(sound), steps)
    )


def _frames(sound: Tensor, rate: float, seconds: float) -> tuple[Tensor, int]:
    """[B, N] -> windows [B * T, S] around each hundredth of a second; T.

    Beyond its ends there is silence.
    """
    steps = max(1, round(sound.shape[1] / rate * STEPS))
    length = max(64, round(seconds * rate))
    starts = ((torch.arange(steps) + 0.5) / STEPS * rate).round().long()
    padded = torch.nn.functional.pad(sound, (length // 2, length))
    places = starts[:, None] + torch.arange(length)
    return padded[:, places.clamp_max(padded.shape[1] - 1)].flatten(0, 1), steps


def _spectrum(sound: Tensor, rate: float) -> Tensor:
    """[B, N] -> power [B, F, T]."""
    frames, steps = _frames(sound, rate, _WINDOW)
    window = torch.hann_window(frames.shape[-1]).to(frames)
    power = (torch.fft.rfft(frames * window) * (2 / window.sum())).abs().square()
    return power.unflatten(0, (len(sound), steps)).transpose(1, 2)
