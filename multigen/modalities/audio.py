"""Audio: what FFmpeg reads, at one rate (Hz), as [C, N] samples in [-1, 1]."""

from __future__ import annotations

import base64
import copy
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import torch
from torch import Tensor

from multigen.errors import MediaError, message
from multigen.modalities import HEIGHT, TIME, WIDTH, Info, Limits, Modality, Other
from multigen.modalities.audio_channels import LAYOUTS, mix_channels
from multigen.modalities.audio_decoding import decode_audio
from multigen.modalities.audio_encoding import encode_ffmpeg, encode_soundfile, playable
from multigen.modalities.audio_header import audio_stream, header_seconds, true_seconds
from multigen.modalities.audio_native import depth_of, holds_peaks, read_deep, resampled, stored_depth
from multigen.modalities.container import open_container
from multigen.modalities.joined import FilePictures, MadePictures, MadeSound
from multigen.modalities.known import KNOWN
from multigen.modalities.loudness import measure, normalise
from multigen.modalities.member import Member, Source, as_source
from multigen.modalities.pace import per_second
from multigen.modalities.raster import to_channels, to_levels
from multigen.modalities.spectrogram import draw_spectrograms
from multigen.options import BUILTIN
from multigen.storage.files import atomic

if TYPE_CHECKING:
    from PIL.Image import Image

_SOUNDFILE = {".wav": ("WAV", "PCM_16"), ".flac": ("FLAC", "PCM_16"), ".ogg": ("OGG", "VORBIS")}
_FFMPEG = {".mp3": "libmp3lame", ".m4a": "aac", ".mp4": "aac", ".opus": "libopus"}


