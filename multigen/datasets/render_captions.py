"""Renders and their captions: instrument, key and tempo in words, and more about some of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

import torch

Place = Literal["", "opening", "ending"]
_WORDS = (
    ("slow", 0, 82),
    ("moderate", 80, 100),
    ("flowing", 92, 112),
    ("fast", 104, 10_000),
)  # bpm, lowest and below
_MOODS = (
    ("calm", "major", 0, 88),
    ("solemn", "major", 0, 80),
    ("joyful", "major", 96, 10_000),
    ("bright", "major", 88, 10_000),
    ("sad", "minor", 0, 88),
    ("dark", "minor", 0, 100),
    ("restless", "minor", 96, 10_000),
)  # mode; bpm, lowest and below
_METRES = {3: "in three", 4: "in four"}


@dataclass(frozen=True)
class Piece:
    """One render: a score played on an instrument, in a key and at a tempo.

    name       of the score
    file       FLAC file in the cache
    seconds    length
    transpose  semitones by which it sounds above its score
    metre      quarters a bar; 0 if unknown
    kinds      two names for such music
    """

    name: str
    file: str
    instrument: str
    key: str
    bpm: int
    seconds: float
    transpose: int = 0
    metre: int = 0
    kinds: tuple[str, str] = ("piece", "piece")

    @property
    def id(self) -> str:
        """Name of the score and caption."""
        return f"{self.name}, {self.caption}"

    @property
    def caption(self) -> str:
        """The plain caption: "church organ, G major, 92 bpm"."""
        return f"{self.instrument}, {self.key}, {self.bpm} bpm"


@dataclass(frozen=True)
class Crop:
    """What is heard in a part of a render.

    key    in which it is heard, which a piece leaves for a while; None if no key is plain
    place  "opening" or "ending" if it is the beginning or the end of the piece
    """

    key: str | None
    place: Place = ""


def caption(piece: Piece, crop: Crop, rng: torch.Generator) -> str:
    """A caption of a part of a render, drawn from `rng`: facts in any order, sometimes fewer, sometimes as a sentence.

    The key is that of the part. The place is said of most openings and endings; mood and metre of few crops.
    """

    def chance(share: float) -> bool:
        return torch.rand((), generator=rng).item() < share

    def one(words: list[str]) -> str:
        return words[int(torch.randint(len(words), (1,), generator=rng))]

    word = one([word for word, low, high in _WORDS if low <= piece.bpm < high])
    tempo = word if chance(0.25) else f"{piece.bpm} bpm"
    key = [] if crop.key is None else [crop.key]
    if chance(0.4):
        said = [piece.instrument, *key, f"{piece.bpm} bpm"]
    elif chance(0.25):
        kind = one(list(piece.kinds))
        said = [" ".join(["a", kind, *(f"in {k}" for k in key), "on", piece.instrument]), tempo]
    else:
        facts = [piece.instrument, *(f"in {k}" if chance(0.3) else k for k in key), tempo]
        if chance(0.2):
            del facts[int(torch.randint(len(facts), (1,), generator=rng))]
        said = [facts[i] for i in torch.randperm(len(facts), generator=rng).tolist()]
    moods = _moods(crop.key, piece.bpm)
    if moods and chance(0.15):
        said.append(one(moods))
    if piece.metre in _METRES and chance(0.1):
        said.append(_METRES[piece.metre])
    if crop.place and chance(0.8):
        said.append(crop.place)
    return ", ".join(said)


def _moods(key: str | None, bpm: int) -> list[str]:
    """Words for music in a key at a tempo; none without a key."""
    mode = "" if key is None else key.split()[-1]
    return [word for word, its, low, high in _MOODS if its == mode and low <= bpm < high]


def tempo_of(name: str, slowest: int, fastest: int) -> int:
    """A tempo in quarters per minute, in steps of 4, from a hash of the render's name.

    Scores give no tempo, and a model could not learn one that all renders share.
    """
    digest = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest(), "big")
    choices = range(slowest, fastest + 1, 4)
    return choices[digest % len(choices)]
