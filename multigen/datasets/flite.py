"""Speech by flite, a small synthesiser with free voices, and when it said which phone."""

from __future__ import annotations

import shutil
import subprocess
import wave
from pathlib import Path
from typing import NamedTuple

import numpy as np

from multigen.conditioners.phones import PAUSE, PHONE
from multigen.errors import MultigenError, RecipeError, message

RATE = 16000  # Hz
# Voices of 16 kHz; slt is a woman of the United States, rms and kal16 men of it, awb a man of Scotland.
VOICES = ("slt", "rms", "awb", "kal16")
# Flite tells some sounds apart that the dictionary does not.
_SPELT = {"pau": (PAUSE,), "ssil": (PAUSE,), "ax": (PHONE["AH"],), "axr": (PHONE["ER"],), "dx": (PHONE["T"],)}
_SPELT |= {"nx": (PHONE["N"],), "el": (PHONE["AH"], PHONE["L"]), "em": (PHONE["AH"], PHONE["M"])}
_SPELT |= {"en": (PHONE["AH"], PHONE["N"])}
_MISSING = (
    "the dataset spoken needs the program flite, which is not installed. It comes with most systems: "
    "`apt install flite`, `dnf install flite`, `brew install flite`."
)


class Utterance(NamedTuple):
    """sound [N], 16 bits at 16 kHz; tokens, and where each ends in s."""

    sound: np.ndarray
    tokens: tuple[int, ...]
    ends: tuple[float, ...]


def program() -> str:
    """The path of flite. MultigenError where it is missing."""
    found = shutil.which("flite")
    if found is None:
        raise MultigenError(f"data: {_MISSING}")
    return found


def check_voices(voices: tuple[str, ...]) -> None:
    """RecipeError for a voice that flite lacks, for none, and for one that is named twice."""
    if not voices or len(set(voices)) != len(voices):
        raise RecipeError("data.voices: give one voice or more, each once")
    for voice in voices:
        if voice not in VOICES:
            raise RecipeError(message("data.voices", voice, VOICES))


def speak(text: str, voice: str, slower: float, path: Path) -> Utterance:
    """Say a sentence; `slower` stretches every phone, `path` is overwritten. MultigenError with what flite says."""
    command = [
        program(),
        "-voice",
        voice,
        "-psdur",
        "--setf",
        f"duration_stretch={slower:.3f}",
        "-t",
        text,
        "-o",
        str(path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode or not path.is_file():
        raise MultigenError(f"data: flite failed on {text!r}: {done.stderr.strip()[:200]}")
    with wave.open(str(path)) as file:
        sound = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        if file.getframerate() != RATE or file.getnchannels() != 1:
            raise MultigenError(f"data: flite's voice {voice} has {file.getframerate()} Hz; 16000 are needed")
    return Utterance(sound, *phones_of(done.stdout))


def phones_of(printed: str) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Tokens and their ends from what flite prints, such as "pau:0.176 dh:0.284"."""
    tokens: list[int] = []
    ends: list[float] = []
    before = 0.0
    for pair in printed.split():
        name, _, end = pair.rpartition(":")
        own = _SPELT.get(name) or (PHONE[name.upper()],)
        for k, token in enumerate(
            own
        ):  # a syllabic consonant is a vowel and a consonant of half its length each
            tokens.append(token)
            ends.append(before + (float(end) - before) * (k + 1) / len(own))
        before = float(end)
    return tuple(tokens), tuple(ends)
