"""Condition speech on what is said, when, and by whom."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from multigen.conditioners import Conditioner, Extent, Heard
from multigen.conditioners.durations import Durations
from multigen.conditioners.phones import PAUSE, TOKENS, UNKNOWN, Spoken
from multigen.conditioners.prompts import check_text, column
from multigen.conditioners.pronunciation import words_of
from multigen.conditioners.timbre import Timbre
from multigen.core.conditioning import Cond, CondSpec
from multigen.errors import MultigenError, message
from multigen.options import CONDITIONERS, Option
from multigen.prompts.left_out import ALL
from multigen.registry import Given

log = logging.getLogger(__name__)

_LEAD, _TAIL = 0.2, 0.2  # s of silence before and after what is said
_GRAIN = 0.128  # s; lengths are whole numbers of these, so that requests can share a batch
_SAID = 3  # channels beside a token's: how far it has come, its length, and that something is said at all


class _Modality(Protocol):
    def shape(self, *, duration: float | None = None) -> tuple[int, ...]: ...


class Speech(Conditioner):
    """A sentence as phones along the sound, `Cond.grid` [B, width + 3, N], and a vector of the voice, [B, width].

    Words are looked up in the CMU Pronouncing Dictionary; those that it lacks are said from their letters. How long
    each phone lasts is predicted from it, its neighbours and the voice, as measured on the training set (`Durations`).

    voices  names of who speaks. A prompt may name its voice as a script does: "slt: Good morning."
    width   of a token's and of a voice's learned vector

    In an edit the prompt is what is said in the part that is made anew; of what is kept, nothing is said. Where neither
    the prompt nor the request names a voice, it is that of what is kept, or the nearest to it (`Timbre`).

    ValueError for no voices, for a name that a prompt cannot give, and for a modality other than sound.
    """

    text = True
    added = frozenset({"timbre.means", "timbre.whitening", "timbre.radius"})

    def __init__(self, *, modality: Given[_Modality], voices: tuple[str, ...], width: int = 64) -> None:
        super().__init__()
        if not voices or len(set(voices)) != len(voices):
            raise ValueError("voices: give one name or more, each once")
        if any(not voice or ":" in voice or voice != voice.strip() for voice in voices):
            raise ValueError("voices: a name has no colon, and no blank at its ends")
        if width < 1:
            raise ValueError(f"width: {width} is not allowed. Allowed: 1 or more.")
        if len(modality.shape()) != 2:
            raise ValueError("conditioner speech: the modality has no sound. Allowed: modality.name=audio.")
        self.voices = voices
        self.rate = modality.shape(duration=1.0)[1]
        self.spec = CondSpec(vector=width, grid=width + _SAID)
        self.tokens = nn.Embedding(TOKENS, width, padding_idx=UNKNOWN)
        self.voice = nn.Embedding(len(voices) + 1, width)
        self.durations, self.timbre = Durations(len(voices)), Timbre(len(voices), self.rate)

    @classmethod
    def declares(cls, args: Mapping[str, Any]) -> tuple[Option, ...]:
        """Voice and speed."""
        return CONDITIONERS["speech"](args)

    def forward(self, batch: Mapping[str, Any]) -> Cond:
        """batch["voice"]: B names, None for nobody in particular -> vector [B, width]."""
        return self._vectors([self._number(name) for name in column(batch, "voice", "speech")])

    def null(self, batch_size: int) -> Cond:
        """Return the learned vector of nobody in particular, [B, width]."""
        return self._vectors([None] * batch_size)

    def fit(self, items: Iterable[Mapping[str, Any]]) -> None:
        """Measure how long phones last in items with "spoken" and "voice", and what the voices sound like."""
        said = list[tuple[Spoken, int | None]]()

        def sounds() -> Iterator[tuple[Tensor, int | None]]:
            for item in items:
                if "spoken" in item:
                    said.append((item["spoken"], self._number(item["voice"])))
                    yield item["media"], said[-1][1]

        if unknown := [self.voices[number] for number in self.timbre.fit(sounds())]:
            log.warning(
                "voice: %s: too little was heard to know it again; no edit goes on in it by itself. Two clips of 0.4 s "
                "of speech or more would do", ", ".join(unknown),
            )  # fmt: skip
        self.durations.fit(said)

    def heard(self, media: Tensor, keep: Tensor) -> Mapping[str, Heard]:
        """The voice of a sound [C, N]; nothing where too little is said in it, or no voices were measured."""
        found = self.timbre(media, keep)
        return {} if found is None else {"voice": Heard(self.voices[found.voice], found.near)}

    def settles(self, prompt: str) -> frozenset[str]:
        """Return "voice" where the prompt names its own."""
        return frozenset() if self._split(check_text(prompt), None)[0] is None else frozenset({"voice"})

    def from_prompts(self, prompts: Sequence[str]) -> Mapping[str, Any]:
        """Return {"spoken": ..., "voice": ...} at the usual speed."""
        return self.asked(prompts, {})

    def asked(self, prompts: Sequence[str], options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return {"spoken": B times `Spoken`, "voice": B names}. The voice that a prompt names goes first.

        MultigenError for what cannot be spoken, and for an unknown voice.
        """
        spoken, voices = list[Spoken](), list[str | None]()
        for prompt in prompts:
            voice, text = self._split(check_text(prompt), options.get("voice"))
            tokens = [token for word in words_of(text) for token in word.tokens]
            if prompt.strip() and not tokens:
                raise MultigenError(
                    f"prompt: {prompt!r} has no word to say. Allowed: a sentence, or nothing at all."
                )
            spoken.append(self._spoken(tokens, voice, options.get("speed")))
            voices.append(voice)
        return {"spoken": spoken, "voice": voices}

    def left_out(self, prompt: str) -> list[tuple[str, str]]:
        """Return the voice that the prompt names, and all that is said: without one word, all others come earlier."""
        voice, text = self._split(check_text(prompt), None)
        named = [(voice, text)] if voice is not None and text.strip() else []
        return [*named, (ALL, "")] if prompt.strip() else []

    def extent(self, prompt: str, options: Mapping[str, Any]) -> Extent | None:
        """Return how long a sentence takes, in s; None for the empty prompt."""
        spoken: Spoken = self.asked([prompt], options)["spoken"][0]
        if not spoken.tokens:
            return None
        return Extent(duration=math.ceil(spoken.ends[-1] / _GRAIN - 1e-9) * _GRAIN)

    def along(
        self,
        batch: Mapping[str, Any],
        media: tuple[int, ...],
        size: Sequence[int],
        made: Tensor | None = None,
    ) -> Tensor:
        """batch["spoken"]: B times `Spoken` -> [B, width + 3, N] for sounds [C, N']; 0 where nothing is said.

        A prompt's words fill what is made: all of the medium, or the parts that an edit makes.
        """
        (places,) = size
        said = column(batch, "spoken", "speech")
        times = _times(media[1] / self.rate, places, made)
        inner = (False, False) if made is None else (not bool(made[0]), not bool(made[-1]))
        rows = [_course(_joined(spoken, *inner), *times) for spoken in said]
        tokens = torch.stack([row[0] for row in rows]).to(self.tokens.weight.device)
        values = torch.stack([row[1] for row in rows]).to(self.tokens.weight)
        return torch.cat([self.tokens(tokens).transpose(1, 2), values], 1)

    def _split(self, prompt: str, voice: str | None) -> tuple[str | None, str]:
        """The voice and the text of a prompt."""
        name, colon, rest = prompt.partition(":")
        known = {one.casefold(): one for one in self.voices}
        if colon and name.strip().casefold() in known:
            return known[name.strip().casefold()], rest
        if voice is not None and voice not in self.voices:
            raise MultigenError(message("voice", voice, self.voices))
        return voice, prompt

    def _spoken(self, tokens: Sequence[int], voice: str | None, speed: float | None) -> Spoken:
        if not tokens:
            return Spoken((), (), fits=True)
        tokens = [PAUSE, *tokens, PAUSE]
        seconds = (self.durations(tokens, self._number(voice)) / (speed or 1.0)).tolist()
        seconds[0], seconds[-1] = _LEAD, _TAIL
        return Spoken(tuple(tokens), tuple(accumulate(seconds)), fits=True)

    def _number(self, voice: str | None) -> int | None:
        return None if voice is None or voice not in self.voices else self.voices.index(voice)

    def _vectors(self, numbers: Sequence[int | None]) -> Cond:
        rows = torch.tensor([len(self.voices) if number is None else number for number in numbers])
        return Cond(vector=self.voice(rows.to(self.voice.weight.device)))


