"""Renders and their captions: instrument, key and tempo in words."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch

_WORDS = (
    ("slow", 0, 82),
    ("moderate", 80, 100),
    ("flowing", 92, 112),
    ("fast", 104, 10_000),
)  # bpm, lowest and below


@dataclass(frozen=True)
class Piece:
    """One render: a score played on an instrument, in a key and at a tempo.

    name     of the score
    file     FLAC file in the cache
    seconds  length
    """

    name: str
    file: str
    instrument: str
    key: str
    bpm: int
    seconds: float

    @property
    def id(self) -> str:
        """Name of the score and caption."""
        return f"{self.name}, {self.caption}"

    @property
    def caption(self) -> str:
        """The plain caption: "church organ, G major, 92 bpm"."""
        return f"{self.instrument}, {self.key}, {self.bpm} bpm"


def caption(piece: Piece, kinds: tuple[str, str], rng: torch.Generator) -> str:
    """A caption of a render, drawn from `rng`: facts in any order, sometimes fewer of them, sometimes as a sentence.

    `kinds` are two names for such music.
    """

    def chance(share: float) -> bool:
        return torch.rand((), generator=rng).item() < share

    words = [word for word, low, high in _WORDS if low <= piece.bpm < high]
    word = words[int(torch.randint(len(words), (1,), generator=rng))]
    tempo = word if chance(0.25) else f"{piece.bpm} bpm"
    if chance(0.4):
        return piece.caption
    if chance(0.25):
        return f"a {kinds[0] if chance(0.5) else kinds[1]} in {piece.key} on {piece.instrument}, {tempo}"
    said = [piece.instrument, f"in {piece.key}" if chance(0.3) else piece.key, tempo]
    if chance(0.2):
        del said[int(torch.randint(3, (1,), generator=rng))]
    return ", ".join(said[i] for i in torch.randperm(len(said), generator=rng).tolist())


def tempo_of(name: str, slowest: int, fastest: int) -> int:
    """A tempo in quarters per minute, in steps of 4, from a hash of the render's name.

    Scores give no tempo, and a model could not learn one that all renders share.
    """
    digest = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest(), "big")
    choices = range(slowest, fastest + 1, 4)
    return choices[digest % len(choices)]