class Audio(Modality):
    """The modality of sounds.

    rate         Hz, 1000 to 384000
    channels     1 to 8
    seconds      natural length, s
    max_bytes    most bytes of a file that is opened
    max_seconds  longest file that is opened, s

    Raises ValueError for values out of range.
    """

    name = "audio"
    axes = (TIME,)
    suffix = ".wav"
    writes = KNOWN["audio"].writes
    animation = ""
    options = BUILTIN["audio"]
    suffixes: tuple[str, ...] = (
        ".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".aac", ".aif", ".aiff", ".au", ".caf", ".wma",
        ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg",
    )  # fmt: skip

    def __init__(
        self,
        *,
        rate: int = 22050,
        channels: int = 1,
        seconds: float = 5.94,
        max_bytes: int = 2 * 1024**3,
        max_seconds: float = 7200.0,
    ) -> None:
        if not 1000 <= rate <= 384_000:
            raise ValueError(f"rate: {rate} Hz is not allowed. Allowed: 1000 to 384000 Hz.")
        if not 1 <= channels <= 8:
            raise ValueError(f"channels: {channels} is not allowed. Allowed: 1 to 8.")
        self.rate, self.channels, self.seconds = rate, channels, seconds
        self.limits = Limits(max_bytes=max_bytes, max_seconds=max_seconds)
        self._depth: str | None = None  # of the samples of a file that this is the native modality of
        self._pictures: FilePictures | MadePictures | None = None  # that its sounds were made for
        self.shape()  # raises for `seconds` out of range

    def shape(
        self, size: int | tuple[int, int] | None = None, duration: float | None = None
    ) -> tuple[int, ...]:
        """Return (channels, samples) of the natural length, or of `duration` (s). ValueError for a size."""
        if size is not None:
            raise ValueError(
                f"size: {size} is not allowed. Audio has no size in pixels; give a duration in s."
            )
        seconds = self.seconds if duration is None else duration
        if not 0 < seconds <= self.limits.max_seconds:
            raise ValueError(
                f"duration: {seconds} s is not allowed. Allowed: over 0 to {self.limits.max_seconds} s."
            )
        return self.channels, max(1, round(seconds * self.rate))

    def info(self, path: str | Source) -> Info:
        """Read the file's duration (s), channels and rate (Hz). MediaError if it is unreadable or over a limit.

        A file whose header gives no length, such as a live recording, is read to its end, without decoding.
        """
        path = as_source(path)
        with open_container(path, self.limits) as container:
            stream, names = audio_stream(container, path)
            self._check_seconds(path, header_seconds(container, stream))
            rate = stream.codec_context.sample_rate
            seconds = true_seconds(container, stream, path)
            self._check_seconds(path, seconds)
            return Info(duration=seconds, channels=len(names), rate=rate)

    def read(self, path: str | Source, *, start: float = 0.0, duration: float | None = None) -> Tensor:
        """Read [C, N] at this modality's rate and channels: the whole file, or `duration` s from `start` s on.

        A span that reaches beyond the end is shorter. MediaError if the file is missing, unreadable, truncated or over
        a limit, or ends before `start`.
        """
        path = as_source(path)
        if start < 0 or (duration is not None and duration <= 0):
            raise ValueError(
                f"start {start} s, duration {duration} s: not allowed. Allowed: from 0 s on, over 0 s."
            )
        with open_container(path, self.limits) as container:
            stream, names = audio_stream(container, path)
            self._check_seconds(path, header_seconds(container, stream))
            samples = decode_audio(
                container, stream, path, names=names, rate=self.rate, channels=self.channels,
                start=start, duration=duration, max_seconds=self.limits.max_seconds,
            )  # fmt: skip
        deep = read_deep(path, self._depth or "") if start == 0 and duration is None else None
        return torch.from_numpy(samples if deep is None or deep.shape != samples.shape else deep)

    def native(self, source: str | Source | Tensor) -> Audio:
        """The file's own rate, channels and depth of samples; of a medium [C, N] its channels, at this rate."""
        made = copy.copy(self)
        if isinstance(source, Tensor):
            made.channels = len(source)
            return made
        path = as_source(source)
        with open_container(path, self.limits) as container:
            stream, names = audio_stream(container, path)
            made.rate, made.channels = stream.codec_context.sample_rate, len(names)
            made._depth = depth_of(stream)
        return made

    def convert(self, media: Tensor, to: Modality) -> Tensor:
        """[C, N] of this modality at the channels and the rate of `to`: [C', round(N rate'/rate)]."""
        assert isinstance(to, Audio)
        if len(media) == to.channels and self.rate == to.rate:
            return media
        mixed = mix_channels(media.cpu().numpy(), _names(len(media)), to.channels)
        return torch.from_numpy(resampled(mixed, self.rate, to.rate))

    def check_writes(self, suffix: str) -> None:
        """MediaError where an .mp4 cannot hold the pictures of a file."""
        if suffix == ".mp4" and isinstance(self._pictures, FilePictures):
            self._pictures.check()

    def together(self, other: str | Source | Other) -> Audio:
        """This modality, whose .mp4 files also hold pictures: those of a file, or of a video [C, T, H, W]."""
        made = copy.copy(self)
        if isinstance(other, str | Path | Member):
            made._pictures = FilePictures(as_source(other), self.limits)
        elif other.modality.axes == (TIME, HEIGHT, WIDTH):
            levels = to_levels(to_channels(other.tensor, 3), "the pictures of a sound")
            made._pictures = MadePictures(levels, per_second(other.modality))
        return made

    def fit(self, media: Tensor, shape: tuple[int, ...], rng: torch.Generator | None = None) -> Tensor:
        """Crop [C, N] to `shape` from the start, or at random with `rng`; pad short media with silence.

        Other numbers of channels are averaged to one, which is copied; of two that cancel each other it is the louder.
        """
        channels, length = shape
        if media.shape[0] != channels:
            media = torch.from_numpy(mix_channels(media.cpu().numpy(), [], 1)).expand(channels, -1)
        spare = media.shape[1] - length
        if spare > 0:
            first = 0 if rng is None else int(torch.randint(spare + 1, (1,), generator=rng))
            media = media[:, first : first + length]
        return torch.nn.functional.pad(media, (0, max(0, -spare))).contiguous()

    def write(self, media: Tensor, path: str | Path) -> None:
        """Write [C, N] as .wav, .flac (both 16-bit), .ogg, .mp3, .m4a, .mp4 or .opus.

        An .mp4 also holds the pictures that the sound was made for (`together`), if there are any.
        A peak over 1 lowers the whole file's level. The native modality of a file writes .wav and .flac in that file's
        depth; samples of 32-bit and 64-bit floats go beyond 1 as they are. MediaError for another suffix. OSError with
        the path for faults of the disk, which leave nothing behind.
        """
        path = Path(path)
        suffix = path.suffix.lower()
        if suffix not in self.writes:
            raise MediaError(message(f"{path}: the suffix", suffix, self.writes))
        kind, usual = _SOUNDFILE.get(suffix, ("", ""))
        depth = stored_depth(suffix, self._depth, usual, float(media.abs().max()) if media.numel() else 0.0)
        samples = playable(media, path.name, peaks=holds_peaks(depth))  # its folder may be a temporary one
        try:
            with atomic(path) as temporary:
                if suffix in _SOUNDFILE:
                    temporary.write_bytes(encode_soundfile(samples, self.rate, kind, depth))
                elif suffix == ".mp4" and self._pictures is not None:
                    self._pictures.write(temporary, MadeSound(samples.astype("float32"), self.rate))
                else:
                    encode_ffmpeg(samples, temporary, rate=self.rate, codec=_FFMPEG[suffix])
        except OSError as error:  # it names the temporary file, or none
            raise OSError(error.errno, error.strerror, str(path)) from error

    def describe(self, shape: Sequence[int]) -> str:
        """Say seconds, rate and channels of a shape [C, N]."""
        channels = {1: "mono", 2: "stereo"}.get(shape[0], f"{shape[0]} channels")
        return f"{shape[1] / self.rate:.2f} s at {self.rate} Hz, {channels}"

    def facts(self, media: Tensor) -> dict[str, str]:
        """Loudness and true peak of a sound [C, N]."""
        found = measure(media.detach().cpu().float().numpy(), self.rate)
        if not math.isfinite(found.lufs):
            return {"loudness": "silence"}
        return {"loudness": f"{found.lufs:.1f} LUFS", "peak": f"{found.peak:.1f} dB"}

    def finish(self, media: Tensor, options: Mapping[str, Any]) -> Tensor:
        """Set the loudness of a sound [C, N] where `lufs` is asked for."""
        lufs = options.get("lufs")
        return media if lufs is None else normalise(media, self.rate, lufs)

    def preview(self, media: list[Tensor]) -> Image:
        """Draw log-frequency spectrograms of sounds [C, N] from 50 Hz to 10 kHz, one above the other."""
        return draw_spectrograms(media, self.rate)

    def html(self, media: Tensor) -> str:
        """Return an <audio> player with the sound embedded as FLAC."""
        data = base64.b64encode(
            encode_soundfile(playable(media, "the player of the report"), self.rate, "FLAC", "PCM_16")
        ).decode("ascii")
        return f'<audio controls preload="metadata" src="data:audio/flac;base64,{data}"></audio>'

    def _check_seconds(self, path: Source, seconds: float) -> None:
        if seconds > self.limits.max_seconds:
            raise MediaError(
                f"{path}: {seconds:,.1f} s; the limit max_seconds is {self.limits.max_seconds:,} s"
            )


def _names(channels: int) -> list[str]:
    """Names of the channels of a medium that has none."""
    if channels not in LAYOUTS:
        return ["NONE"] * channels
    return [channel.name for channel in av.AudioLayout(LAYOUTS[channels]).channels]
