"""Audio files written with libsndfile and FFmpeg."""

from __future__ import annotations

import io
import logging
import math
from pathlib import Path

import av
import numpy as np
import soundfile
import torch
from av.audio.codeccontext import AudioCodecContext
from av.audio.stream import AudioStream
from av.error import FFmpegError
from torch import Tensor

from multigen.errors import MediaError
from multigen.modalities.audio_channels import LAYOUTS, packed_frame

log = logging.getLogger(__name__)

# Vorbis has another order of channels, and libsndfile leaves it to the caller (Vorbis I specification, 4.3.9).
_VORBIS = {
    3: [0, 2, 1],
    5: [0, 2, 1, 3, 4],
    6: [0, 2, 1, 4, 5, 3],
    7: [0, 2, 1, 5, 6, 4, 3],
    8: [0, 2, 1, 6, 7, 4, 5, 3],
}
_OPUS = (8000, 12_000, 16_000, 24_000, 48_000)  # Hz


def encode_soundfile(samples: np.ndarray, rate: int, kind: str, subtype: str) -> bytes:
    """Encode floats [C, N] with libsndfile. In memory, because libsndfile does not tell a full disk from other errors.

    MediaError if the format does not take the rate or the number of channels.
    """
    file = io.BytesIO()
    if subtype == "VORBIS" and len(samples) in _VORBIS:
        samples = samples[_VORBIS[len(samples)]]
    try:
        soundfile.write(file, samples.T, rate, format=kind, subtype=subtype)
    except soundfile.SoundFileError as error:
        given = f"{samples.shape[0]} channels at {rate} Hz"
        raise MediaError(f"{kind} does not take {given} ({error})") from error
    return file.getvalue()


def playable(media: Tensor, what: str, *, peaks: bool = False) -> np.ndarray:
    """Return media [C, N] within [-1, 1], float32 (float64 stays); warn if the level had to be lowered.

    `what` names the media in messages; `peaks`: the format holds values beyond [-1, 1]. ValueError for other shapes
    and for values that are not finite.
    """
    if media.ndim != 2 or media.shape[1] == 0:
        raise ValueError(
            f"{what}: media of shape {tuple(media.shape)}; allowed: [channels, samples], at least one sample"
        )
    kind = torch.float64 if media.dtype == torch.float64 else torch.float32
    samples = media.detach().to("cpu", kind).numpy()
    if not np.isfinite(samples).all():
        raise ValueError(f"{what}: the media hold values that are not finite")
    peak = float(np.abs(samples).max())
    if peak <= 1 or peaks:
        return samples
    log.warning(
        "%s: peak %.3f; the level is lowered by %.1f dB so that nothing clips",
        what,
        peak,
        20 * math.log10(peak),
    )
    return samples / peak


def encode_ffmpeg(samples: np.ndarray, path: Path, *, rate: int, codec: str) -> None:
    """Write float32 [C, N] with an FFmpeg codec at 192 kbit/s. Opus, which has five rates alone, becomes 48 kHz.

    MediaError if the codec does not take the rate or the number of channels; OSError if the file cannot be written.
    """
    layout = LAYOUTS[samples.shape[0]]
    try:
        with av.open(str(path), "w") as container:
            coded = 48_000 if codec == "libopus" and rate not in _OPUS else rate
            stream = container.add_stream(codec, rate=coded, layout=layout)
            assert isinstance(stream, AudioStream)
            context = stream.codec_context
            assert isinstance(context, AudioCodecContext)
            context.bit_rate = 192_000
            context.open()
            frame = packed_frame(samples, rate, layout)
            pieces = av.AudioResampler(
                format=context.format, layout=layout, rate=coded, frame_size=context.frame_size
            )
            for piece in [*pieces.resample(frame), *pieces.resample(None), None]:
                container.mux(stream.encode(piece))
    except OSError:  # FFmpeg's errors of the disk are OSErrors, too
        raise
    except (FFmpegError, ValueError) as error:
        given = f"{samples.shape[0]} channels at {rate} Hz"
        raise MediaError(f"{codec} does not take {given} ({error})") from error
