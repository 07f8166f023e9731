"""What the headers of audio files promise, and whether the files keep it."""

from __future__ import annotations

import struct

import av
from av.audio.stream import AudioStream
from av.container import InputContainer

from multigen.errors import MediaError
from multigen.modalities.audio_channels import channel_names
from multigen.modalities.container import packets_end
from multigen.modalities.member import Source, open_source, size_of

_CHANNELS = 64  # as many as FFmpeg resamples
_RATE = 1_536_000  # Hz; the filter that resamples grows with it, to minutes and gigabytes in damaged files
# Containers whose header gives the exact length, so that shorter content means a truncated file.
_EXACT = ("wav", "w64", "flac", "ogg", "aiff", "mov", "caf")


def audio_stream(container: InputContainer, path: Source) -> tuple[AudioStream, list[str]]:
    """Return the first audio stream and the names of its channels.

    MediaError if there is none, or none that can be decoded.
    """
    if not container.streams.audio:
        raise MediaError(f"{path}: no audio in it")
    stream = container.streams.audio[0]
    names = channel_names(stream.codec_context)
    if not stream.codec_context.sample_rate or not names:
        raise MediaError(f"{path}: the header gives no sample rate or no channels")
    if stream.codec_context.sample_rate > _RATE:
        raise MediaError(f"{path}: {stream.codec_context.sample_rate:,} Hz; allowed are up to {_RATE:,} Hz")
    if len(names) > _CHANNELS:
        raise MediaError(f"{path}: {len(names)} channels; allowed are up to {_CHANNELS}")
    return stream, names


def header_seconds(container: InputContainer, stream: AudioStream) -> float:
    """Return the length (s) in the header; 0 if it gives none."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return (container.duration or 0) / av.time_base


def true_seconds(container: InputContainer, stream: AudioStream, path: Source) -> float:
    """Return the length (s), also where the header gives none or a guess: then it is that of all packets.

    Live recordings have no length, and that of AAC and of MP3 without a Xing frame is guessed from the bit rate.
    """
    seconds = header_seconds(container, stream)
    kinds = container.format.name.split(",")
    guessed = "aac" in kinds or ("mp3" in kinds and not has_exact_length(container, path))
    if seconds and not guessed:
        return seconds
    return packets_end(container, stream)


def has_exact_length(container: InputContainer, path: Source) -> bool:
    """Whether the header gives the exact length."""
    kinds = container.format.name.split(",")
    if "mp3" in kinds:  # an MP3 gives its length only in a Xing (VBR) or Info (CBR) frame
        with open_source(path) as file:
            head = file.read(64 * 1024)
        return b"Xing" in head or b"Info" in head
    return any(kind in _EXACT for kind in kinds)


def check_wav(path: Source) -> None:
    """Raise MediaError if a WAV's data chunk is shorter than its header says, which FFmpeg does not report."""
    size = size_of(path)
    with open_source(path) as file:
        if file.read(4) != b"RIFF":  # RF64 and others keep their sizes elsewhere
            return
        place = 12
        while place + 8 <= size:
            file.seek(place)
            name, length = struct.unpack("<4sI", file.read(8))
            if name == b"data":
                # Recorders that stream write 0 or the largest number, and never correct it.
                if length < 0xFFFFFF00 and place + 8 + length > size:
                    there = f"{size - place - 8:,} are there"
                    raise MediaError(f"{path}: truncated; its header says {length:,} bytes of audio, {there}")
                return
            place += 8 + length + length % 2
