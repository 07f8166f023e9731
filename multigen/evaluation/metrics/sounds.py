"""Sounds: in tune, in the asked key, on the asked instrument, as lively and as loud as real ones?"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from multigen import registry
from multigen.core.noise import stream
from multigen.datasets import Dataset
from multigen.datasets.general_midi import key_classes
from multigen.errors import RecipeError
from multigen.evaluation import audio
from multigen.evaluation.features import extract
from multigen.evaluation.metrics import Score, Wanted
from multigen.modalities import Modality
from multigen.registry import Given, Part

_KEY = re.compile(r"\b([A-G](?:-flat|-sharp)?) (major|minor)\b")


class _Sounds:
    """What every measure of sounds knows: its rate."""

    reads: ClassVar[Literal["prompt", "media"]] = "media"

    def __init__(self, *, modality: Given[Modality], dataset: Given[Dataset]) -> None:
        shape = modality.shape(duration=1.0) if modality.name == "audio" else ()
        if len(shape) != 2:
            raise RecipeError(f"evaluate.metrics: sounds are needed; the modality is {modality.name}")
        self.rate = shape[1]

    def __call__(self, media: Sequence[Tensor], wanted: Sequence[Wanted]) -> Score:
        """Of each sound [C, N], its channels mixed to one."""
        return Score.of([self.measure(m.mean(0), w) for m, w in zip(media, wanted, strict=True)])

    def measure(self, sound: Tensor, want: Wanted) -> float:
        """One sound [N]."""
        raise AssertionError


class Detune(_Sounds):
    """Energy-weighted mean distance from the nearest note of equal temperament, in semitones."""

    better = "lower"
    about = "distance from the nearest note, semitones (noise 0.25)"

    def measure(self, sound: Tensor, want: Wanted) -> float:
        return float(audio.detune(sound, self.rate)) if bool(sound.any()) else math.nan


class OnsetRate(_Sounds):
    """Note beginnings a second."""

    better = "real"
    about = "note beginnings a second"

    def measure(self, sound: Tensor, want: Wanted) -> float:
        return float(audio.onset_rate(sound, self.rate))


class ChromaEntropy(_Sounds):
    """Entropy of the energy over the 12 pitch classes, in bits: 0 for a drone on one note, 3.58 for noise."""

    better = "real"
    about = "entropy of the pitch classes' energy, bits"

    def measure(self, sound: Tensor, want: Wanted) -> float:
        share = audio.chroma(sound, self.rate)
        return float(-(share * share.clamp_min(1e-12).log2()).sum()) if bool(share.any()) else math.nan


class Loudness(_Sounds):
    """Gated loudness, dB of full scale."""

    better = "real"
    about = "gated loudness, dB of full scale"

    def measure(self, sound: Tensor, want: Wanted) -> float:
        level = float(audio.loudness(sound, self.rate))
        return level if math.isfinite(level) else math.nan


class Silence(_Sounds):
    """Share of 50 ms frames below -60 dB of full scale."""

    better = "real"
    about = "share of silent 50 ms frames"

    def measure(self, sound: Tensor, want: Wanted) -> float:
        return float(audio.silence_share(sound, self.rate))


class Clipping(_Sounds):
    """Share of samples at full scale."""

    better = "lower"
    about = "share of samples at full scale"

    def measure(self, sound: Tensor, want: Wanted) -> float:
        return float(audio.clipping_share(sound))


class Key(_Sounds):
    """Share of the energy that lies on the asked key's scale; minor with both the flat and the raised seventh.

    Its floor, the same sounds judged against the keys of others, is what a model that ignores the prompt gets.
    """

    better = "higher"
    reads = "prompt"
    about = "share of the energy on the scale of the asked key"

    def measure(self, sound: Tensor, want: Wanted) -> float:
        found = _KEY.search(want.prompt)
        if not found or not bool(sound.any()):
            return math.nan
        return float(audio.chroma(sound, self.rate)[list(key_classes(found[0]))].sum())


class Instrument:
    """Share of sounds on which a small classifier, trained on other renders, hears the asked instrument.

    A linear classifier on standardised spectral descriptors of training items, two crops of each of up to `items`;
    its accuracy on held-out renders is the ceiling.
    """

    better = "higher"
    reads = "prompt"
    about = "the asked instrument is heard by a classifier trained on other renders"

    def __init__(self, *, modality: Given[Modality], dataset: Given[Dataset], items: int = 240) -> None:
        if modality.name != "audio":
            raise RecipeError(f"evaluate.metrics: sounds are needed; the modality is {modality.name}")
        if items < 2:
            raise ValueError(f"items: {items} is not allowed. Allowed: 2 or more.")
        self.dataset, self.items = dataset, items
        self.feature = registry.build("feature", Part("spectral"), given={"modality": modality})
        self.names = dataset.instruments
        if len(self.names) < 2:
            raise RecipeError("evaluate.metrics: instrument needs a dataset with two instruments or more")
        self._fitted: tuple[Tensor, Tensor, Tensor, Tensor] | None = None

    def __call__(self, media: Sequence[Tensor], wanted: Sequence[Wanted]) -> Score:
        """1 where it is heard, 0 where not, NaN where the prompt names none."""
        asked = [self.asked(w.prompt) for w in wanted]
        mean, scale, weight, bias = self._classifier()
        x = (_summary(extract(self.feature, media)) - mean) / scale
        heard = (x @ weight + bias).argmax(1).tolist()
        return Score.of([math.nan if a is None else float(a == h) for a, h in zip(asked, heard, strict=True)])

    def asked(self, prompt: str) -> int | None:
        """The instrument that a prompt names; the longest name where one holds another."""
        found = [k for k, name in enumerate(self.names) if name in prompt]
        return max(found, key=lambda k: len(self.names[k]), default=None)

    def _classifier(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if self._fitted is None:
            train, _ = self.dataset.split()
            indices = list(train)[:: max(1, len(train) // self.items)][: self.items]
            drawn = [self.dataset.draw(i, stream(0, "instrument", i, k)) for i in indices for k in range(2)]
            known = [(d["media"], self.asked(d.get("text", "") + " " + d["id"])) for d in drawn]
            pairs = [(m, a) for m, a in known if a is not None]
            x = _summary(extract(self.feature, (m for m, _ in pairs)))
            self._fitted = _logistic(x, torch.tensor([a for _, a in pairs]), len(self.names))
        return self._fitted


def _summary(features: Tensor) -> Tensor:
    """Mean over a sound's windows: [n, K, w] -> [n, w]."""
    return features.mean(1)


def _logistic(x: Tensor, label: Tensor, classes: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean and scale of the inputs, weights and bias of a ridge-penalised multinomial logistic regression."""
    mean, scale = x.mean(0), x.std(0).clamp_min(1e-6)
    z = (x - mean) / scale
    weight = torch.zeros(x.shape[1], classes, requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = torch.nn.functional.cross_entropy(z @ weight + bias, label) + 1e-2 * weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)  # pyright: ignore[reportArgumentType]
    return mean, scale, weight.detach(), bias.detach()
