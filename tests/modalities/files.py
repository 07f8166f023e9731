"""Media files as people have them, written with FFmpeg's encoders."""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


class Pipe(io.RawIOBase):
    """What recorders write to: there is no way back to fill in the duration."""

    def __init__(self) -> None:
        self.content = bytearray()

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def write(self, data: bytes) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        self.content += bytes(data)
        return len(data)


def encode(
    path: Path, wave: np.ndarray, codec: str, rate: int, *, kind: str | None = None, bits: int = 128_000,
    layout: str | None = None, options: dict[str, str] | None = None, live: bool = False,
) -> None:  # fmt: skip
    """Write float32 [C, N]. `kind`: the container, else by the suffix; `live`: without a way back, as a recorder."""
    channels, target = len(wave), Pipe()
    layout = layout or {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}.get(channels, f"{channels} channels")
    with av.open(target if live else str(path), "w", format=kind, options=options or {}) as out:
        stream = out.add_stream(codec, rate=rate, layout=layout)
        context = stream.codec_context
        if bits:
            context.bit_rate = bits
        context.open()
        packed = np.ascontiguousarray(wave.T, np.float32).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
        frame.sample_rate, frame.pts = rate, 0
        pieces = av.AudioResampler(context.format, layout, rate, frame_size=context.frame_size or 1024)
        for piece in [*pieces.resample(frame), *pieces.resample(None), None]:
            out.mux(stream.encode(piece))
    if live:
        path.write_bytes(bytes(target.content))


def film(
    path: Path, times: Sequence[float], codec: str, kind: str, *, options: dict[str, str] | None = None,
    b_frames: int = 0, live: bool = False,
) -> None:  # fmt: skip
    """Frame k of n, of grey level 255 k / (n - 1), is shown from times[k] (s; 1 ms ticks)."""
    target, tick = Pipe(), Fraction(1, 1000)
    with av.open(target if live else str(path), "w", format=kind, options=options or {}) as out:
        stream = out.add_stream(codec, rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        stream.codec_context.time_base = stream.time_base = tick
        if codec == "libx264":
            stream.options = {"crf": "5", "bf": str(b_frames)}
        for k, time in enumerate(times):
            level = round(255 * k / max(len(times) - 1, 1))
            frame = av.VideoFrame.from_ndarray(np.full((32, 64, 3), level, np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(time / tick), tick
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    if live:
        path.write_bytes(bytes(target.content))
