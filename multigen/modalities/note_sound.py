"""Pieces as sound, played by midirenderer with the instruments that multigen carries, or with a user's SoundFont."""

from __future__ import annotations

import dataclasses
import io
import lzma
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from multigen import sounds
from multigen.errors import MultigenError
from multigen.modalities.general_midi import PROGRAMS
from multigen.modalities.midi import midi_of
from multigen.modalities.roll import Piece
from multigen.storage.packages import check_installed

RATE = 48_000  # Hz, of midirenderer
TAIL = 1.5  # s after the last step
_LEVEL, _PEAK = 0.1, 0.95  # RMS of a whole piece, -20 dB of full scale, and the highest peak
# For each family of eight programs of General MIDI, the carried instrument that is nearest to it.
_NEAREST = (
    "harpsichord", "harpsichord", "church organ", "harpsichord", "church organ", "church organ", "church organ",
    "french horn", "oboe", "flute", "flute", "church organ", "reed organ", "harpsichord", "harpsichord", "flute",
)  # fmt: skip


def carried(program: int) -> int:
    """The program that plays another with the carried sounds: itself, or one of its kind."""
    name = PROGRAMS[program]
    return program if name in sounds.INSTRUMENTS else PROGRAMS.index(_NEAREST[program // 8])


def sound_of(piece: Piece, steps: int, font: Path | None) -> Tensor:
    """Play a piece: stereo [2, N] at 48 kHz, at -20 dB RMS. MultigenError without midirenderer, or without the font."""
    for package in ("midirenderer", "mido"):
        check_installed(package, "the sound of notes", "notes")
    from midirenderer import render_wave_from

    programs = piece.programs if font is not None else tuple(carried(k) for k in piece.programs)
    midi = midi_of(dataclasses.replace(piece, programs=programs), steps, tail=TAIL)
    wave, _ = soundfile.read(
        io.BytesIO(render_wave_from(_font(font or sounds.FONT), midi)), dtype="float32", always_2d=True
    )
    heard = torch.from_numpy(np.ascontiguousarray(wave.T))
    gain = min(
        _LEVEL / max(float(heard.square().mean().sqrt()), 1e-9), _PEAK / max(float(heard.abs().max()), 1e-9)
    )
    return heard * gain if bool(heard.any()) else heard


@cache
def _font(path: Path) -> bytes:
    try:
        content = path.expanduser().read_bytes()
    except OSError as error:
        raise MultigenError(f"soundfont: {path}: cannot be read ({error.strerror or error})") from error
    return lzma.decompress(content) if path.suffix == ".xz" else content
