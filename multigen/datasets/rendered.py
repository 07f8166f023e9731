"""What music datasets share: scores rendered on General MIDI instruments, kept in the cache, cropped and captioned.

A dataset says which scores there are and how each is played. Renders that are in the cache are not made again.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from filelock import FileLock

from multigen.datasets import Dataset, Item, held_out, rendering, scores
from multigen.datasets.general_midi import PROGRAMS, key_name
from multigen.datasets.render_captions import Piece, caption, tempo_of
from multigen.errors import MultigenError
from multigen.modalities import Modality
from multigen.progress import Progress
from multigen.storage import files
from multigen.storage.cache_folder import cache_folder

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """A score and how it is played.

    score  file that music21 reads, or `notes` if the notes are there already
    notes  JSON file of the parsed score
    plays  pairs of program and transposition in semitones
    """

    name: str
    score: Path
    notes: Path
    plays: tuple[tuple[int, int], ...]


class Rendered(Dataset):
    """Renders of scores: sound [C, N] of the modality's length, with text such as "church organ, G major, 92 bpm".

    name      of the dataset, and of its folder in the cache
    kinds     two names for such music, for captions
    settings  everything that the renders depend on; it names the folder
    sources   called for the scores only if a render is missing
    tempi     slowest and fastest, in quarters per minute; each render has its own tempo, which depends on the score's
              name, the instrument and the transposition alone
    font      SF2 file
    workers   processes that render
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
        """General MIDI names of all instruments, sorted."""
        return tuple(sorted({piece.instrument for piece in self.pieces}))

    def __len__(self) -> int:
        return len(self.pieces)

    def __getitem__(self, index: int) -> Item:
        piece = self.pieces[index]
        return {"media": self._read(piece, 0.0), "id": piece.id, "text": piece.caption}

    def draw(self, index: int, rng: torch.Generator) -> Item:
        """A crop from anywhere in the piece except the silence at its end, with a caption in one of many wordings."""
        piece = self.pieces[index]
        spare = piece.seconds - scores.TAIL / 2 - self._shape[1] / self._rate
        start = max(0.0, spare) * torch.rand((), generator=rng).item()
        return {"media": self._read(piece, start), "id": piece.id, "text": caption(piece, self._kinds, rng)}

    def split(self) -> tuple[Sequence[int], Sequence[int]]:
        """Training and held-out indices; whole pieces are held out, with all their transpositions and instruments."""
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
                renders.append(rendering.Render(path, number, semitones, tempo_of(name, *tempi)))
            score, notes = str(source.score), str(source.notes)
            jobs.append(rendering.Job(score, notes, str(font), self._rate, self._shape[0], tuple(renders)))
        quiet = not log.isEnabledFor(logging.INFO)
        with Progress(f"render {self._name}", len(jobs), "pieces", quiet=quiet) as bar:
            lengths = rendering.render_all(jobs, workers, bar.advance)
        pieces = []
        for source, job, seconds in zip(sources, jobs, lengths, strict=True):
            score = scores.load(source.score, source.notes)
            for render, length in zip(job.renders if seconds else (), seconds, strict=True):
                key = key_name(score.tonic + render.transpose, score.mode)
                file, instrument = Path(render.path).name, PROGRAMS[render.program]
                pieces.append(Piece(source.name, file, instrument, key, render.bpm, length))
        if not pieces:
            raise MultigenError(f"data: none of the {len(sources)} pieces has four voices; use more pieces.")
        files.write_json(self.folder / "index.json", [vars(piece) for piece in pieces])
        return pieces


def _index(folder: Path) -> list[Piece]:
    """The renders of a finished cache; none if it is unfinished or a file is missing."""
    path = folder / "index.json"
    if not path.is_file():
        return []
    pieces = [Piece(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
    return pieces if all((folder / piece.file).is_file() for piece in pieces) else []
