"""What happens to media on their way: codecs, resizing, cuts, louder and brighter. Tensors in, tensors out."""

from __future__ import annotations

import io
from collections.abc import Callable

import av
import numpy as np
import torch
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.video.stream import VideoStream
from PIL import Image
from torch import Tensor

from multigen.modalities.raster import from_levels, to_levels

Attack = Callable[[Tensor], Tensor]


def jpeg(quality: int) -> Attack:
    """A picture through Pillow's JPEG, with its usual settings."""

    def attack(media: Tensor) -> Tensor:
        file = io.BytesIO()
        Image.fromarray(to_levels(media)).save(file, "JPEG", quality=quality)
        return from_levels(np.asarray(Image.open(file)))

    return attack


def resized(scale: float) -> Attack:
    """A picture or the frames of a video at another size."""

    def one(levels: np.ndarray) -> np.ndarray:
        picture = Image.fromarray(levels)
        size = (round(picture.width * scale), round(picture.height * scale))
        return np.asarray(picture.resize(size, Image.Resampling.LANCZOS))

    def attack(media: Tensor) -> Tensor:
        levels = to_levels(media)
        return from_levels(one(levels) if levels.ndim == 3 else np.stack([one(frame) for frame in levels]))

    return attack


def cropped(share: float) -> Attack:
    """A picture without a share of its height and width, more at the left and top."""

    def attack(media: Tensor) -> Tensor:
        cut = [round(share * n) for n in media.shape[1:]]
        top, left = (c - c // 3 for c in cut)
        return media[:, top : media.shape[1] - cut[0] + top, left : media.shape[2] - cut[1] + left]

    return attack


def brighter(factor: float) -> Attack:
    """Levels times a factor, as 8 bits store them."""
    return lambda media: from_levels(
        np.clip(np.round(to_levels(media).astype(float) * factor), 0, 255).astype(np.uint8)
    )


def mp3(bits: int, rate: int) -> Callable[[Tensor, int], tuple[Tensor, int]]:
    """A sound through LAME at a rate in Hz, or at its own (0)."""

    def attack(media: Tensor, own: int) -> tuple[Tensor, int]:
        file, to = io.BytesIO(), rate or own
        with av.open(file, "w", format="mp3") as out:
            stream = out.add_stream("libmp3lame", rate=to)
            assert isinstance(stream, AudioStream)
            stream.bit_rate, stream.layout, stream.format = bits, "mono", "fltp"
            frame = av.AudioFrame.from_ndarray(
                media[:1].numpy().astype(np.float32), format="fltp", layout="mono"
            )
            frame.rate, frame.pts = own, 0
            resampler = AudioResampler("fltp", "mono", to, frame_size=stream.codec_context.frame_size or 1152)
            for part in [*resampler.resample(frame), *resampler.resample(None)]:
                out.mux(stream.encode(part))
            out.mux(stream.encode(None))
        file.seek(0)
        with av.open(file, "r") as read:
            return torch.from_numpy(np.concatenate([f.to_ndarray()[:1] for f in read.decode(audio=0)], 1)), to

    return attack


def h264(crf: int) -> Attack:
    """A video through x264, with its usual settings."""

    def attack(media: Tensor) -> Tensor:
        levels, file = to_levels(media), io.BytesIO()
        with av.open(file, "w", format="mp4") as out:
            stream = out.add_stream("libx264", rate=8, options={"crf": str(crf), "preset": "medium"})
            assert isinstance(stream, VideoStream)
            stream.width, stream.height, stream.pix_fmt = levels.shape[2], levels.shape[1], "yuv420p"
            for frame in levels:
                out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            out.mux(stream.encode(None))
        file.seek(0)
        with av.open(file, "r") as read:
            return from_levels(np.stack([f.to_ndarray(format="rgb24") for f in read.decode(video=0)]))

    return attack


def gif(media: Tensor) -> Tensor:
    """A video as a GIF of 256 colours a frame."""
    frames = [Image.fromarray(frame).quantize(256) for frame in to_levels(media)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=120, loop=0)
    read, found = Image.open(file), []
    for number in range(len(frames)):
        read.seek(min(number, read.n_frames - 1))  # pyright: ignore[reportAttributeAccessIssue]
        found.append(np.asarray(read.convert("RGB")))
    return from_levels(np.stack(found))


PICTURES: dict[str, tuple[Attack, float]] = {
    "untouched": (lambda media: media, 99),
    "JPEG 75": (jpeg(75), 98),
    "JPEG 50": (jpeg(50), 85),
    "resize 0.75, JPEG 75": (lambda media: jpeg(75)(resized(0.75)(media)), 95),
    "crop 10%": (cropped(0.1), 95),
    "brightness -10%": (brighter(0.9), 95),
    "brightness +10%": (brighter(1.1), 75),
}
SOUNDS: dict[str, tuple[Callable[[Tensor, int], tuple[Tensor, int]], float]] = {
    "untouched": (lambda media, rate: (media, rate), 99),
    "MP3 128 k": (mp3(128_000, 0), 98),
    "MP3 64 k, 16 kHz": (mp3(64_000, 16_000), 95),
    "gain -12 dB": (lambda media, rate: (media / 4, rate), 95),
    "cut of 1 s": (
        lambda media, rate: (torch.cat([media[:, : 2 * rate], media[:, 3 * rate + 77 :]], 1), rate),
        95,
    ),
    "2 s kept": (lambda media, rate: (media[:, rate + 1234 :][:, : 2 * rate], rate), 95),
}
VIDEOS: dict[str, tuple[Attack, float]] = {
    "untouched": (lambda media: media, 99),
    "H.264 crf 23": (h264(23), 95),
    "H.264 crf 28": (h264(28), 80),
    "half the frames": (lambda media: media[:, ::2], 95),
    "one frame": (lambda media: media[:, 7:8], 95),
    "GIF": (gif, 95),
    "brightness -10%": (brighter(0.9), 95),
}
