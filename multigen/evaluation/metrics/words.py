"""Spoken words: does an independent recogniser hear what was asked for, and does the voice sound as its own?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Literal

import numpy as np
from torch import Tensor
from torchaudio.functional import resample

from multigen.conditioners.pronunciation import dictionary, words_of
from multigen.core.noise import permutation
from multigen.datasets import Dataset
from multigen.evaluation.metrics import Metric, Score, Target
from multigen.evaluation.metrics.checks import check_modality
from multigen.evaluation.metrics.instrument import Instrument
from multigen.modalities import Modality
from multigen.registry import Given
from multigen.storage.packages import check_installed

RATE = 16000  # Hz, of the recogniser's model
_RIVALS = 7  # other words for each place of a slot grammar


class WordError(Metric):
    """Share of words that pocketsphinx hears wrong: (substituted + left out + added) / words asked for.

    The recogniser is told what could be said, as without that it errs on half of the words of real speech. "loop": any
    of `vocabulary` words, in any number and order; "slots": at each place the word asked for or one of seven others.
    The other words are those of the other prompts. The floor is the same sounds under another prompt's grammar.

    NaN for prompts with a word that the dictionary lacks. RecipeError unless the modality is sound; MultigenError where
    pocketsphinx is missing.
    """

    better = "lower"
    reads = "prompt"

    def __init__(
        self,
        *,
        modality: Given[Modality],
        dataset: Given[Dataset],
        grammar: Literal["loop", "slots"] = "loop",
        vocabulary: int = 60,
    ) -> None:
        check_modality(modality, (1,), "word_error")
        check_installed("pocketsphinx", "evaluate.metrics: word_error", "speech")
        if vocabulary < 2:
            raise ValueError(f"vocabulary: {vocabulary} is not allowed. Allowed: 2 or more.")
        self.rate = modality.shape(duration=1.0)[1]
        self.voices, self.grammar, self.vocabulary = dataset.instruments, grammar, vocabulary
        kind = f"a loop of {vocabulary} words" if grammar == "loop" else f"slots of {_RIVALS + 1} words"
        self.about = f"share of words that pocketsphinx hears wrong, told that they are of {kind}"

    def __call__(self, media: Sequence[Tensor], targets: Sequence[Target]) -> Score:
        """The word error of each sound [C, N]."""
        asked = [self._words(target.prompt) for target in targets]
        every = sorted(set(chain.from_iterable(asked)))
        return Score.of(
            [self._error(medium, words, every) for medium, words in zip(media, asked, strict=True)]
        )

    def _words(self, prompt: str) -> list[str]:
        name, colon, rest = prompt.partition(":")
        text = rest if colon and name.strip() in self.voices else prompt
        return [word.text for word in words_of(text) if word.text]

    def _error(self, medium: Tensor, words: list[str], every: Sequence[str]) -> float:
        if not words or any(word not in dictionary() for word in words):
            return math.nan
        heard = recognise(medium, self.rate, self._rule(words, every))
        return edits(words, heard) / len(words)

    def _rule(self, words: Sequence[str], every: Sequence[str]) -> str:
        """What could be said. The words beside those asked for depend on these alone."""
        others = [word for word in every if word not in words and word in dictionary()]
        order = permutation(len(others), 0, "word_error", *words).tolist() if others else []
        mixed = [others[k] for k in order]
        if self.grammar == "loop":
            own = list(dict.fromkeys(words))
            return f"({' | '.join([*own, *mixed[: max(self.vocabulary - len(own), 0)]])})+"
        shares = zip(words, _shares(mixed, len(words)), strict=True)
        return " ".join(f"({' | '.join([word, *rivals])})" for word, rivals in shares)


def slot_error(*, modality: Given[Modality], dataset: Given[Dataset]) -> WordError:
    """`WordError` with a slot grammar: each place holds the word asked for or one of seven others."""
    return WordError(modality=modality, dataset=dataset, grammar="slots")


class Voice(Metric):
    """Share of sounds whose voice a small classifier, trained on other sentences, takes for the one asked for.

    A linear classifier on standardised spectral descriptors of up to `items` training items, two crops of each. Its
    accuracy on held-out sentences is the ceiling.
    """

    better = "higher"
    reads = "prompt"
    about = "share whose voice a classifier trained on other sentences recognises"

    def __init__(self, *, modality: Given[Modality], dataset: Given[Dataset], items: int = 240) -> None:
        self._judge = Instrument(modality=modality, dataset=dataset, items=items)

    def __call__(self, media: Sequence[Tensor], targets: Sequence[Target]) -> Score:
        """1 where the voice is recognised, 0 where it is not, NaN where the prompt names none."""
        return self._judge(media, targets)


def recognise(medium: Tensor, rate: int, rule: str) -> list[str]:
    """The words that pocketsphinx hears in a sound [C, N] of a rate in Hz, under a rule in JSGF."""
    mono = resample(medium.mean(0).float().cpu(), rate, RATE)
    # The recogniser expects the level of speech near a microphone; it hears neither very soft nor clipped sound well.
    level = mono.square().mean().sqrt().clamp(min=1e-5)
    mono = (mono * (0.08 / level)).clamp(-0.99, 0.99)
    decoder = _decoder()
    decoder.add_jsgf_string("said", f"#JSGF V1.0;\ngrammar said;\npublic <said> = {rule};\n")
    decoder.activate_search("said")
    decoder.start_utt()
    decoder.process_raw((mono * 32767).numpy().astype(np.int16).tobytes(), full_utt=True)
    decoder.end_utt()
    found = decoder.hyp()
    return [] if found is None else found.hypstr.split()


def edits(wanted: Sequence[str], heard: Sequence[str]) -> int:
    """Levenshtein's distance of two lists of words."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(wanted, 1):
        last, row[0] = row[0], i
        for j, other in enumerate(heard, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (word != other))
    return row[-1]


def _decoder() -> Any:
    """A recogniser without a language model. It keeps what it adapted to, so each sound has its own."""
    import pocketsphinx  # an extra

    return pocketsphinx.Decoder(lm=None, loglevel="FATAL", bestpath=False)


def _shares(words: Sequence[str], places: int) -> Iterator[list[str]]:
    """Seven words for each place, from all of them in turn."""
    for place in range(places):
        yield [words[(place * _RIVALS + k) % len(words)] for k in range(min(_RIVALS, len(words)))]
