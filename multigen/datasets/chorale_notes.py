"""Bach's chorales as notes, from the corpus in music21."""

from __future__ import annotations

import logging
from importlib import metadata
from pathlib import Path

from multigen.datasets.chorales import corpus
from multigen.datasets.keys import key_of_notes
from multigen.datasets.music_settings import check_settings
from multigen.datasets.pieces import Pieces, check_notes, kept, signature
from multigen.modalities.notes import Notes
from multigen.modalities.roll import Key, Piece
from multigen.progress import Progress
from multigen.registry import Given
from multigen.storage.cache_folder import cache_folder

log = logging.getLogger(__name__)
_PARTS = 4


class ChoraleNotes(Pieces):
    """About 340 four-part chorales: rolls, text such as "G major, 92 bpm". Reading them takes minutes, once.

    pieces     use the first so many of the corpus, ordered by a hash; null: all
    slowest, fastest  tempi in quarters a minute
    transpose  semitones at most, up and down, by which crops are moved

    Some encodings of the corpus are not for commercial use: see NOTICE. RecipeError for settings out of range, or a
    modality that is not notes of four parts; MultigenError without music21.
    """

    def __init__(
        self,
        *,
        modality: Given[Notes],
        pieces: int | None = None,
        slowest: int = 72,
        fastest: int = 112,
        transpose: int = 6,
    ) -> None:
        check_notes("chorales", modality)
        check_settings(slowest, fastest, pieces, 1)
        version = f"{metadata.version('music21')}-{modality.steps}" if (files := corpus()[:pieces]) else ""
        folder = cache_folder("chorale_notes", version)
        found: dict[str, Piece] = {}
        with Progress("read", len(files), "pieces", quiet=not log.isEnabledFor(logging.INFO)) as bar:
            for file in files:
                piece = kept(folder / f"{file.stem}.json", lambda path=file: _read(path, modality.steps))
                if all(piece.parts):  # those of five and more voices, or with instruments, have none
                    found[file.stem] = piece
                bar.advance()
        super().__init__(modality=modality, pieces=found, tempi=(slowest, fastest), transpose=transpose)


def _read(path: Path, steps: int) -> Piece:
    """A chorale with the key that it is heard in; without notes where it is not of four voices."""
    from music21 import converter

    from multigen.modalities.score_file import piece_of_stream

    read = converter.parse(path, forceSource=True, storePickle=False)
    piece, _, _ = piece_of_stream(read, steps, _PARTS)
    voices = sum(bool(part.flatten().notes) for part in read.parts)  # pyright: ignore[reportAttributeAccessIssue]
    heard = key_of_notes(piece.parts, 0, piece.length)
    tonic, mode = heard or (piece.keys[0].tonic, piece.keys[0].mode or "major")
    parts = piece.parts if voices == _PARTS else ((),) * _PARTS
    return Piece(
        piece.length, parts, piece.bars, ((0, 600_000),), (Key(0, signature(tonic, mode), mode),), piece.beat,
        (0,) * _PARTS,
    )  # fmt: skip
