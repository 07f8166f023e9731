"""Metrics of texts: whether words exist, how often lines repeat or are copied, and how letters follow each other."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from torch import Tensor

from multigen.datasets import Dataset
from multigen.evaluation.metrics import Metric, Score, Target
from multigen.registry import Given
from multigen_text.modality import Text


def words(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return re.findall(r"[a-z']+", text.lower())


class _Of(Metric):
    """What all have: the modality, and the texts of training and those held out."""

    reads = "media"

    def __init__(self, *, modality: Given[Text], dataset: Given[Dataset]) -> None:
        self.modality = modality
        train, out = dataset.split()
        self.train, self.out = ([modality.text(dataset[k]["media"]) for k in part] for part in (train, out))

    def texts(self, media: Sequence[Tensor]) -> list[str]:
        return [self.modality.text(one) for one in media]


class Words(_Of):
    """Share of a text's words that any text of the data has, by characters; 0 for a text without words."""

    better, about = "higher", "share of a text's letters in words that the data know"

    def __call__(self, media: Sequence[Tensor], targets: Sequence[Target]) -> Score:
        known = {word for text in (*self.train, *self.out) for word in words(text)}
        return Score.of([_share(words(text), known) for text in self.texts(media)])


class Distinct(_Of):
    """Share of texts that no earlier one of the set is equal to."""

    better, about = "real", "share of texts that are not said twice"

    def __call__(self, media: Sequence[Tensor], targets: Sequence[Target]) -> Score:
        seen: set[str] = set()
        found = []
        for text in self.texts(media):
            found.append(float(text not in seen))
            seen.add(text)
        return Score.of(found)


class NGrams(_Of):
    """Total variation between the sequences of `n` characters of the set and of the texts held out: 0 is the same."""

    better, about = "lower", "distance between the sequences of characters of the set and of held-out texts"

    def __init__(self, *, modality: Given[Text], dataset: Given[Dataset], n: int = 2) -> None:
        super().__init__(modality=modality, dataset=dataset)
        if n < 1:
            raise ValueError(f"n: {n} is not allowed. Allowed: 1 or more.")
        self.n = n

    def __call__(self, media: Sequence[Tensor], targets: Sequence[Target]) -> Score:
        made, real = self._counts(self.texts(media)), self._counts(self.out or self.train)
        a, b = max(made.total(), 1), max(real.total(), 1)
        return Score.of([sum(abs(made[g] / a - real[g] / b) for g in made | real) / 2])

    def _counts(self, texts: Iterable[str]) -> Counter[str]:
        return Counter(
            t[k : k + self.n] for t in (f" {text} " for text in texts) for k in range(len(t) - self.n + 1)
        )


class Copied(_Of):
    """Share of texts that a text of the training is equal to."""

    better, about = "real", "share of texts that training saw as they are"

    def __call__(self, media: Sequence[Tensor], targets: Sequence[Target]) -> Score:
        known = set(self.train)
        return Score.of([float(text in known) for text in self.texts(media)])


def _share(found: Sequence[str], known: set[str]) -> float:
    letters = sum(map(len, found))
    return sum(len(word) for word in found if word in known) / letters if letters else 0.0
