"""Channels of audio files: their names, and mixing to another number of channels."""

from __future__ import annotations

import warnings

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame

PACKED = "flt"  # FFmpeg's name for floats whose channels alternate
# Layouts of files that do not name their channels, in the order of FFmpeg and WAVE.
LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}

# Of what the mean of as many unrelated channels keeps of their power: less is left of channels that oppose each other.
_CANCELLED = 0.06


def channel_names(context: AudioCodecContext) -> list[str]:
    """Return the names of a stream's channels: FL, FR, FC, LFE ...; empty if the header gives none.

    To be called once, before anything else looks at the layout. PyAV's copy of a layout in an order of its own shares
    memory with the original, and both free it: the process would abort. So the copy is the only one, and the context
    gets a layout without such memory.
    """
    layout = context.layout
    names = [channel.name for channel in layout.channels]
    if not names:
        return []
    # "8 channels (FL+FR+...)" and "ambisonic 1+stereo" are orders of their own; "7.1" and "8 channels" are not.
    own = "(" in layout.name.replace("(side)", "").replace("(back)", "") or "ambisonic" in layout.name
    context.layout = f"{len(names)} channels" if own else layout.name
    if len(names) > 2 and len(names) in LAYOUTS and "NONE" in names:
        names = [channel.name for channel in av.AudioLayout(LAYOUTS[len(names)]).channels]
    return names


def mix_channels(
    samples: np.ndarray, names: list[str], channels: int, where: str = "the sound"
) -> np.ndarray:
    """Mix [C, N] to [channels, N]. Mono is the mean. Stereo from surround: ITU-R BS.775, scaled not to clip.

    Channels that cancel each other are not mixed: the loudest one is taken (`to_mono`), with a warning. `where`: in
    messages.
    """
    if len(samples) == channels:
        return samples
    if channels != 2 or len(samples) == 1:
        return _mono(samples, where).repeat(channels, 0)
    # FL, SL, TBL, FLC ... lie to the left, FR, SR, TBR, FRC ... to the right.
    side = np.array(
        [0 if n.endswith("L") or n == "FLC" else 1 if n.endswith("R") or n == "FRC" else 2 for n in names]
    )
    weight = np.array([1.0 if n in ("FL", "FR") else 0.0 if "LFE" in n else 0.5**0.5 for n in names])
    matrix = np.stack([np.where((side == s) | (side == 2), weight, 0) for s in (0, 1)])
    return (matrix / matrix.sum(1).max()).astype(np.float32) @ samples


def _mono(samples: np.ndarray, where: str) -> np.ndarray:
    """[C, N] -> [1, N], with a warning where it is one channel and not the mean."""
    mixed, taken = to_mono(samples)
    if taken is not None:
        name = ("left", "right")[taken] if len(samples) == 2 else f"{taken + 1}."
        warnings.warn(
            f"{where}: its {_count(len(samples))} channels cancel each other; the {name} one is taken for mono",
            stacklevel=2,
        )
    return mixed


def _count(channels: int) -> str:
    return "two" if channels == 2 else str(channels)


def to_mono(samples: np.ndarray) -> tuple[np.ndarray, int | None]:
    """[C, N] -> the mean [1, N]; or where channels cancel each other in it, the loudest one, and its place."""
    mean = samples[
        :1
    ].copy()  # numpy's own mean takes twenty times as long where channels alternate in memory
    for row in samples[1:]:
        mean += row
    mean /= len(samples)
    powers = [float(np.dot(row, row)) for row in (np.ascontiguousarray(row) for row in samples)]
    left = float(np.dot(mean[0], mean[0]))
    if len(samples) == 1 or not left < _CANCELLED / len(samples) * (sum(powers) / len(samples)):
        return mean, None
    loudest = powers.index(max(powers))
    return samples[loudest : loudest + 1], loudest


def packed_frame(samples: np.ndarray, rate: int, layout: str) -> AudioFrame:
    """Return float32 [C, N] as a frame of packed floats.

    PyAV counts the planes of a frame up to a null pointer, which FFmpeg does not write after the eighth; a packed frame
    has one plane, whatever the number of channels.
    """
    packed = np.ascontiguousarray(samples.T, dtype=np.float32).reshape(1, -1)
    frame = AudioFrame.from_ndarray(packed, format=PACKED, layout=layout)
    frame.sample_rate, frame.pts = rate, 0
    return frame
