"""Condition music on text, and on the beat that it names, as channels that run along the sound."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from multigen.conditioners.beat import Beat
from multigen.conditioners.text import Text
from multigen.core.conditioning import CondSpec
from multigen.registry import Given

CHANNELS = 6
_RAMP = 4.0  # seconds over which the end of a piece announces itself
_FADE = 0.75  # seconds that the last note has at least to die away
_SLOWEST, _FASTEST = 20, 400  # bpm; other numbers are no tempo
_TEMPO = re.compile(r"\b(\d+(?:\.\d+)?) ?(?:bpm|beats per minute)\b", re.IGNORECASE)
_METRES = (
    (3, re.compile(r"\bin three\b|\b3/4\b", re.IGNORECASE)),
    (4, re.compile(r"\bin four\b|\b4/4\b", re.IGNORECASE)),
)
_ENDING = re.compile(r"\bending\b", re.IGNORECASE)


class _Modality(Protocol):
    def shape(self, *, duration: float | None = None) -> tuple[int, ...]: ...


class MusicText(Text):
    """Text as `Text` has it, and six channels along the sound, `Cond.grid` [B, 6, N].

    Where the caption names a tempo, as "92 bpm", the first four are the sine and cosine of the beat and of the bar; the
    latter only where the metre is named ("in three", "in four"). "ending" says that the piece ends with the sound:
    then the last two rise before the end of the last note, and are 1 after it. All are 0 where nothing is said.

    A number in words alone is obeyed badly: the tempo changes the loss of a training by 1%, the places of the beats by
    far more. `path`, `tokens`, `pooled` and `max_tokens` as in `Text`. ValueError for other arguments.
    """

    def __init__(
        self,
        *,
        modality: Given[_Modality],
        path: str | None = None,
        tokens: bool = True,
        pooled: bool = True,
        max_tokens: int = 48,
    ) -> None:
        super().__init__(path=path, tokens=tokens, pooled=pooled, max_tokens=max_tokens)
        if len(modality.shape()) != 2:
            raise ValueError(
                "conditioner music_text: the modality has no beat. Allowed: sound (modality.name=audio)."
            )
        self.rate = modality.shape(duration=1.0)[1]
        self.spec = CondSpec(vector=self.spec.vector, tokens=self.spec.tokens, grid=CHANNELS)

    def from_prompts(self, prompts: Sequence[str]) -> Mapping[str, Any]:
        """Return {"text": prompts, "beat": what they say of tempo, metre and end}."""
        return {**super().from_prompts(prompts), "beat": [beat_of(prompt) for prompt in prompts]}

    def along(
        self,
        batch: Mapping[str, Any],
        media: tuple[int, ...],
        size: Sequence[int],
        made: Tensor | None = None,
    ) -> Tensor:
        """batch["beat"]: B times `Beat` -> [B, 6, N] for sounds [C, N'].

        Zeros where the items have no beat, and in an edit, whose medium has its own.
        """
        device = self.device_of.device
        if "beat" not in batch or made is not None:
            return torch.zeros(len(batch["text"]), CHANNELS, *size, device=device)
        seconds = media[1] / self.rate
        rows = [course(beat, seconds, *size) for beat in batch["beat"]]
        return torch.stack(rows).to(device, self.device_of.dtype)


def beat_of(prompt: str) -> Beat:
    """What a prompt says of the beat; a piece begins on the first beat of a bar."""
    tempo = _TEMPO.search(prompt)
    bpm = float(tempo[1]) if tempo and _SLOWEST <= float(tempo[1]) <= _FASTEST else 0.0
    metre = next((n for n, words in _METRES if words.search(prompt)), 0)
    return Beat(0.0, bpm, metre, None if _ENDING.search(prompt) else math.inf)


def course(beat: Beat, seconds: float, places: int) -> Tensor:
    """The six channels [6, places] of a sound of a length in seconds."""
    t = (torch.arange(places, dtype=torch.float64) + 0.5) * (seconds / places)
    quarters = beat.first + t * (beat.bpm / 60)
    rows = torch.zeros(CHANNELS, places, dtype=torch.float64)
    if beat.bpm:
        rows[:2] = _circle(quarters)
        if beat.metre:
            rows[2:4] = _circle(quarters / beat.metre)
    left = _end(beat, seconds) if beat.left is None else beat.left
    if math.isfinite(left):
        rows[4] = (1 - (left - t) / _RAMP).clamp(0, 1)
        rows[5] = (t >= left).double()
    return rows.float()


def _circle(turns: Tensor) -> Tensor:
    angle = 2 * math.pi * turns
    return torch.stack([angle.sin(), angle.cos()])


def _end(beat: Beat, seconds: float) -> float:
    """Where the last note of a piece ends that ends with the sound: on the last beat that leaves it time to fade."""
    last = max(seconds - _FADE, 0.0)
    return (math.floor(beat.first + last * beat.bpm / 60) - beat.first) * 60 / beat.bpm if beat.bpm else last
