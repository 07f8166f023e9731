"""Decode a span of an audio stream with PyAV, at another rate and number of channels."""

from __future__ import annotations

import itertools
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
from multigen.modalities.audio_channels import PACKED, mix_channels, packed_frame
from multigen.modalities.audio_clock import FIRST_FRAMES, Clock
from multigen.modalities.audio_header import check_wav, has_exact_length, header_seconds
from multigen.modalities.member import Source

_PREROLL = 0.25  # s decoded before a span, in which codecs with memory (MP3, AAC) and the resampler settle
_PREROLL_OGG = 10.0  # s, more than one page: FFmpeg dates packets wrongly after a seek into the last one
_BAD_PACKETS = 0.05  # share of undecodable packets above which a file is unreadable; tags are not audio
_LOUDEST = 100.0  # 40 dB over full scale: above it, samples are not sound but damage, or another scale


def decode_audio(
    container: InputContainer,
    stream: AudioStream,
    path: Source,
    *,
    names: list[str],
    rate: int,
    channels: int,
    start: float,
    duration: float | None,
    max_seconds: float,
) -> np.ndarray:
    """Decode a span to float32 [channels, N] at `rate` (Hz): `duration` s (None: all) from `start` s on.

    `names` are those of the stream's channels. MediaError if the file is truncated, over the limit `max_seconds`, ends
    before `start`, or holds samples that are not finite or far over full scale.
    """
    if container.format.name == "wav":
        check_wav(path)
    limit = max_seconds if duration is None else start + duration + _PREROLL
    same = stream.codec_context.sample_rate == rate
    resampler = None if same else av.AudioResampler(format=PACKED, layout=stream.layout, rate=rate)
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
    end = _end(container, stream, path, now, whole)
    begin, stop = round(start * rate), round(end * rate)
    if first is None or begin >= stop:
        raise MediaError(f"{path}: no audio from {start:g} s on; it ends at {end:.2f} s")
    if duration is not None:
        stop = min(stop, begin + round(duration * rate))
    parts += _resample(resampler, None, path)
    if not parts:
        raise MediaError(f"{path}: no audio in it could be decoded")
    samples = np.concatenate([part.to_ndarray()[0] for part in parts]).reshape(-1, len(names)).T
    samples = _between(samples, begin - round(first * rate), stop - round(first * rate))
    _check_level(samples, path, start, rate)
    return np.ascontiguousarray(mix_channels(samples, names, channels, str(path)))


def _end(container: InputContainer, stream: AudioStream, path: Source, now: float, whole: bool) -> float:
    """The end (s) of what was decoded until `now`. MediaError if it is all, and less than the header promises."""
    expected = header_seconds(container, stream) if has_exact_length(container, path) else 0.0
    if whole and now < expected - max(0.1, 0.01 * expected):
        raise MediaError(
            f"{path}: truncated; {now:.2f} s of the {expected:.2f} s in its header could be decoded"
        )
    # The resampler rounds up, and AAC pads its last frame: the true end is the earlier one.
    return min(now, expected) if expected else now


def _between(samples: np.ndarray, begin: int, stop: int) -> np.ndarray:
    """[C, N] from a place to another; silence before the first sample and after the last."""
    inside = samples[:, max(0, begin) : max(0, stop)]
    before = min(max(0, -begin), stop - begin)
    return np.pad(inside, ((0, 0), (before, stop - begin - before - inside.shape[1])))


def _check_level(samples: np.ndarray, path: Source, start: float, rate: int) -> None:
    """MediaError for samples [C, N] that are not finite, or so loud that they cannot be sound."""
    worst = float(np.abs(samples).max(initial=0.0))  # NaN if there is one
    if worst <= _LOUDEST:
        return
    bad = ~np.isfinite(samples)
    if bad.any():
        at = start + int(bad.any(0).argmax()) / rate
        raise MediaError(f"{path}: samples are not finite (NaN or infinity), the first at {at:.3f} s")
    raise MediaError(
        f"{path}: samples reach {worst:.3g}, full scale is 1; damaged, or not scaled (16-bit numbers as floats?)"
    )


def _frames(
    container: InputContainer, stream: AudioStream, path: Source, start: float
) -> Iterator[tuple[AudioFrame, float]]:
    """Packed float frames from a little before `start` (s) on, each with its time in s."""
    clock = Clock(stream)
    preroll = _PREROLL_OGG if container.format.name == "ogg" else _PREROLL
    sought = start > 2 * preroll
    if sought:
        if clock.coarse:
            for frame in itertools.islice(_decodable(container, stream, path), FIRST_FRAMES):
                clock.learn(frame)
        container.seek(clock.ticks(start - preroll), stream=stream)
    now: float | None = None
    for frame in _decodable(container, stream, path):
        if now is None:
            at = clock.time(frame)
            now = at or 0.0
            if sought and (at is None or now > start):  # the seek went wrong: read from the start
                container.seek(stream.start_time or 0, stream=stream)
                yield from _frames(container, stream, path, 0.0)
                return
        yield frame, now
        now += frame.samples / frame.sample_rate


def _aligned(frame: AudioFrame, at: float, rate: int) -> tuple[AudioFrame, float]:
    """The packed float frame, cut to begin at a sample that is also one of `rate`, and its time in s.

    Otherwise a span would be resampled at another phase than the whole file.
    """
    source = frame.sample_rate
    index = round(at * source)
    drop = -index % (source // math.gcd(source, rate))
    if not 0 < drop < frame.samples:
        return frame, at
    samples = frame.to_ndarray().reshape(frame.samples, -1).T[:, drop:]
    return packed_frame(samples, source, frame.layout.name), (index + drop) / source


def _decodable(container: InputContainer, stream: AudioStream, path: Source) -> Iterator[AudioFrame]:
    """Packed float frames of the packets that can be decoded. MediaError if too many cannot."""
    packets = bad = 0
    packed = av.AudioResampler(format=PACKED, layout=stream.layout, rate=stream.codec_context.sample_rate)
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
            yield from _resample(packed, frame, path)
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
