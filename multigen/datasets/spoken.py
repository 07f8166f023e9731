"""Sentences spoken by flite's free voices, and when each phone was said."""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock

from multigen.conditioners.phones import PAUSE, UNKNOWN, Spoken
from multigen.conditioners.pronunciation import in_letters, pronounce, words_of
from multigen.core.noise import stream
from multigen.datasets import Dataset, Item, held_out
from multigen.datasets.flite import RATE, VOICES, check_voices, program, speak
from multigen.datasets.sentences import VERSION, frequent, sentence
from multigen.errors import RecipeError
from multigen.modalities import Modality
from multigen.progress import Progress
from multigen.registry import Given
from multigen.storage import files
from multigen.storage.cache_folder import cache_folder

log = logging.getLogger(__name__)
_FORMAT = 1  # of the folder in the cache
_LEVEL = 0.08  # RMS of a sentence, -22 dB of full scale
_SLOWEST, _FASTEST = 1.25, 0.8  # by which flite's phones are stretched
_NOBODY, _MUTE, _SPELT = (
    0.2,
    0.25,
    0.12,
)  # shares of draws without a voice, with silent phones; of words as letters
_ROOM = 0.9  # most of a medium that a held-out sentence takes: others say it a little slower
_FEW = 0.4  # most of a crop of which nothing is said


class SpokenSentences(Dataset):
    """Sentences of random words: sound [1, N], "text" such as "slt: The river of.", "spoken" and "voice".

    voices     of flite: slt, rms, awb, kal16; each says its share of the sentences
    sentences  how many
    words      how many frequent words they are made of; a tenth of these is never said, for evaluation
    workers    sentences that are spoken at once

    Drawn items begin anywhere; some hide their voice, the phones of a stretch, or spell words in letters, so that the
    network also knows kept parts of an edit, strangers, and words that no dictionary has. RecipeError for settings out
    of range; MultigenError where flite is not installed.
    """

    def __init__(
        self,
        *,
        modality: Given[Modality],
        voices: tuple[str, ...] = VOICES[:3],
        sentences: int = 4800,
        words: int = 4000,
        workers: int = 2,
    ) -> None:
        if len(modality.shape()) != 2 or modality.shape(duration=1.0) != (1, RATE):
            raise RecipeError(
                "data: the dataset spoken is sound of one channel at 16000 Hz (modality.rate=16000)."
            )
        check_voices(voices)
        for name, value, least in (
            ("sentences", sentences, 1),
            ("words", words, 100),
            ("workers", workers, 1),
        ):
            if value < least:
                raise RecipeError(f"data.{name}: {value} is not allowed. Allowed: {least} or more.")
        self._shape, self.voices = modality.shape(), voices
        said = json.dumps([_FORMAT, VERSION, voices, sentences, words])
        self.folder = cache_folder("spoken", hashlib.blake2b(said.encode(), digest_size=8).hexdigest())
        index = self.folder / "index.json"
        with FileLock(self.folder / "lock"):
            if not index.is_file():
                _speak_all(self.folder, voices, sentences, words, workers)
        self._index = json.loads(index.read_text(encoding="utf-8"))
        self._sound = np.memmap(self.folder / "sound.i16", np.int16, "r")

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, index: int) -> Item:
        return self._item(index, 0.0)

    def draw(self, index: int, rng: torch.Generator) -> Item:
        """The sentence from anywhere, with what hides parts of its condition."""
        one = self._index[index]
        place, nobody, mute, *span = torch.rand(5, generator=rng).tolist()
        seconds, own = one["length"] / RATE, self._shape[1] / RATE
        # From a little before the sentence to a little before its end.
        start = (seconds - own) * place if seconds > own else (seconds - own) * place * 0.5
        item, whole = self._item(index, start), self._said(one, start)
        spoken = _with_letters(whole, one["text"], rng)
        if mute < _MUTE:
            spoken = _without(spoken, span[0] * own, span[0] * own + span[1] * _FEW * own)
        item["spoken"] = spoken
        if nobody < _NOBODY:
            item["voice"] = None
        return item

    def split(self) -> tuple[Sequence[int], Sequence[int]]:
        """Training and held-out indices, by text. Held-out sentences that fill a medium are in neither."""
        kept, out = held_out([one["text"] for one in self._index], share=0.05)
        return kept, [index for index in out if self._index[index]["length"] <= _ROOM * self._shape[1]]

    @property
    def instruments(self) -> tuple[str, ...]:
        """Names of the voices, sorted."""
        return tuple(sorted(self.voices))

    def summary(self) -> str:
        """How much there is."""
        hours = sum(one["length"] for one in self._index) / RATE / 3600
        return f"{len(self)} sentences of {len(self.voices)} voices, {hours:.1f} h"

    def _item(self, index: int, start: float) -> Item:
        """An item from `start` s, which may lie before the sentence."""
        one = self._index[index]
        first, length = round(start * RATE), self._shape[1]
        media = torch.zeros(1, length)
        begin, end = max(first, 0), min(first + length, one["length"])
        part = np.asarray(self._sound[one["offset"] + begin : one["offset"] + end])
        media[0, begin - first : end - first] = torch.from_numpy(part.astype(np.float32)) / 32768
        text, spoken = f"{one['voice']}: {one['text']}", self._said(one, start)
        return {"media": media, "id": one["id"], "text": text, "spoken": spoken, "voice": one["voice"]}

    def _said(self, one: dict[str, Any], start: float) -> Spoken:
        """What is said from `start` s, with the silence before the sentence."""
        ends = tuple(end - start for end in one["ends"])
        return Spoken((PAUSE, *one["tokens"]), (-start, *ends), min(-start, 0.0))


