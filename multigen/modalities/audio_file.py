"""Decoding and encoding one audio stream with PyAV: spans, resampling, mixing, truncated files."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import EOFError as EndOfFile
from av.error import FFmpegError, InvalidDataError

from multigen.errors import MediaError
from multigen.modalities.member import Source, opened, size_of

# Containers whose header gives the length exactly: a shorter content means a truncated file.
_EXACT = ("wav", "w64", "flac", "ogg", "aiff", "mov", "caf")
_PREROLL = 0.25  # s decoded before a span, so that codecs with memory (MP3, AAC) and the resampler settle
_PREROLL_OGG = 10.0  # s: over one page, as FFmpeg dates packets wrongly after a seek into the last one
_BAD_PACKETS = 0.05  # share of undecodable packets above which a file is unreadable; tags are no audio
# Channel order of files that name none, as FFmpeg and WAVE have it.
_ORDER = {3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}


def audio_stream(container: InputContainer, path: Source) -> AudioStream:
    """The first audio stream. MediaError if there is none, or none that can be decoded."""
    if not container.streams.audio:
        raise MediaError(f"{path}: no audio in it")
    stream = container.streams.audio[0]
    context = stream.codec_context
    if not context.sample_rate or not context.channels:
        raise MediaError(f"{path}: the header gives no sample rate or no channels")
    return stream


def header_seconds(container: InputContainer, stream: AudioStream) -> float:
    """Length in s that the header gives; 0 where it gives none."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return (container.duration or 0) / av.time_base


def decode(
    container: InputContainer,
    stream: AudioStream,
    path: Source,
    *,
    rate: int,
    channels: int,
    start: float,
    duration: float | None,
    max_seconds: float,
) -> np.ndarray:
    """float32 [channels, N] at `rate` Hz: `duration` s (None: all) from `start` s on. Errors as `Audio.read`."""
    if container.format.name == "wav":
        _check_wav(path)
    limit = max_seconds if duration is None else start + duration + _PREROLL
    same = stream.codec_context.sample_rate == rate
    resampler = None if same else av.AudioResampler(format="fltp", layout=stream.layout, rate=rate)
    parts: list[AudioFrame] = []
    first: float | None = None
    now, whole = 0.0, True
    for frame, at in _frames(container, stream, path, start):
        now = at + frame.samples / frame.sample_rate
        if first is None:
            frame, first = _aligned(frame, at, rate)
        parts += _resample(resampler, frame, path)
        if now > limit:
            whole = False
            break
    if duration is None and not whole:
        raise MediaError(f"{path}: more than the limit max_seconds of {max_seconds:,} s")
    expected = header_seconds(container, stream) if _exact(container, path) else 0.0
    if whole and now < expected - max(0.1, 0.01 * expected):
        raise MediaError(
            f"{path}: truncated; {now:.2f} s of the {expected:.2f} s in its header could be decoded"
        )
    # The resampler rounds up and AAC fills its last frame: the true end is the earlier one.
    end = min(now, expected) if expected else now
    begin, stop = round(start * rate), round(end * rate)
    if first is None or begin >= stop:
        raise MediaError(f"{path}: no audio from {start:g} s on; it ends at {end:.2f} s")
    if duration is not None:
        stop = min(stop, begin + round(duration * rate))
    parts += _resample(resampler, None, path)
    samples = np.concatenate([part.to_ndarray() for part in parts], axis=1)
    begin, stop = (max(0, k - round(first * rate)) for k in (begin, stop))
    samples = np.pad(samples, ((0, 0), (0, max(0, stop - samples.shape[1]))))[:, begin:stop]
    return np.ascontiguousarray(_mix(samples, _channel_names(stream), channels))


def encode(samples: np.ndarray, path: Path, *, rate: int, codec: str) -> None:
    """Write float32 [C, N] with an FFmpeg codec at 192 kbit/s. MediaError if it takes no such rate or channels.

    OSError where the file cannot be written.
    """
    layout = {1: "mono", 2: "stereo", **_ORDER}[samples.shape[0]]
    try:
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=rate, layout=layout)
            assert isinstance(stream, AudioStream)
            context = stream.codec_context
            assert isinstance(context, AudioCodecContext)
            context.bit_rate = 192_000
            context.open()
            frame = AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=layout)
            frame.sample_rate, frame.pts = rate, 0
            pieces = av.AudioResampler(
                format=context.format, layout=layout, rate=rate, frame_size=context.frame_size
            )
            for piece in [*pieces.resample(frame), *pieces.resample(None), None]:
                container.mux(stream.encode(piece))
    except OSError:  # FFmpeg's errors of the disk are OSErrors too
        raise
    except (FFmpegError, ValueError) as error:
        given = f"{samples.shape[0]} channels at {rate} Hz"
        raise MediaError(f"{codec} does not take {given} ({error})") from error


