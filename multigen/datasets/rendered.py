"""What music datasets share: scores played on General-MIDI instruments, kept in the cache, cropped and captioned.

A dataset says which scores there are and how each is to be played; what is in the cache already is not made again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock

from multigen.datasets import Dataset, Item, held_out, scores
from multigen.datasets.general_midi import PROGRAMS, key_name, program
from multigen.errors import MultigenError, RecipeError
from multigen.modalities import Modality
from multigen.progress import Progress
from multigen.storage import files
from multigen.storage.cache_folder import cache_folder

log = logging.getLogger(__name__)

_WORDS = (("slow", 0, 82), ("moderate", 80, 100), ("flowing", 92, 112), ("fast", 104, 10_000))  # bpm


@dataclass(frozen=True)
class Piece:
    """One render: a piece, an instrument, a key and a tempo."""

    name: str  # of the score
    file: str
    instrument: str
    key: str
    bpm: int
    seconds: float

    @property
    def id(self) -> str:
        return f"{self.name}, {self.caption}"

    @property
    def caption(self) -> str:
        return f"{self.instrument}, {self.key}, {self.bpm} bpm"


@dataclass(frozen=True)
class Source:
    """A score and the (program, transposition in semitones) pairs to play it with."""

    name: str
    score: Path  # what music21 reads, or `notes` if there is nothing to read
    notes: Path  # the cached notes
    plays: tuple[tuple[int, int], ...]


class Rendered(Dataset):
    """Renders of scores: sound [C, N] of the modality's length, with text such as "church organ, G major, 92 bpm".

    Each render has a tempo of its own between `slowest` and `fastest` (quarters a minute), which depends on the
    score's name, the instrument and the transposition alone. Renders stand in the cache under `name`, in a folder for
    `settings` (what they depend on); `sources` is asked only if one is missing. `kinds` are two names for such music,
    as captions use them.
    """

    def __init__(
        self,
        *,
        name: str,
        kinds: tuple[str, str],
        modality: Modality,
        settings: str,
        sources: Callable[[], Sequence[Source]],
        tempi: tuple[int, int],
        font: Path,
        workers: int,
    ) -> None:
        self._name, self._kinds, self._modality = name, kinds, modality
        self._shape, self._rate = modality.shape(), modality.shape(duration=1.0)[1]
        self.folder = cache_folder(name, hashlib.blake2b(settings.encode(), digest_size=8).hexdigest())
        with FileLock(self.folder / "lock"):
            self.pieces = _index(self.folder) or self._render(sources(), tempi, font, workers)

    @property
    def instruments(self) -> tuple[str, ...]:
        """General-MIDI names of all that play, sorted."""
        return tuple(sorted({piece.instrument for piece in self.pieces}))

    def __len__(self) -> int:
        return len(self.pieces)

    def __getitem__(self, index: int) -> Item:
        piece = self.pieces[index]
        return {"media": self._read(piece, 0.0), "id": piece.id, "text": piece.caption}

    def draw(self, index: int, rng: torch.Generator) -> Item:
        """A crop from anywhere in the piece, but for the silence at its end, and a caption in one of many wordings."""
        piece = self.pieces[index]
        spare = piece.seconds - scores.TAIL / 2 - self._shape[1] / self._rate
        start = max(0.0, spare) * torch.rand((), generator=rng).item()
        return {"media": self._read(piece, start), "id": piece.id, "text": caption(piece, self._kinds, rng)}

    def split(self) -> tuple[Sequence[int], Sequence[int]]:
        """Whole pieces are held out, with all their transpositions and instruments."""
        names = sorted({piece.name for piece in self.pieces})
        held = {names[i] for i in held_out(names)[1]}
        sides: tuple[list[int], list[int]] = ([], [])
        for index, piece in enumerate(self.pieces):
            sides[piece.name in held].append(index)
        return sides

    def _read(self, piece: Piece, start: float) -> torch.Tensor:
        duration = self._shape[1] / self._rate
        media = self._modality.read(self.folder / piece.file, start=start, duration=duration)
        return self._modality.fit(media, self._shape)

    def _render(
        self, sources: Sequence[Source], tempi: tuple[int, int], font: Path, workers: int
    ) -> list[Piece]:
        jobs = []
        for source in sources:
            renders = []
            for number, semitones in source.plays:
                name = f"{source.name}.{number}.{semitones:+d}"
                path = str(self.folder / f"{name}.flac")
                renders.append(scores.Render(path, number, semitones, _bpm(name, *tempi)))
            score, notes = str(source.score), str(source.notes)
            jobs.append(scores.Job(score, notes, str(font), self._rate, self._shape[0], tuple(renders)))
        quiet = not log.isEnabledFor(logging.INFO)
        with Progress(f"render {self._name}", len(jobs), "pieces", quiet=quiet) as bar:
            lengths = scores.render_all(jobs, workers, bar.advance)
        pieces = []
        for source, job, seconds in zip(sources, jobs, lengths, strict=True):
            score = scores.load(source.score, source.notes)
            for render, length in zip(job.renders if seconds else (), seconds, strict=True):
                key = key_name(score.tonic + render.transpose, score.mode)
                file, instrument = Path(render.path).name, PROGRAMS[render.program]
                pieces.append(Piece(source.name, file, instrument, key, render.bpm, length))
        if not pieces:
            raise MultigenError(f"data: none of the {len(sources)} pieces has four voices; take more.")
        files.write_json(self.folder / "index.json", [vars(piece) for piece in pieces])
        return pieces


def caption(piece: Piece, kinds: tuple[str, str], rng: torch.Generator) -> str:
    """What is known of a render in words: its parts in any order, sometimes fewer, sometimes as a sentence."""

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


def check_modality(name: str, modality: Modality) -> None:
    """RecipeError unless it is sound of one or two channels."""
    shape = modality.shape()
    if len(shape) != 2 or shape[0] > 2:
        raise RecipeError(f"{name}: they are sound of one or two channels; the modality must be audio.")


def check_settings(slowest: int, fastest: int, pieces: int | None, workers: int) -> None:
    """RecipeError for what is out of range."""
    if not 20 <= slowest <= fastest <= 300:
        raise RecipeError(
            f"data: tempi from {slowest} to {fastest} are not allowed. Allowed: 20 to 300 bpm, rising."
        )
    if pieces is not None and pieces < 1:
        raise RecipeError(f"data.pieces: {pieces} is not allowed. Allowed: 1 or more, or null for all.")
    if workers < 1:
        raise RecipeError(f"data.workers: {workers} is not allowed. Allowed: 1 or more.")


def programs_of(instruments: Sequence[str | int]) -> tuple[int, ...]:
    """Programs of General-MIDI names or numbers, each once. RecipeError with the nearest name, or if there are none."""
    programs = tuple(dict.fromkeys(program(i, "data.instruments") for i in instruments))
    if not programs:
        raise RecipeError(
            "data.instruments: none are given. Allowed: General-MIDI names or programs 0 to 127."
        )
    return programs


def soundfont_file(given: str | None, packaged: Path) -> Path:
    """The user's SoundFont, or else the packaged one. MultigenError if the file is not there."""
    path = packaged if given is None else Path(os.path.expanduser(given))
    if not path.is_file():
        raise MultigenError(f"data.soundfont: {path}: no such file")
    return path


def _bpm(name: str, slowest: int, fastest: int) -> int:
    """A tempo from the render's name, in steps of 4: the scores give none, and one for all could not be learnt."""
    digest = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest(), "big")
    choices = range(slowest, fastest + 1, 4)
    return choices[digest % len(choices)]


def _index(folder: Path) -> list[Piece]:
    """The renders of a finished cache; none if it is not finished or a file is gone."""
    path = folder / "index.json"
    if not path.is_file():
        return []
    pieces = [Piece(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
    return pieces if all((folder / piece.file).is_file() for piece in pieces) else []