def _speak_all(folder: Path, voices: Sequence[str], sentences: int, words: int, workers: int) -> None:
    """Every sentence into one file of sound and an index."""
    program()
    frequent(words)
    quiet = not log.isEnabledFor(logging.INFO)
    entries, offset = [], 0
    with (
        tempfile.TemporaryDirectory() as work,
        open(folder / "sound.part", "wb") as out,
        Progress("speak", sentences, "sentences", quiet=quiet) as bar,
        ThreadPoolExecutor(workers) as pool,
    ):

        def say(number: int) -> tuple[dict[str, object], np.ndarray]:
            text, voice = sentence(number, words), voices[number % len(voices)]
            u = float(torch.rand((), generator=stream(number, "spoken", "speed")))
            slower = _FASTEST * (_SLOWEST / _FASTEST) ** u
            path = Path(work, f"{number}.wav")
            said = speak(text, voice, slower, path)
            path.unlink()
            entry = {
                "id": f"{voice}{number}",
                "text": text,
                "voice": voice,
                "tokens": said.tokens,
                "ends": said.ends,
            }
            return entry, _levelled(said.sound)

        for entry, sound in pool.map(say, range(sentences)):
            out.write(sound.tobytes())
            entries.append(entry | {"offset": offset, "length": len(sound)})
            offset += len(sound)
            bar.advance()
    (folder / "sound.part").replace(folder / "sound.i16")
    files.write_json(folder / "index.json", entries)


def _levelled(sound: np.ndarray) -> np.ndarray:
    """A sentence of 16 bits at the level of all."""
    values = sound.astype(np.float64) / 32768
    scale = min(
        _LEVEL / max(float(np.sqrt((values**2).mean())), 1e-4), 0.95 / max(float(abs(values).max()), 1e-4)
    )
    return np.round(values * scale * 32767).astype(np.int16)


def _with_letters(spoken: Spoken, text: str, rng: torch.Generator) -> Spoken:
    """Some of the words as their letters, spread evenly over the time that the word takes."""
    words = [word for word in words_of(text) if word.text]
    chosen = torch.rand(len(words), generator=rng) < _SPELT
    if not chosen.any():
        return spoken
    tokens, ends = list(spoken.tokens), list(spoken.ends)
    place = len(tokens)
    for word, spell in zip(reversed(words), reversed(chosen.tolist()), strict=True):
        phones = pronounce(word.text)
        found = _find(tokens, phones, place)
        if found is None:
            continue  # flite says it in another way than the dictionary
        place = found
        letters = in_letters(word.text)
        if spell and letters:
            last = found + len(phones)
            begin = ends[found - 1] if found else spoken.first
            step = (ends[last - 1] - begin) / len(letters)
            tokens[found:last] = letters
            ends[found:last] = [begin + step * (k + 1) for k in range(len(letters))]
    return Spoken(tuple(tokens), tuple(ends), spoken.first)


def _find(tokens: Sequence[int], phones: Sequence[int], before: int) -> int | None:
    """Where the last such phones begin that end at `before` or at most 12 tokens earlier."""
    n = len(phones)
    for begin in range(before - n, max(before - n - 12, -1), -1):
        if list(tokens[begin : begin + n]) == list(phones):
            return begin
    return None


def _without(spoken: Spoken, begin: float, end: float) -> Spoken:
    """Nothing is said of what lies between two times, in s."""
    starts = (spoken.first, *spoken.ends[:-1])
    hidden = (
        UNKNOWN if a < end and b > begin else token
        for token, a, b in zip(spoken.tokens, starts, spoken.ends, strict=True)
    )
    return Spoken(tuple(hidden), spoken.ends, spoken.first)
