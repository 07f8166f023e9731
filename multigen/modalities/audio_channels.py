"""Channels of audio files: their names, and mixing to another number of channels."""

from __future__ import annotations

import warnings

import av
import numpy as np
from av.audio.stream import AudioStream

# Layouts of files that do not name their channels, in the order of FFmpeg and WAVE.
LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}

# Of the channels' mean power: less than this is left of two that oppose each other, 0.5 of two that are unrelated.
_CANCELLED = 0.03


def channel_names(stream: AudioStream) -> list[str]:
    """Return the names of a stream's channels: FL, FR, FC, LFE ..."""
    names = [channel.name for channel in stream.layout.channels]
    if len(names) > 2 and len(names) in LAYOUTS and "NONE" in names:
        names = [channel.name for channel in av.AudioLayout(LAYOUTS[len(names)]).channels]
    return names


def mix_channels(
    samples: np.ndarray, names: list[str], channels: int, where: str = "the sound"
) -> np.ndarray:
    """Mix [C, N] to [channels, N]. Mono is the mean. Stereo from surround: ITU-R BS.775, scaled not to clip.

    Two channels that cancel each other are not mixed: the louder one is taken, with a warning. `where`: in messages.
    """
    if len(samples) == channels:
        return samples
    if channels != 2 or len(samples) == 1:
        return _mono(samples, where).repeat(channels, 0)
    side = np.array([0 if n in ("FL", "BL", "SL") else 1 if n in ("FR", "BR", "SR") else 2 for n in names])
    weight = np.array([1.0 if n in ("FL", "FR") else 0.0 if n == "LFE" else 0.5**0.5 for n in names])
    matrix = np.stack([np.where((side == s) | (side == 2), weight, 0) for s in (0, 1)])
    return (matrix / matrix.sum(1).max()).astype(np.float32) @ samples


def _mono(samples: np.ndarray, where: str) -> np.ndarray:
    """[C, N] -> [1, N], the mean, or the louder of two channels that are each other's opposite."""
    mean = samples.mean(0, keepdims=True)
    if len(samples) != 2:
        return mean
    powers = np.square(samples, dtype=np.float64).mean(1)
    if not float(np.square(mean, dtype=np.float64).mean()) < _CANCELLED * float(powers.mean()):
        return mean
    louder = int(powers.argmax())
    warnings.warn(
        f"{where}: its two channels cancel each other; the {('left', 'right')[louder]} one is taken for mono",
        stacklevel=2,
    )
    return samples[louder : louder + 1]
