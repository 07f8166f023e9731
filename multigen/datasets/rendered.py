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

from multigen.conditioners.beat import Beat
from multigen.datasets import Dataset, Item, held_out, rendering, scores
from multigen.datasets.keys import key_of_notes
from multigen.datasets.render_captions import Crop, Piece, Place, caption, tempo_of
from multigen.errors import MultigenError
from multigen.modalities import Modality
from multigen.modalities.general_midi import PROGRAMS, key_name
from multigen.progress import Progress
from multigen.storage import files
from multigen.storage.cache_folder import cache_folder

log = logging.getLogger(__name__)
_FORMAT = 2  # of the folders of renders; those of another are made again
_OPENINGS, _ENDINGS = 0.12, 0.4  # shares of the crops that begin with the piece, or end with it

_TEMPI, _METRES = 0.9, 0.5  # shares of the crops whose beats, and whose bars, are said


@dataclass(frozen=True)
class Source:
    """A score and how it is played.

    score  file that music21 reads, or `notes` if the notes are there already
    notes  JSON file of the parsed score
    plays  pairs of program and transposition in semitones
    kinds  two names for such music, for captions
    """

    name: str
    score: Path
    notes: Path
    plays: tuple[tuple[int, int], ...]
    kinds: tuple[str, str]


class Rendered(Dataset):
    """Renders of scores: sound [C, N] of the modality's length, with text such as "church organ, G major, 92 bpm".

    name      of the dataset, and of its folder in the cache
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
        modality: Modality,
        settings: str,
        sources: Callable[[], Sequence[Source]],
        tempi: tuple[int, int],
        font: Path,
        workers: int,
    ) -> None:
        self._name, self._modality = name, modality
        self._shape, self._rate = modality.shape(), modality.shape(duration=1.0)[1]
        digest = hashlib.blake2b(f"{settings}{_FORMAT}".encode(), digest_size=8)
        self.folder = cache_folder(name, digest.hexdigest())
        self._scores: dict[str, scores.Score] = {}  # those that were looked at
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
        media = self._read(piece, 0.0)
        return {"media": media, "id": piece.id, "text": piece.caption, "beat": _beat(piece, 0.0)}

    def draw(self, index: int, rng: torch.Generator) -> Item:
        """A crop from anywhere in the piece, with a caption in one of many wordings that says the key of the crop."""
        piece = self.pieces[index]
        start, place = self._crop(piece, rng)
        crop = Crop(self._key(piece, start), place)
        text = caption(piece, crop, rng)
        tempo, metre = torch.rand(2, generator=rng).tolist()
        beat = _beat(piece, start)
        if tempo >= _TEMPI:
            beat = beat._replace(bpm=0)
        if metre >= _METRES:
            beat = beat._replace(metre=0)
        return {"media": self._read(piece, start), "id": piece.id, "text": text, "beat": beat}

    def _crop(self, piece: Piece, rng: torch.Generator) -> tuple[float, Place]:
        """Where a crop starts, in s: often at the beginning, or so that it ends while the last chord dies away."""
        spare = max(0.0, piece.seconds - scores.TAIL / 2 - self._shape[1] / self._rate)
        kind, where = torch.rand(2, generator=rng).tolist()
        if kind < _OPENINGS:
            return 0.0, "opening"
        if kind < _OPENINGS + _ENDINGS:
            return spare + scores.TAIL / 2 * where, "ending"
        return spare * where, ""

    def _key(self, piece: Piece, start: float) -> str | None:
        """The key in which a crop is heard; None if no key is plain."""
        if piece.name not in self._scores:
            path = self.folder / f"{piece.name}.json"
            self._scores[piece.name] = scores.load(path, path)
        quarters = piece.bpm / 60
        end = start + self._shape[1] / self._rate
        heard = key_of_notes(self._scores[piece.name].parts, start * quarters, end * quarters)
        return None if heard is None else key_name(heard[0] + piece.transpose, heard[1])

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
            scores.save(score, self.folder / f"{source.name}.json")  # for the keys of crops
            for render, length in zip(job.renders if seconds else (), seconds, strict=True):
                key = key_name(score.tonic + render.transpose, score.mode)
                file, instrument = Path(render.path).name, PROGRAMS[render.program]
                facts = (render.bpm, length, render.transpose, score.metre, source.kinds)
                pieces.append(Piece(source.name, file, instrument, key, *facts))
        if not pieces:
            raise MultigenError(f"data: none of the {len(sources)} pieces has four voices; use more pieces.")
        files.write_json(self.folder / "index.json", [vars(piece) for piece in pieces])
        return pieces


def _beat(piece: Piece, start: float) -> Beat:
    """How time is counted in a part of a render that begins at `start` s."""
    return Beat(start * piece.bpm / 60, piece.bpm, piece.metre, piece.seconds - scores.TAIL - start)


def _index(folder: Path) -> list[Piece]:
    """The renders of a finished cache; none if it is unfinished or a file is missing."""
    path = folder / "index.json"
    if not path.is_file():
        return []
    entries = json.loads(path.read_text(encoding="utf-8"))
    pieces = [Piece(**entry | {"kinds": tuple(entry["kinds"])}) for entry in entries]
    needed = {name for piece in pieces for name in (piece.file, f"{piece.name}.json")}
    return pieces if all((folder / name).is_file() for name in needed) else []
