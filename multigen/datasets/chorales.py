"""Bach's chorales, rendered from scores to sound on any General-MIDI instrument, with captions from the score.

The scores come from the corpus that music21 carries, the sounds from the SoundFont that pretty-midi carries, or from
any other SoundFont. Parsed scores and renders are kept in the cache folder; what is there already is not made again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from tqdm import tqdm

from multigen import files
from multigen.datasets import NO_FAULTS, Item, cache_folder, held_out, scores
from multigen.datasets.general_midi import PROGRAMS, key_name, program
from multigen.errors import MultigenError, RecipeError
from multigen.modalities import Modality
from multigen.packages import package_folder
from multigen.registry import Given

log = logging.getLogger(__name__)

_WHO = "data: the dataset chorales"  # in messages
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


class Chorales:
    """About 350 four-part chorales: sound [C, N] of the modality's length, with text such as
    "church organ, G major, 92 bpm".

    Every piece is rendered once for each instrument (General-MIDI name, or program 0 to 127) and each transposition
    (semitones), each time at a tempo of its own between `slowest` and `fastest` (quarters a minute): it depends on
    the piece, the instrument and the transposition alone. `pieces` takes that many only, always the same ones.
    `soundfont` is an SF2 file. MultigenError if the optional packages are missing.
    """

    classes: tuple[str, ...] = ()
    bad = NO_FAULTS

    def __init__(
        self,
        *,
        modality: Given[Modality],
        instruments: tuple[str | int, ...] = ("church organ",),
        transpose: tuple[int, ...] = (0,),
        slowest: int = 72,
        fastest: int = 112,
        pieces: int | None = None,
        soundfont: str | None = None,
        workers: int = 2,
    ) -> None:
        shape = modality.shape()
        if len(shape) != 2 or shape[0] > 2:
            raise RecipeError("chorales: they are sound of one or two channels; the modality must be audio.")
        programs = tuple(dict.fromkeys(program(i, "data.instruments") for i in instruments))
        _check(programs, transpose, slowest, fastest, pieces, workers)
        self._modality, self._shape = modality, shape
        self._rate = modality.shape(duration=1.0)[1]
        font = _soundfont(soundfont)
        corpus = _corpus()[:pieces]
        settings = [
            programs,
            transpose,
            slowest,
            fastest,
            pieces,
            files.sha256(font),
            self._rate,
            shape[0],
            scores.TAIL,
        ]
        text = json.dumps([settings, [path.name for path in corpus]])
        self.folder = cache_folder("chorales", hashlib.blake2b(text.encode(), digest_size=8).hexdigest())
        plays = [(p, t) for p in programs for t in transpose]
        with FileLock(self.folder / "lock"):
            self.pieces = _index(self.folder) or self._render(
                corpus, plays, (slowest, fastest), font, workers
            )

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
        return {"media": self._read(piece, start), "id": piece.id, "text": caption(piece, rng)}

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
        self,
        corpus: list[Path],
        plays: list[tuple[int, int]],
        tempi: tuple[int, int],
        font: Path,
        workers: int,
    ) -> list[Piece]:
        notes = cache_folder("chorales", f"notes-{metadata.version('music21')}-1")
        jobs = []
        for path in corpus:
            renders = []
            for number, semitones in plays:
                name = f"{path.stem}.{number}.{semitones:+d}"
                renders.append(
                    scores.Render(str(self.folder / f"{name}.flac"), number, semitones, _bpm(name, *tempi))
                )
            cached = str(notes / f"{path.stem}.json")
            jobs.append(scores.Job(str(path), cached, str(font), self._rate, self._shape[0], tuple(renders)))
        with _bar(len(jobs)) as bar:
            lengths = scores.render_all(jobs, workers, bar.update)
        pieces = []
        for path, job, seconds in zip(corpus, jobs, lengths, strict=True):
            score = scores.load(path, Path(job.notes))
            for render, length in zip(job.renders if seconds else (), seconds, strict=True):
                key = key_name(score.tonic + render.transpose, score.mode)
                file, instrument = Path(render.path).name, PROGRAMS[render.program]
                pieces.append(Piece(path.stem, file, instrument, key, render.bpm, length))
        if not pieces:
            raise MultigenError(f"data: none of the {len(corpus)} pieces has four voices; take more.")
        files.write_json(self.folder / "index.json", [vars(piece) for piece in pieces])
        return pieces


def caption(piece: Piece, rng: torch.Generator) -> str:
    """What is known of a render in words: its parts in any order, sometimes fewer, sometimes as a sentence."""

    def chance(share: float) -> bool:
        return torch.rand((), generator=rng).item() < share

    words = [word for word, low, high in _WORDS if low <= piece.bpm < high]
    word = words[int(torch.randint(len(words), (1,), generator=rng))]
    tempo = word if chance(0.25) else f"{piece.bpm} bpm"
    if chance(0.4):
        return piece.caption
    if chance(0.25):
        return (
            f"a {'Bach chorale' if chance(0.5) else 'chorale'} in {piece.key} on {piece.instrument}, {tempo}"
        )
    said = [piece.instrument, f"in {piece.key}" if chance(0.3) else piece.key, tempo]
    if chance(0.2):
        del said[int(torch.randint(3, (1,), generator=rng))]
    return ", ".join(said[i] for i in torch.randperm(len(said), generator=rng).tolist())


def _bar(total: int) -> tqdm[Any]:
    """Progress on stderr, shown where multigen's log shows what it does; in a file a line now and then."""
    return tqdm(
        total=total,
        desc="rendering chorales",
        unit="piece",
        disable=not log.isEnabledFor(logging.INFO),
        file=sys.stderr,
        mininterval=0.1 if sys.stderr.isatty() else 20,
    )


