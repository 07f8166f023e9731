"""Four-part pieces composed by rule (`multigen.datasets.composer`) and rendered with the sounds that multigen ships.

Nothing in them is anyone else's but the sounds, which are free: see multigen/sounds.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from multigen import sounds
from multigen.core import noise
from multigen.datasets import composer, scores
from multigen.datasets.general_midi import PROGRAMS
from multigen.datasets.rendered import (
    Rendered,
    Source,
    check_modality,
    check_settings,
    programs_of,
    soundfont_file,
)
from multigen.errors import RecipeError
from multigen.modalities import Modality
from multigen.registry import Given
from multigen.storage import files
from multigen.storage.cache_folder import cache_folder
from multigen.storage.packages import package_folder

KINDS = ("four-part piece", "chorale")  # as captions say
_WHO = "data: the dataset four_part"  # in messages


class FourPart(Rendered):
    """Composed four-part pieces of 30 to 45 s: sound [C, N] of the modality's length, with text such as
    "church organ, G major, 92 bpm".

    Piece k is composed from seed k, in any of 24 keys. `plays` of the instruments (General-MIDI names, or programs 0
    to 127) play it, all of them with null: which ones depends on k and the instruments, and in every len(instruments)
    pieces each instrument plays equally often. Each time the tempo is another one, between `slowest` and `fastest`
    (quarters a minute). `soundfont` is an SF2 file; without one, instruments are among those that multigen ships.
    RecipeError for settings out of range; MultigenError if midirenderer is missing.
    """

    def __init__(
        self,
        *,
        modality: Given[Modality],
        instruments: tuple[str | int, ...] = sounds.INSTRUMENTS,
        pieces: int = 480,
        plays: int | None = 1,
        slowest: int = 72,
        fastest: int = 112,
        soundfont: str | None = None,
        workers: int = 2,
    ) -> None:
        check_modality("four_part", modality)
        programs = programs_of(instruments)
        check_settings(slowest, fastest, pieces, workers)
        if plays is not None and not 1 <= plays <= len(programs):
            raise RecipeError(
                f"data.plays: {plays} is not allowed. Allowed: 1 to {len(programs)}, or null for all."
            )
        if soundfont is None:
            _check_shipped(programs)
        font = soundfont_file(soundfont, sounds.FONT)
        package_folder("midirenderer", _WHO)
        rate, channels = modality.shape(duration=1.0)[1], modality.shape()[0]
        settings = {
            "programs": programs,
            "pieces": pieces,
            "plays": plays,
            "tempi": (slowest, fastest),
            "font": files.sha256(font),
            "sound": (rate, channels, scores.TAIL, scores.BREATH),
            "rules": composer.VERSION,
        }

        def sources() -> list[Source]:
            notes = cache_folder("four_part", f"notes-{composer.VERSION}")
            found = []
            for seed in range(pieces):
                path = notes / f"piece{seed}.json"
                if not path.is_file():
                    scores.save(composer.compose(seed), path)
                found.append(Source(f"piece{seed}", path, path, _plays(programs, seed, plays)))
            return found

        super().__init__(
            name="four_part",
            kinds=KINDS,
            modality=modality,
            settings=json.dumps(settings),
            sources=sources,
            tempi=(slowest, fastest),
            font=font,
            workers=workers,
        )


def _plays(programs: Sequence[int], seed: int, plays: int | None) -> tuple[tuple[int, int], ...]:
    """Who plays a piece: in each run of len(programs) pieces, the programs in an order drawn for that run, turned."""
    n = len(programs)
    order = noise.permutation(n, seed // n, "four_part", "plays").tolist()
    return tuple((programs[order[(seed + turn) % n]], 0) for turn in range(plays or n))


def _check_shipped(programs: Sequence[int]) -> None:
    for number in programs:
        if PROGRAMS[number] not in sounds.INSTRUMENTS:
            raise RecipeError(
                f"data.instruments: {PROGRAMS[number]} is not among the shipped sounds. Allowed: "
                f"{', '.join(sounds.INSTRUMENTS)}; or any other with data.soundfont, an SF2 file of yours."
            )
