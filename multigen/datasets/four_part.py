"""Four-part pieces composed by rules (`multigen.datasets.composer`), rendered with the sounds that multigen ships.

The pieces are nobody's but multigen's; the sounds are free: see multigen/sounds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial

from multigen import sounds
from multigen.core import noise
from multigen.datasets import composer, scores
from multigen.datasets.composer import Texture
from multigen.datasets.music_settings import check_modality, check_settings, programs_of, soundfont_file
from multigen.datasets.rendered import Rendered, Source
from multigen.errors import RecipeError, message
from multigen.modalities import Modality
from multigen.modalities.general_midi import PROGRAMS
from multigen.registry import Given
from multigen.storage import files
from multigen.storage.cache_folder import cache_folder
from multigen.storage.packages import package_folder

KINDS: Mapping[Texture, tuple[str, str]] = {  # for captions
    "chorale": ("four-part piece", "chorale"),
    "song": ("song", "melody with accompaniment"),
}
_WHO = "data: the dataset four_part"  # in messages


class FourPart(Rendered):
    """Composed four-part pieces of 30 to 45 s: sound [C, N], text such as "church organ, G major, 92 bpm".

    instruments  General MIDI names, or programs 0 to 127
    pieces       piece k is composed from seed k, in any of 24 keys
    textures     "chorale", four voices of one kind, "song", a melody with accompaniment, or both, in turn
    plays        how many of the instruments play each piece, null for all; over len(instruments) pieces each plays
                 equally often
    slowest, fastest  tempi in quarters per minute; each render has its own
    soundfont    SF2 file; without one, the sounds that multigen ships, with their instruments
    workers      processes that render

    RecipeError for settings out of range; MultigenError if midirenderer is missing.
    """

    def __init__(
        self,
        *,
        modality: Given[Modality],
        instruments: tuple[str | int, ...] = sounds.INSTRUMENTS,
        pieces: int = 480,
        textures: tuple[str, ...] = ("chorale",),
        plays: int | None = 1,
        slowest: int = 72,
        fastest: int = 112,
        soundfont: str | None = None,
        workers: int = 2,
    ) -> None:
        check_modality("four_part", modality)
        programs = programs_of(instruments)
        check_settings(slowest, fastest, pieces, workers)
        _check_plays(plays, programs)
        kinds = textures_of(textures)
        if soundfont is None:
            _check_shipped(programs)
        font = soundfont_file(soundfont, sounds.FONT)
        package_folder("midirenderer", _WHO)
        rate, channels = modality.shape(duration=1.0)[1], modality.shape()[0]
        settings = {
            "programs": programs,
            "pieces": pieces,
            "plays": plays,
            "textures": kinds,
            "tempi": (slowest, fastest),
            "font": files.sha256(font),
            "sound": (rate, channels, scores.TAIL, scores.BREATH),
            "rules": composer.VERSION,
        }
        super().__init__(
            name="four_part",
            modality=modality,
            settings=json.dumps(settings),
            sources=partial(_sources, programs, pieces, plays, kinds),
            tempi=(slowest, fastest),
            font=font,
            workers=workers,
        )


def _sources(
    programs: Sequence[int], pieces: int, plays: int | None, textures: Sequence[Texture]
) -> list[Source]:
    """Every piece, composed if its notes are not in the cache yet.

    Each instrument plays all textures: they change after as many pieces as there are instruments.
    """
    notes = cache_folder("four_part", f"notes-{composer.VERSION}")
    found = []
    for seed in range(pieces):
        texture = textures[seed // len(programs) % len(textures)]
        name = f"{'piece' if texture == 'chorale' else texture}{seed}"
        path = notes / f"{name}.json"
        if not path.is_file():
            scores.save(composer.compose(seed, texture), path)
        found.append(Source(name, path, path, _plays(programs, seed, plays), KINDS[texture]))
    return found


def _plays(programs: Sequence[int], seed: int, plays: int | None) -> tuple[tuple[int, int], ...]:
    """The programs that play a piece, each with a transposition of 0.

    Each run of len(programs) pieces has a random order of the programs, rotated by one from piece to piece.
    """
    n = len(programs)
    order = noise.permutation(n, seed // n, "four_part", "plays").tolist()
    return tuple((programs[order[(seed + turn) % n]], 0) for turn in range(plays or n))


def _check_plays(plays: int | None, programs: Sequence[int]) -> None:
    if plays is not None and not 1 <= plays <= len(programs):
        raise RecipeError(
            f"data.plays: {plays} is not allowed. Allowed: 1 to {len(programs)}, or null for all."
        )


def textures_of(given: Sequence[str]) -> tuple[Texture, ...]:
    """Textures by name, each once. RecipeError for an unknown one, or if there are none."""
    for name in given or ("",):
        if name not in KINDS:
            raise RecipeError(message("data.textures", name, tuple(KINDS)))
    return tuple(texture for texture in KINDS if texture in given)


def _check_shipped(programs: Sequence[int]) -> None:
    for number in programs:
        if PROGRAMS[number] not in sounds.INSTRUMENTS:
            raise RecipeError(
                f"data.instruments: {PROGRAMS[number]} is not among the shipped sounds. Allowed: "
                f"{', '.join(sounds.INSTRUMENTS)}; or any other with data.soundfont, an SF2 file of yours."
            )
