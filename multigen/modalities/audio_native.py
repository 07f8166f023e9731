"""Sound files as they are: depth of their samples, exact reading, and conversion between rates."""

from __future__ import annotations

import av
import numpy as np
import soundfile
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream

from multigen.errors import MediaError
from multigen.modalities.member import Source, open_source

LOSSY = ""  # the depth of files whose samples are no stored numbers
_DEEP = ("PCM_32", "DOUBLE")  # more than float32 holds
_FLOATS = ("FLOAT", "DOUBLE")
_CODECS = {
    "pcm_u8": "PCM_U8", "pcm_s16": "PCM_16", "pcm_s24": "PCM_24", "pcm_s32": "PCM_32", "pcm_f32": "FLOAT",
    "pcm_f64": "DOUBLE",
}  # fmt: skip
_FLAC = {"PCM_U8": "PCM_16", "PCM_16": "PCM_16"}  # others: 24 bits, the most that it has here
_BLOCK = 1 << 16  # samples that go through the resampler at once


def depth_of(stream: AudioStream) -> str:
    """Return how a stream stores its samples, in libsndfile's words: PCM_16, PCM_24, FLOAT ...; LOSSY."""
    name = stream.codec_context.name
    for codec, depth in _CODECS.items():
        if name.startswith(codec):
            return depth
    if name in ("flac", "alac", "wavpack", "tta", "ape"):
        return "PCM_16" if stream.codec_context.format.name.startswith(("s16", "u8")) else "PCM_24"
    return LOSSY


def read_deep(path: Source, depth: str) -> np.ndarray | None:
    """Read samples float64 [C, N] that float32 would round; None where it does not."""
    if depth not in _DEEP:
        return None
    try:
        with open_source(path) as file:
            samples, _ = soundfile.read(file, dtype="float64", always_2d=True)
    except soundfile.SoundFileError:
        return None  # a container that libsndfile does not know
    if not np.isfinite(samples).all():
        raise MediaError(f"{path}: some samples are not finite (NaN or infinity)")
    return np.ascontiguousarray(samples.T)


def stored_depth(suffix: str, depth: str | None, usual: str, peak: float) -> str:
    """Return the depth in which a .wav or .flac keeps samples of a source of another depth; None: there is none."""
    if depth is None or suffix not in (".wav", ".flac"):
        return usual
    if suffix == ".flac":
        return usual if depth == LOSSY else _FLAC.get(depth, "PCM_24")
    if depth == LOSSY:  # decoders go beyond full scale, which whole numbers do not hold
        return usual if peak <= 1 else "FLOAT"
    return depth


def holds_peaks(depth: str) -> bool:
    """Whether samples beyond full scale can be stored."""
    return depth in _FLOATS


def resampled(samples: np.ndarray, rate: int, to: int) -> np.ndarray:
    """Resample [C, N] from `rate` to `to` (Hz), as files are when they are read: [C, round(N to/rate)], float32."""
    length = max(1, round(samples.shape[1] * to / rate))
    if rate == to:
        return samples
    rows = [_line(np.ascontiguousarray(row[None], dtype=np.float32), rate, to) for row in samples]
    return np.stack([np.pad(row[:length], (0, max(0, length - len(row)))) for row in rows])


def _line(row: np.ndarray, rate: int, to: int) -> np.ndarray:
    """One channel [1, N], whatever its place: layouts of many channels have no names."""
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=to)
    parts: list[np.ndarray] = []
    for start in range(0, row.shape[1], _BLOCK):
        frame = AudioFrame.from_ndarray(
            np.ascontiguousarray(row[:, start : start + _BLOCK]), format="fltp", layout="mono"
        )
        frame.sample_rate, frame.pts = rate, start
        parts += [one.to_ndarray()[0] for one in resampler.resample(frame)]
    parts += [one.to_ndarray()[0] for one in resampler.resample(None)]
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)