def _frames(
    container: InputContainer, stream: AudioStream, path: Source, start: float
) -> Iterator[tuple[AudioFrame, float]]:
    """Decoded float planar frames from a little before `start`, each with its time in s."""
    assert stream.time_base is not None  # every opened stream has one
    origin = float((stream.start_time or 0) * stream.time_base)
    preroll = _PREROLL_OGG if container.format.name == "ogg" else _PREROLL
    sought = start > 2 * preroll
    if sought:
        container.seek(int((start - preroll + origin) / stream.time_base), stream=stream)
    clock: float | None = None
    for frame in _decodable(container, stream, path):
        if clock is None:
            clock = 0.0 if frame.time is None else max(0.0, frame.time - origin)
            if sought and (frame.time is None or clock > start):  # the seek went wrong: read from the start
                container.seek(stream.start_time or 0, stream=stream)
                yield from _frames(container, stream, path, 0.0)
                return
        yield frame, clock
        clock += frame.samples / frame.sample_rate


def _aligned(frame: AudioFrame, at: float, rate: int) -> tuple[AudioFrame, float]:
    """The float planar frame from the first sample that falls on a sample of `rate` too, and its time in s.

    Without it a span would be resampled at another phase than the whole file.
    """
    source = frame.sample_rate
    index = round(at * source)
    drop = -index % (source // math.gcd(source, rate))
    if not 0 < drop < frame.samples:
        return frame, at
    samples = np.ascontiguousarray(frame.to_ndarray()[:, drop:], dtype=np.float32)
    cut = AudioFrame.from_ndarray(samples, "fltp", frame.layout.name)
    cut.sample_rate = source
    return cut, (index + drop) / source


def _decodable(container: InputContainer, stream: AudioStream, path: Source) -> Iterator[AudioFrame]:
    packets = bad = 0
    planar = av.AudioResampler(format="fltp", layout=stream.layout, rate=stream.codec_context.sample_rate)
    for packet in container.demux(stream):
        packets += 1
        try:
            frames = packet.decode()
        except EndOfFile:
            break
        except InvalidDataError:
            bad += 1
            continue
        for frame in frames:
            assert isinstance(frame, AudioFrame)
            yield from _resample(planar, frame, path)
    if bad > max(1, _BAD_PACKETS * packets):
        raise MediaError(f"{path}: {bad} of its {packets} packets cannot be decoded")


def _resample(
    resampler: av.AudioResampler | None, frame: AudioFrame | None, path: Source
) -> list[AudioFrame]:
    if resampler is None:
        return [] if frame is None else [frame]
    try:
        return resampler.resample(frame)
    except ValueError as error:  # rate or channels change inside the file
        raise MediaError(f"{path}: cannot be resampled ({error})") from error


def _exact(container: InputContainer, path: Source) -> bool:
    kinds = container.format.name.split(",")
    if "mp3" in kinds:  # an MP3 gives its length only in a Xing (VBR) or Info (CBR) frame
        with opened(path) as file:
            head = file.read(64 * 1024)
        return b"Xing" in head or b"Info" in head
    return any(kind in _EXACT for kind in kinds)


def _check_wav(path: Source) -> None:
    """MediaError if a WAV's data chunk is shorter than its header says; FFmpeg takes what is there as the length."""
    size = size_of(path)
    with opened(path) as file:
        if file.read(4) != b"RIFF":  # RF64 and others keep their sizes elsewhere
            return
        place = 12
        while place + 8 <= size:
            file.seek(place)
            name, length = struct.unpack("<4sI", file.read(8))
            if name == b"data":
                # Recorders that stream write 0 or the largest number and never come back to it.
                if length < 0xFFFFFF00 and place + 8 + length > size:
                    there = f"{size - place - 8:,} are there"
                    raise MediaError(f"{path}: truncated; its header says {length:,} bytes of audio, {there}")
                return
            place += 8 + length + length % 2


def _channel_names(stream: AudioStream) -> list[str]:
    names = [channel.name for channel in stream.layout.channels]
    if len(names) in _ORDER and "NONE" in names:
        names = [channel.name for channel in av.AudioLayout(_ORDER[len(names)]).channels]
    return names


def _mix(samples: np.ndarray, names: list[str], channels: int) -> np.ndarray:
    """[C, N] -> [channels, N]. Several to one: the mean. Surround to stereo: ITU-R BS.775, scaled not to clip."""
    if len(samples) == channels:
        return samples
    if channels != 2 or len(samples) == 1:
        return samples.mean(0, keepdims=True).repeat(channels, 0)
    side = np.array([0 if n in ("FL", "BL", "SL") else 1 if n in ("FR", "BR", "SR") else 2 for n in names])
    weight = np.array([1.0 if n in ("FL", "FR") else 0.0 if n == "LFE" else 0.5**0.5 for n in names])
    matrix = np.stack([np.where((side == s) | (side == 2), weight, 0) for s in (0, 1)])
    return (matrix / matrix.sum(1).max()).astype(np.float32) @ samples
