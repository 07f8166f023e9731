"""Four-part pieces composed by rules (`multigen.datasets.composer`), as notes. They are nobody's but multigen's."""

from __future__ import annotations

import logging

from multigen.datasets import composer
from multigen.datasets.composer import Texture
from multigen.datasets.four_part import textures_of
from multigen.datasets.music_settings import check_settings
from multigen.datasets.pieces import Pieces, check_notes, gapless, kept, signature
from multigen.datasets.scores import BREATH
from multigen.modalities.notes import Notes
from multigen.modalities.roll import Key, Piece
from multigen.progress import Progress
from multigen.registry import Given
from multigen.storage.cache_folder import cache_folder

log = logging.getLogger(__name__)


class ComposedNotes(Pieces):
    """Composed four-part pieces of about 48 to 64 quarters: rolls, text such as "G major, 92 bpm".

    pieces     piece k is composed from seed k
    textures   "chorale", four voices of one kind, "song", a melody with accompaniment, or both, in turn
    slowest, fastest  tempi in quarters a minute
    transpose  semitones at most, up and down, by which crops are moved

    RecipeError for settings out of range, or a modality that is not notes of four parts.
    """

    def __init__(
        self,
        *,
        modality: Given[Notes],
        pieces: int = 480,
        textures: tuple[str, ...] = ("chorale",),
        slowest: int = 72,
        fastest: int = 112,
        transpose: int = 6,
    ) -> None:
        check_notes("composed notes", modality)
        check_settings(slowest, fastest, pieces, 1)
        kinds = textures_of(textures)
        folder = cache_folder("composed_notes", f"{composer.VERSION}-{modality.steps}")
        found: dict[str, Piece] = {}
        with Progress("compose", pieces, "pieces", quiet=not log.isEnabledFor(logging.INFO)) as bar:
            for seed in range(pieces):
                texture = kinds[seed % len(kinds)]
                name = f"{texture}{seed}"
                found[name] = kept(
                    folder / f"{name}.json", lambda s=seed, t=texture: composed(s, t, modality.steps)
                )
                bar.advance()
        super().__init__(modality=modality, pieces=found, tempi=(slowest, fastest), transpose=transpose)


def composed(seed: int, texture: Texture, steps: int) -> Piece:
    """The piece of a seed, as it is written: notes before a breath are as long as if there were none."""
    score, plan = composer.compose_with_plan(seed, texture)
    parts = []
    for part in score.parts:
        notes = [(round(on * steps), max(1, round(size * steps)), pitch) for on, size, pitch in part]
        on, size, pitch = notes[-1]
        notes[-1] = (on, round(size / (1 - BREATH)), pitch)
        parts.append(gapless(notes, steps))
    length = max(note.end for part in parts for note in part)
    return Piece(
        length=length,
        parts=tuple(parts),
        bars=tuple(range(plan.pickup * steps, length, plan.metre * steps)),
        tempi=((0, 600_000),),
        keys=(Key(0, signature(score.tonic, score.mode), score.mode),),
        beat=4,
        programs=(0,) * len(parts),
    )
