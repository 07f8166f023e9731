"""Piano rolls as numbers that noise can be added to: some for each part and step, those of a beat at one place.

    chroma    12: (b - 1/12) / sqrt(11/144), b 1 for the pitch class that sounds, else 0
    height     1: (pitch - 60) / 12
    sounding   1: 1, or -1 for a rest
    onset      1: 1 where a note begins, else -1

The conductor's row has the key's tonic as its chroma and its mode as its height, the tempo where others sound, and the
beginnings of bars as onsets. Pitch classes are equally far apart, so that no wrong note is nearer than another; which
octave it is in, the height says, and only that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from einops import rearrange
from torch import Tensor

from multigen.codecs import Codec
from multigen.modalities.notes import Notes
from multigen.modalities.roll import BAR, BEAT, FIFTHS, MODE, PITCHES, PROGRAM, TEMPO
from multigen.registry import Given

WIDTH = 15
_MEAN, _SCALE = 1 / 12, math.sqrt(11 / 144)
_MICROSECONDS = 1_500_000.0
_USUAL, _OCTAVES = (
    88.0,
    0.5,
)  # quarters a minute whose tempo is 0, and octaves of tempo to which 1 corresponds
_METRES = range(2, 9)  # quarters a bar that are told from each other
_FIFTHS = {7 * f % 12: f for f in range(-5, 7)}  # signature of a major key, by its tonic


class Voices(Codec):
    """Rolls [B, 1, T, P + 1, 128] <-> [B, 15 * fold, T / fold, P + 1].

    fold  steps at one place; null: those of a quarter

    A piece that is decoded has one tempo, one key and one metre, whole quarters a bar, that agree best with what was
    made, and the instruments of the modality. ValueError for a fold under 1, or a modality that is not notes.
    """

    def __init__(self, *, modality: Given[Notes], fold: int | None = None) -> None:
        super().__init__()
        if len(modality.shape()) != 4 or modality.shape()[-1] != PITCHES:
            raise ValueError("voices: the modality has no notes. Allowed: modality.name=notes.")
        if fold is not None and fold < 1:
            raise ValueError(f"fold: {fold} is not allowed. Allowed: 1 or more.")
        self.steps, self.programs = modality.steps, modality.programs
        self.fold = modality.steps if fold is None else fold

    def shape(self, media: tuple[int, ...]) -> tuple[int, ...]:
        """Return (15 * fold, T / fold, P + 1). ValueError for steps that fold does not divide."""
        if media[1] % self.fold:
            raise ValueError(f"fold: {self.fold} does not divide {media[1]} steps.")
        return (WIDTH * self.fold, media[1] // self.fold, media[2])

    def whole(self, media: tuple[int, ...]) -> tuple[int, ...]:
        """Steps up to a multiple of fold."""
        return (media[0], -(-media[1] // self.fold) * self.fold, *media[2:])

    def encode(self, media: Tensor) -> Tensor:
        """[B, 1, T, P + 1, 128] -> [B, 15 * fold, T / fold, P + 1]."""
        rows, conductor = media[:, 0, :, :-1], media[:, 0, :, -1]
        level, pitch = rows.max(-1)
        sounds = level > -0.5
        begins = level > 0.5
        begins |= sounds & (_before(sounds, False) & (pitch != _before(pitch, 0)))
        voices = [
            torch.where(sounds[..., None], _one_hot(pitch % 12), torch.zeros((), device=media.device)),
            torch.where(sounds, (pitch - 60) / 12, 0.0)[..., None],
            (2.0 * sounds - 1)[..., None],
            (2.0 * begins - 1)[..., None],
        ]
        tempo = 60e6 / ((conductor[..., TEMPO] + 1) * _MICROSECONDS).clamp_min(1)
        mode = conductor[..., MODE].round()
        tonic = (7 * (conductor[..., FIFTHS] * 7).round().long() + 9 * (mode < 0)) % 12
        counted = [
            _one_hot(tonic),
            mode[..., None],
            ((tempo / _USUAL).log2() / _OCTAVES)[..., None],
            (2.0 * (conductor[..., BAR] > 0) - 1)[..., None],
        ]
        x = torch.cat([torch.cat(voices, -1), torch.cat(counted, -1)[:, :, None]], 2)
        x[..., :12] = (x[..., :12] - _MEAN) / _SCALE
        return rearrange(x, "b (t f) p c -> b (f c) t p", f=self.fold).contiguous()

    def decode(self, x: Tensor, *, seed: int = 0) -> Tensor:
        """[B, 15 * fold, T / fold, P + 1] -> rolls [B, 1, T, P + 1, 128]. `seed` has no effect."""
        x = rearrange(x, "b (f c) t p -> b (t f) p c", f=self.fold)
        rows, conductor = x[:, :, :-1], x[:, :, -1]
        pitch = _pitches(rows)
        sounds = rows[..., 13] > 0
        begins = sounds & ((rows[..., 14] > 0) | ~_before(sounds, False) | (pitch != _before(pitch, 0)))
        roll = x.new_full((*x.shape[:3], PITCHES), -1.0)
        level = torch.where(begins, 1.0, torch.where(sounds, 0.0, -1.0)).to(x)
        roll[:, :, :-1].scatter_(-1, pitch[..., None], level[..., None])
        roll[:, :, -1] = self._conductor(conductor)
        return roll[:, None]

    def latent_mask(self, keep: Tensor) -> Tensor:
        """Places all of whose steps and pitches are kept: bool [T, P + 1, 128] -> bool [T / fold, P + 1]."""
        return rearrange(keep.all(-1), "(t f) p -> t p f", f=self.fold).all(-1)

    def fit(self, media: Iterable[Tensor]) -> None:
        """Do nothing: the scales are fixed."""

    def _conductor(self, x: Tensor) -> Tensor:
        """What the conductor's numbers [B, T, 15] say best of a whole piece: [B, T, 128]."""
        found = x.new_full((*x.shape[:2], PITCHES), -1.0)
        bpm = _USUAL * torch.exp2(_OCTAVES * x[..., 13].mean(1)).clamp(20 / _USUAL, 480 / _USUAL)
        found[..., TEMPO] = ((60e6 / bpm.round()).round() / _MICROSECONDS - 1)[:, None]
        tonic = x[..., :12].mean(1).argmax(-1)
        major = x[..., 12].mean(1) >= 0
        table = torch.tensor([_FIFTHS[k] for k in range(12)], device=x.device)
        found[..., FIFTHS] = (table[torch.where(major, tonic, (tonic + 3) % 12)] / 7).to(x)[:, None]
        found[..., MODE] = torch.where(major, 1.0, -1.0).to(x)[:, None]
        found[..., BEAT] = 0
        found[..., BAR] = torch.stack([self._bars(row) for row in x[..., 14]])
        for row, program in enumerate(self.programs):
            found[..., PROGRAM + row] = program / 63.5 - 1
        return found

    def _bars(self, heard: Tensor) -> Tensor:
        """Where bars begin, 1 or -1 [T]: of all metres and pick-ups in whole quarters, those that agree best."""
        best, found = -math.inf, torch.full_like(heard, -1.0)
        for metre in _METRES:
            for pickup in range(metre):
                grid = torch.full_like(heard, -1.0)
                grid[pickup * self.steps :: metre * self.steps] = 1
                # Neither bars that are heard too often nor too seldom: as many as the grid has.
                agrees = float(-(heard.clamp(-1, 1) - grid).square().sum())
                if agrees > best and bool((grid > 0).any()):
                    best, found = agrees, grid
        return found


def _pitches(rows: Tensor) -> Tensor:
    """The pitch of each place [..., 15]: its strongest pitch class, in the octave that is nearest to its height."""
    tone = rows[..., :12].argmax(-1)
    octave = ((rows[..., 12] * 12 + 60 - tone) / 12).round()
    pitch = tone + 12 * octave.long()
    return torch.where(
        pitch < 0, tone, torch.where(pitch >= PITCHES, tone + 12 * ((127 - tone) // 12), pitch)
    )


def _one_hot(values: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(values, 12).float()


def _before(values: Tensor, first: float) -> Tensor:
    """Values [B, T, ...] one step later, with `first` at the beginning."""
    return torch.cat([torch.full_like(values[:, :1], first), values[:, :-1]], 1)
