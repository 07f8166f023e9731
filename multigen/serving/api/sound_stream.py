"""Files of sounds that are written while the sound is still being made."""

from __future__ import annotations

import struct

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.stream import AudioStream

from multigen.modalities.audio_channels import LAYOUTS, packed_frame
from multigen.provenance.made import Made
from multigen.provenance.packet import packet
from multigen.provenance.sounds import wav_chunks

# Codec and container of each format, and the container's options where it cannot go back to its beginning.
_CODED: dict[str, tuple[str, str, dict[str, str]]] = {
    "mp3": ("libmp3lame", "mp3", {"write_xing": "0"}),
    "flac": ("flac", "flac", {}),
    "opus": ("libopus", "ogg", {}),
    "aac": ("aac", "adts", {}),
}
_OPUS_RATE = 48_000


class _Pipe:
    """A file that is written once, from its beginning to its end."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, content: bytes) -> int:
        """Keep some of it."""
        self._parts.append(bytes(content))
        return len(content)

    def taken(self) -> bytes:
        """What was written since the last time."""
        parts, self._parts = self._parts, []
        return b"".join(parts)


class SoundStream:
    """The bytes of a sound in a format, piece by piece.

    kind            wav, pcm, mp3, flac, opus or aac
    rate, channels  Hz, number
    count           samples of all of it: a WAV file says so at its beginning
    made            how it is made: WAV, FLAC, MP3 and Opus say it in plain metadata; a stream cannot be signed
    """

    def __init__(self, kind: str, rate: int, channels: int, count: int, made: Made | None = None) -> None:
        self._kind, self._rate, self._count = kind, rate, count
        self._pipe = _Pipe()
        if kind == "wav":
            more = b"" if made is None else wav_chunks(packet(made), made.sentence())
            self._pipe.write(_wav_head(rate, channels, count, more))
        if kind not in _CODED:
            return
        codec, container, options = _CODED[kind]
        self._layout = LAYOUTS[channels]
        self._container = av.open(self._pipe, "w", format=container, options=options)
        if made is not None:
            self._container.metadata.update(comment=made.sentence(), XMP=packet(made).decode("ascii"))
        coded = _OPUS_RATE if kind == "opus" else rate
        stream = self._container.add_stream(codec, rate=coded, layout=self._layout)
        assert isinstance(stream, AudioStream)
        context = stream.codec_context
        assert isinstance(context, AudioCodecContext)
        if kind != "flac":
            context.bit_rate = 192_000
        context.open()
        self._stream = stream
        self._pieces = av.AudioResampler(
            format=context.format, layout=self._layout, rate=coded, frame_size=context.frame_size
        )
        self._fed = 0

    def feed(self, samples: np.ndarray) -> bytes:
        """More of the sound, float [C, N] in [-1, 1]; what can be sent of it."""
        if self._kind not in _CODED:
            self._pipe.write(np.round(samples.T * 32767).astype("<i2").tobytes())
            return self._pipe.taken()
        frame = packed_frame(samples, self._rate, self._layout)
        frame.pts = self._fed
        self._fed += samples.shape[1]
        for piece in self._pieces.resample(frame):
            self._container.mux(self._stream.encode(piece))
        return self._taken()

    def end(self) -> bytes:
        """What is left to send."""
        if self._kind in _CODED:
            for piece in [*self._pieces.resample(None), None]:
                self._container.mux(self._stream.encode(piece))
            self._container.close()
        return self._taken()

    def _taken(self) -> bytes:
        """What was written; a FLAC file, too, says at its beginning how many samples it has."""
        content = self._pipe.taken()
        return _with_count(content, self._count) if content.startswith(b"fLaC") else content


def _with_count(content: bytes, count: int) -> bytes:
    """A FLAC file's beginning with the number of samples, the low 36 bits before the checksum in STREAMINFO."""
    low = int.from_bytes(content[21:26], "big") >> 36 << 36 | count
    return content[:21] + low.to_bytes(5, "big") + content[26:]


def _wav_head(rate: int, channels: int, count: int, more: bytes) -> bytes:
    """The head of a WAV file of 16 bits, with `more` chunks before the samples."""
    size, align = 2 * channels * count, 2 * channels
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, rate, rate * align, align, 16)
    return (
        struct.pack("<4sI4s", b"RIFF", 36 + len(more) + size, b"WAVE")
        + form
        + more
        + struct.pack("<4sI", b"data", size)
    )
