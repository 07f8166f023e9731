"""Bach's chorales, rendered from scores to sound on any General MIDI instrument, with captions from the score.

The scores come from the corpus in music21, the sounds from the SoundFont in pretty-midi or from any other SoundFont.
Parsed scores and renders are kept in the cache folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from multigen.datasets import scores
from multigen.datasets.music_settings import check_modality, check_settings, programs_of, soundfont_file
from multigen.datasets.rendered import Rendered, Source
from multigen.errors import RecipeError
from multigen.modalities import Modality
from multigen.registry import Given
from multigen.storage import files
from multigen.storage.cache_folder import cache_folder
from multigen.storage.packages import package_folder

KINDS = ("Bach chorale", "chorale")  # for captions
_WHO = "data: the dataset chorales"  # in messages


class Chorales(Rendered):
    """About 350 four-part chorales: sound [C, N], text such as "church organ, G major, 92 bpm".

    instruments       General MIDI names, or programs 0 to 127
    transpose         semitones; every piece is rendered once for each instrument and transposition
    slowest, fastest  tempi in quarters per minute; each render has its own
    pieces            use this many pieces, always the same ones; null for all
    soundfont         SF2 file; null: the one in pretty-midi
    workers           processes that render

    RecipeError for settings out of range; MultigenError if an optional package is missing.
    """

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
        check_modality("chorales", modality)
        programs = programs_of(instruments)
        _check_transpose(transpose)
        check_settings(slowest, fastest, pieces, workers)
        own = package_folder("pretty_midi", _WHO) / "TimGM6mb.sf2" if soundfont is None else Path(soundfont)
        font = soundfont_file(soundfont, own)
        found = corpus()[:pieces]
        rate, channels = modality.shape(duration=1.0)[1], modality.shape()[0]
        settings = [
            programs,
            transpose,
            slowest,
            fastest,
            pieces,
            files.sha256(font),
            rate,
            channels,
            scores.TAIL,
        ]
        plays = tuple((p, t) for p in programs for t in transpose)

        def sources() -> list[Source]:
            notes = cache_folder("chorales", f"notes-{metadata.version('music21')}-1")
            return [Source(path.stem, path, notes / f"{path.stem}.json", plays, KINDS) for path in found]

        super().__init__(
            name="chorales",
            modality=modality,
            settings=json.dumps([settings, [path.name for path in found]]),
            sources=sources,
            tempi=(slowest, fastest),
            font=font,
            workers=workers,
        )


def _check_transpose(transpose: Sequence[int]) -> None:
    if not transpose or any(not -12 <= t <= 12 for t in transpose):
        raise RecipeError(f"data.transpose: {list(transpose)} is not allowed. Allowed: -12 to 12 semitones.")


def corpus() -> list[Path]:
    """Scores, ordered by a hash of their names, so that the first few are a fair sample."""
    package_folder("midirenderer", _WHO)
    found = (package_folder("music21", _WHO) / "corpus" / "bach").glob("*.mxl")
    return sorted(found, key=lambda path: hashlib.blake2b(path.stem.encode()).digest())
