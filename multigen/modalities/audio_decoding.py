"""Decode a span of an audio stream with PyAV, at another rate and number of channels."""

from __future__ import annotations

import math
from collections.abc import Iterator

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import EOFError as EndOfFile
from av.error import InvalidDataError

from multigen.errors import MediaError
from multigen.modalities.audio_channels import channel_names, mix_channels
from multigen.modalities.audio_header import check_wav, has_exact_length, header_seconds
from multigen.modalities.member import Source

_PREROLL = 0.25  # s decoded before a span, in which codecs with memory (MP3, AAC) and the resampler settle
_PREROLL_OGG = 10.0  # s, more than one page: FFmpeg dates packets wrongly after a seek into the last one
_BAD_PACKETS = 0.05  # share of undecodable packets above which a file is unreadable; tags are not audio


def decode_audio(
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
    """Decode a span to float32 [channels, N] at `rate` (Hz): `duration` s (None: all) from `start` s on.

    MediaError if the file is truncated, over the limit `max_seconds`, or ends before `start`.
    """
    if container.format.name == "wav":
        check_wav(path)
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
        raise MediaError(f"{path}: longer than the limit max_seconds of {max_seconds:,} s")
    expected = header_seconds(container, stream) if has_exact_length(container, path) else 0.0
    if whole and now < expected - max(0.1, 0.01 * expected):
        raise MediaError(
            f"{path}: truncated; {now:.2f} s of the {expected:.2f} s in its header could be decoded"
        )
    # The resampler rounds up, and AAC pads its last frame: the true end is the earlier one.
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
    return np.ascontiguousarray(mix_channels(samples, channel_names(stream), channels, str(path)))


def _frames(
    container: InputContainer, stream: AudioStream, path: Source, start: float
) -> Iterator[tuple[AudioFrame, float]]:
    """Planar float frames from a little before `start` (s) on, each with its time in s."""
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
    """The planar float frame, cut to begin at a sample that is also one of `rate`, and its time in s.

    Otherwise a span would be resampled at another phase than the whole file.
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
    """Planar float frames of the packets that can be decoded. MediaError if too many cannot."""
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