def _joined(spoken: Spoken, before: bool, after: bool) -> Spoken:
    """A prompt's words without the silence at an end where sound is kept beside it."""
    if not spoken.fits or len(spoken.tokens) < 3:
        return spoken
    first, last = int(before), len(spoken.tokens) - int(after)
    skipped = spoken.ends[0] if before else 0.0
    ends = tuple(end - skipped for end in spoken.ends[first:last])
    return Spoken(spoken.tokens[first:last], ends, fits=True)


def _times(seconds: float, places: int, made: Tensor | None) -> tuple[Tensor, Tensor, float]:
    """The time of each place [N] since what is made began, whether it is made, and how long that is, in s."""
    one = seconds / places
    own = torch.ones(places, dtype=torch.bool) if made is None or not made.any() else made.cpu()
    times = (own.double().cumsum(0) - 0.5) * one
    return times, own, float(own.sum()) * one


def _course(spoken: Spoken, times: Tensor, made: Tensor, total: float) -> tuple[Tensor, Tensor]:
    """Tokens [N], and how far each has come, the logarithm of its length, and whether something is said [3, N]."""
    if not spoken.tokens:
        return torch.full(times.shape, UNKNOWN), torch.zeros(_SAID, len(times))
    starts = torch.tensor((spoken.first, *spoken.ends[:-1]), dtype=torch.float64)
    ends = torch.tensor(spoken.ends, dtype=torch.float64)
    if spoken.fits:
        starts, ends = (edge * (total / float(ends[-1])) for edge in (starts, ends))
    place = torch.searchsorted(ends, times.contiguous(), right=True)
    inside = place.clamp(max=len(ends) - 1)
    tokens = torch.where(place < len(ends), torch.tensor(spoken.tokens)[inside], PAUSE)
    length = (ends - starts)[inside].clamp(min=1e-3)
    values = torch.stack(
        [((times - starts[inside]) / length).clamp(0, 1), length.log() / 3 + 1, torch.ones(len(times))]
    )
    said = made & (tokens != UNKNOWN)
    return torch.where(said, tokens, UNKNOWN), torch.where(said, values, 0).float()
