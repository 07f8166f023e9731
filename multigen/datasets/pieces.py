"""What datasets of notes share: pieces in the cache, cropped at bar lines, transposed and captioned."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import torch
from filelock import FileLock

from multigen.datasets import Dataset, Item, held_out
from multigen.datasets.keys import key_of_notes
from multigen.datasets.render_captions import tempo_of
from multigen.errors import RecipeError
from multigen.modalities.general_midi import key_name
from multigen.modalities.notes import Notes
from multigen.modalities.roll import Key, Note, Piece, cut, roll_of
from multigen.storage import files

_OPENINGS, _ENDINGS = 0.3, 0.25  # shares of the crops that begin with the piece, or end with it
_LOWEST, _HIGHEST = 36, 84  # MIDI pitches that transposed pieces stay within, where they do before
_METRES = {2: "in two", 3: "in three", 4: "in four"}
_SIGNATURES = {7 * f % 12: f for f in range(-5, 7)}  # of a major key, by its tonic


class Pieces(Dataset):
    """Crops of pieces: rolls of the modality's length, with text such as "G major, 92 bpm".

    modality   notes
    pieces     by name
    tempi      slowest and fastest, in quarters a minute: scores give none, so each crop is drawn one
    transpose  semitones at most, up and down, by which `draw` moves a piece; 6 reaches every key
    """

    def __init__(
        self, *, modality: Notes, pieces: Mapping[str, Piece], tempi: tuple[int, int], transpose: int
    ) -> None:
        if not 0 <= transpose <= 6:
            raise RecipeError(f"data.transpose: {transpose} is not allowed. Allowed: 0 to 6 semitones.")
        self._modality, self._tempi, self._transpose = modality, tempi, transpose
        self._names = sorted(pieces)
        self._pieces = [pieces[name] for name in self._names]

    def __len__(self) -> int:
        return len(self._pieces)

    def __getitem__(self, index: int) -> Item:
        """The opening, as it is written, with its key, metre and tempo."""
        name = self._names[index]
        return self._item(index, 0, 0, tempo_of(name, *self._tempi), "opening", None)

    def draw(self, index: int, rng: torch.Generator) -> Item:
        """A crop from a bar line on, transposed, at any tempo."""

        def whole(most: int) -> int:
            return int(torch.randint(most, (), generator=rng))

        piece = self._pieces[index]
        start, place = self._start(piece, *torch.rand(2, generator=rng).tolist())
        heard = [note.pitch for part in piece.parts for note in part]
        down = min(self._transpose, max(0, min(heard) - _LOWEST))
        up = min(self._transpose, max(0, _HIGHEST - max(heard)))
        up = min(up, 11 - down)  # every key once
        bpm = range(self._tempi[0], self._tempi[1] + 1, 4)
        semitones = whole(down + up + 1) - down
        return self._item(index, start, semitones, bpm[whole(len(bpm))], place, rng)

    def split(self) -> tuple[Sequence[int], Sequence[int]]:
        """Training and held-out indices of whole pieces."""
        return held_out(self._names)

    def summary(self) -> str:
        """How many pieces, and how long."""
        quarters = sum(piece.length for piece in self._pieces) / self._modality.steps
        return f"{len(self)} pieces, {quarters:,.0f} quarters"

    def _start(self, piece: Piece, kind: float, where: float) -> tuple[int, str]:
        """First step of a crop, and what it is of the piece."""
        length = self._modality.shape()[1]
        if kind < _OPENINGS or piece.length <= length:
            return 0, "opening"
        bars = [bar for bar in piece.bars if bar < piece.length]
        ends = next((bar for bar in bars if bar >= piece.length - length), None)
        if kind < _OPENINGS + _ENDINGS and ends is not None:
            return ends, "ending"
        inner = [bar for bar in bars if bar + length <= piece.length] or [0]
        return inner[int(where * len(inner))], ""

    def _item(
        self, index: int, start: int, semitones: int, bpm: int, place: str, rng: torch.Generator | None
    ) -> Item:
        piece, shape = transposed(self._pieces[index], semitones), self._modality.shape()
        end = min(start + shape[1], piece.length)
        heard = key_of_notes(piece.parts, start, end)
        key = heard or (piece.keys[0].tonic, piece.keys[0].mode or "major")
        piece = dataclasses.replace(
            piece,
            keys=(Key(0, signature(*key), key[1]),),
            tempi=((0, round(60e6 / bpm)),),
            programs=self._modality.programs,
        )
        media = self._modality.fit(cut(roll_of(piece), start, end), shape)
        beats = piece.metre(0) // self._modality.steps
        said = key_name(*key) if heard is not None else ""
        if rng is None:
            text = f"{key_name(*key)}, {bpm} bpm"
        else:
            text = _caption(said, bpm, _METRES.get(beats, ""), place, rng)
        return {"media": media, "id": self._names[index], "text": text}


def _caption(key: str, bpm: int, metre: str, place: str, rng: torch.Generator) -> str:
    """Facts of a crop, drawn from `rng`: the key nearly always, the tempo mostly, metre and place at times."""
    key_said, tempo_said, metre_said, place_said = torch.rand(4, generator=rng).tolist()
    facts = [
        key if key_said < 0.93 else "",
        f"{bpm} bpm" if tempo_said < 0.85 else "",
        metre if metre_said < 0.35 else "",
        place if place_said < 0.6 else "",
    ]
    return ", ".join(fact for fact in facts if fact)


def signature(tonic: int, mode: str) -> int:
    """Sharps, or flats below 0, of a key: -5 to 6."""
    return _SIGNATURES[(tonic + (3 if mode == "minor" else 0)) % 12]


def transposed(piece: Piece, semitones: int) -> Piece:
    """A piece, higher or lower."""
    if not semitones:
        return piece
    parts = tuple(tuple(n._replace(pitch=n.pitch + semitones) for n in part) for part in piece.parts)
    keys = tuple(
        key._replace(fifths=signature((key.tonic + semitones) % 12, key.mode or "major"))
        for key in piece.keys
    )
    return dataclasses.replace(piece, parts=parts, keys=keys)


def kept(path: Path, make: Callable[[], Piece]) -> Piece:
    """A piece from its JSON in the cache; made and put there if it is not."""
    with FileLock(f"{path}.lock"):
        if not path.is_file():
            files.write_text(path, json.dumps(vars(make()), separators=(",", ":")))
    found = json.loads(path.read_text(encoding="utf-8"))
    return Piece(
        length=found["length"],
        parts=tuple(tuple(Note(*note) for note in part) for part in found["parts"]),
        bars=tuple(found["bars"]),
        tempi=tuple((step, tempo) for step, tempo in found["tempi"]),
        keys=tuple(Key(*key) for key in found["keys"]),
        beat=found["beat"],
        programs=tuple(found["programs"]),
    )


def check_notes(name: str, modality: Notes, parts: int = 4) -> None:
    """RecipeError unless the modality is notes of so many parts."""
    if modality.name != "notes" or modality.parts != parts:
        raise RecipeError(
            f"data: {name} are notes of {parts} parts. Set modality={{name: notes, parts: {parts}}}."
        )


def gapless(notes: Sequence[tuple[int, int, int]], most: int) -> tuple[Note, ...]:
    """Notes of (onset, length, pitch) in steps, each as long as to the next one where less than `most` is between."""
    ends = [after[0] for _, after in pairwise(notes)]
    found = [Note(*note) for note in notes]
    for k, end in enumerate(ends):
        if 0 < end - found[k].end < most:
            found[k] = found[k]._replace(length=end - found[k].onset)
    return tuple(found)
