"""Video files written with FFmpeg (H.264), and animations written with Pillow."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import av
import numpy as np
from av.container import OutputContainer
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from av.video.stream import VideoStream
from PIL import Image as PillowImage

from multigen.errors import MediaError
from multigen.modalities.frame import size_tag
from multigen.modalities.video_sound import CONTAINERS, Playing


class Heard(Protocol):
    """A sound that goes into the file of a video."""

    def begin(self, out: OutputContainer) -> Playing:
        """Add its stream to a file of pictures; what writes it along with them."""
        ...


# x264's macroblock tree reads uninitialised memory for small pictures, so that the bytes would vary.
_H264 = "libx264", {"crf": "12", "preset": "medium", "x264-params": "mbtree=0"}
_EXACT = "libx264rgb", {"qp": "0", "preset": "fast", "x264-params": "mbtree=0"}  # RGB, every value as it is
_CODECS = {
    ".webm": ("libvpx-vp9", {"crf": "14", "b": "0", "deadline": "good", "cpu-used": "2", "row-mt": "0"})
}


def encode_video(
    levels: np.ndarray,
    file: str | io.BytesIO,
    suffix: str,
    fps: float,
    sound: Heard | None = None,
) -> MediaError | None:
    """Encode uint8 [T, H, W, 3] as H.264, or VP9 for .webm: yuv420p, BT.709, visually near lossless.

    Odd sizes are padded. `sound` goes along; what ended it early, such as damage of its file, is returned.
    """
    return encode_frames(levels, levels.shape[1:3], file, suffix, fps, sound)


def encode_frames(
    frames: Iterable[np.ndarray],
    size: Sequence[int],
    file: str | io.BytesIO,
    suffix: str,
    fps: float,
    sound: Heard | None = None,
    *,
    lossless: bool = False,
) -> MediaError | None:
    """Encode frames, uint8 [H, W, 3] each, as they come: as `encode_video`, in memory that no length needs more of.

    size      height and width of all of them
    lossless  H.264 in RGB, every value as it is; not for .webm, and few players show it
    """
    height, width = size
    odd = (0, 0) if lossless else (height % 2, width % 2)
    rate = Fraction(fps).limit_denominator(1001)
    name = CONTAINERS[suffix]
    fast = isinstance(file, str) and name not in ("matroska", "webm")
    options = {"movflags": "+faststart"} if fast else {}
    with av.open(file, "w", format=name, options=options) as out:
        if any(odd):
            out.metadata["comment"] = size_tag(height, width)
        codec, settings = _EXACT if lossless else _CODECS.get(suffix, _H264)
        stream = out.add_stream(codec, rate=rate, options=settings)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = width + odd[1], height + odd[0]
        stream.pix_fmt = "rgb24" if lossless else "yuv420p"
        if not lossless:
            context = stream.codec_context
            context.colorspace, context.color_range = Colorspace.ITU709, ColorRange.MPEG
            context.color_primaries, context.color_trc = ColorPrimaries.BT709, ColorTrc.BT709
        playing = None if sound is None else sound.begin(out)
        for count, one in enumerate(frames):
            if any(odd):
                one = np.pad(one, ((0, odd[0]), (0, odd[1]), (0, 0)), mode="edge")
            frame = av.VideoFrame.from_ndarray(one, format="rgb24")
            if not lossless:
                frame = frame.reformat(
                    format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
                )
            frame.pts, frame.time_base, frame.duration = count, 1 / rate, 1
            out.mux(stream.encode(frame))
            if playing is not None:
                playing.to((count + 1) / fps)
        out.mux(stream.encode(None))
        if playing is not None:
            playing.end()
    return None if playing is None else playing.error


def save_animation(pictures: Sequence[PillowImage.Image], path: Path, fps: float) -> None:
    """Save frames as an endless animation. Durations are rounded cumulatively, so that the total stays right.

    Where the rate is over what the format can show, frames are left out.
    """
    # ms. GIF counts hundredths of a second, and browsers show a frame of one hundredth for ten.
    unit, least = (10, 20) if path.suffix.lower() == ".gif" else (1, 1)
    ends = [round(k * 1000 / fps / unit) * unit for k in range(len(pictures) + 1)]
    shown = [0]
    for k in range(1, len(pictures)):
        if ends[k] - ends[shown[-1]] >= least:
            shown.append(k)
    while len(shown) > 1 and ends[-1] - ends[shown[-1]] < least:
        shown.pop()
    times = [*(ends[k] for k in shown), ends[-1]]
    durations = [max(least, b - a) for a, b in pairwise(times)]
    pictures = [pictures[k] for k in shown]
    small = pictures[0].width * pictures[0].height <= 512 * 512
    kind = {".gif": "GIF", ".webp": "WEBP"}.get(path.suffix.lower(), "PNG")
    options = {"lossless": small, "quality": 90, "method": 4} if kind == "WEBP" else {}
    rest = list(pictures[1:])
    pictures[0].save(
        path, format=kind, save_all=True, append_images=rest, duration=durations, loop=0, **options
    )
