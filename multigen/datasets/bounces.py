"""How a thing bounces or floats, and what that sounds like: heights, impacts and samples, from the same numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

LOW, OCTAVES = 220.0, 2.0  # Hz on the ground; octaves that the pitch rises to the top
_LEAST = 0.2  # of the full height: what would rise less stays on the ground
_HARMONICS = (1.0, 0.4, 0.2)
_TONE, _BLOW = 0.12, 0.55  # amplitudes
_DECAY = 0.035  # s
_THUMP = 90.0  # Hz
_FADE = 0.01  # s


@dataclass(frozen=True)
class Bounce:
    """A thing under gravity that bounces on the ground, over `seconds`.

    apex      height of its first flight, 0 (the ground) to 1
    flight    s that a flight to the height 1 takes
    kept      height of each flight as a share of the one before
    begun     how much of its first flight is over, 0 to 1
    """

    seconds: float
    apex: float
    flight: float
    kept: float
    begun: float

    def flights(self) -> list[tuple[float, float, float]]:
        """(beginning in s, duration in s, height) of each flight; the first may begin before 0."""
        out, height = [], self.apex
        at = -self.begun * self._lasts(height)
        while at < self.seconds and height >= _LEAST:
            out.append((at, self._lasts(height), height))
            at, height = at + self._lasts(height), height * self.kept
        return out

    def impacts(self) -> list[tuple[float, float]]:
        """(time in s, speed) of each impact; the speed of a fall from the height 1 is 1."""
        ends = [(start + lasts, math.sqrt(height)) for start, lasts, height in self.flights()]
        return [(at, speed) for at, speed in ends if at < self.seconds]

    def height(self, times: Tensor) -> Tensor:
        """Heights at times (s), of any shape: parabolas, and 0 after the last."""
        out = torch.zeros_like(times)
        for start, lasts, height in self.flights():
            u = (times - start) / lasts
            out = torch.where((u >= 0) & (u < 1), 4 * height * u * (1 - u), out)
        return out

    def _lasts(self, height: float) -> float:
        return self.flight * math.sqrt(height)


@dataclass(frozen=True)
class Float:
    """A thing that floats up and down and never touches the ground.

    period  s
    begun   how much of a period is over, 0 to 1
    """

    seconds: float
    period: float
    begun: float

    def impacts(self) -> list[tuple[float, float]]:
        """None."""
        return []

    def height(self, times: Tensor) -> Tensor:
        """Heights at times (s): 0.15 to 0.95."""
        return 0.55 - 0.4 * torch.cos(2 * math.pi * (times / self.period + self.begun))


Course = Bounce | Float


def course(u: Sequence[float], seconds: float, *, floats: bool) -> Course:
    """A course of `seconds` s from four numbers in [0, 1)."""
    if floats:
        return Float(seconds, 2.0 + 1.4 * u[0], u[1])
    return Bounce(seconds, 0.6 + 0.4 * u[0], 0.75 + 0.5 * u[1], 0.6 + 0.4 * u[2], u[3])


def sound(way: Course, rate: int, samples: int, rng: torch.Generator) -> Tensor:
    """[1, samples] at `rate` (Hz): a tone whose pitch follows the height, and a blow at each impact.

    The pitch is 220 Hz on the ground and rises in octaves as the height does, to 880 Hz. A blow is noise and a low
    thump, as loud as the impact is fast; `rng` draws the noise.
    """
    times = torch.arange(samples, dtype=torch.float64) / rate
    pitch = LOW * 2 ** (OCTAVES * way.height(times))
    phase = 2 * math.pi * torch.cumsum(pitch / rate, 0)
    tone = torch.stack([a * torch.sin((k + 1) * phase) for k, a in enumerate(_HARMONICS)]).sum(0)
    out = _TONE * tone
    noise = torch.randn(samples, generator=rng, dtype=torch.float64)
    for at, speed in way.impacts():
        since = times - at
        fall = torch.exp(-since.clamp_min(0) / _DECAY) * (since >= 0)
        thump = torch.sin(2 * math.pi * _THUMP * since)
        out = out + _BLOW * speed * fall * (0.35 * noise + 0.8 * thump)
    edge = (torch.minimum(times, times[-1] - times) / _FADE).clamp(0, 1)
    return (out * edge).clamp(-1, 1).float()[None]