def _check(
    programs: Sequence[int],
    transpose: Sequence[int],
    slowest: int,
    fastest: int,
    pieces: int | None,
    workers: int,
) -> None:
    if not programs:
        raise RecipeError(
            "data.instruments: none are given. Allowed: General-MIDI names or programs 0 to 127."
        )
    if not transpose or any(not -12 <= t <= 12 for t in transpose):
        raise RecipeError(f"data.transpose: {list(transpose)} is not allowed. Allowed: -12 to 12 semitones.")
    if not 20 <= slowest <= fastest <= 300:
        raise RecipeError(
            f"data: tempi from {slowest} to {fastest} are not allowed. Allowed: 20 to 300 bpm, rising."
        )
    if pieces is not None and pieces < 1:
        raise RecipeError(f"data.pieces: {pieces} is not allowed. Allowed: 1 or more, or null for all.")
    if workers < 1:
        raise RecipeError(f"data.workers: {workers} is not allowed. Allowed: 1 or more.")


def _bpm(name: str, slowest: int, fastest: int) -> int:
    """A tempo from the render's name, in steps of 4: the scores give none, and one for all could not be learnt."""
    digest = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest(), "big")
    choices = range(slowest, fastest + 1, 4)
    return choices[digest % len(choices)]


def _soundfont(given: str | None) -> Path:
    own = given is None
    path = package_folder("pretty_midi", _WHO) / "TimGM6mb.sf2" if own else Path(os.path.expanduser(given))
    if not path.is_file():
        raise MultigenError(f"data.soundfont: {path}: no such file")
    return path


def _corpus() -> list[Path]:
    """Scores in an order of their own, so that the first few are a fair choice."""
    package_folder("midirenderer", _WHO)
    found = (package_folder("music21", _WHO) / "corpus" / "bach").glob("*.mxl")
    return sorted(found, key=lambda path: hashlib.blake2b(path.stem.encode()).digest())


def _index(folder: Path) -> list[Piece]:
    """The renders of a finished cache; none if it is not finished or a file is gone."""
    path = folder / "index.json"
    if not path.is_file():
        return []
    pieces = [Piece(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
    return pieces if all((folder / piece.file).is_file() for piece in pieces) else []
