"""Sounds: are they in tune, in the requested key, and as lively and as loud as real ones?"""

from __future__ import annotations

import math
import re
from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor

from multigen.datasets import Dataset
from multigen.evaluation import audio, tonality
from multigen.evaluation.metrics import Metric, Score, Target
from multigen.evaluation.metrics.checks import check_modality
from multigen.modalities import Modality
from multigen.modalities.general_midi import key_classes, key_in, key_name
from multigen.registry import Given

_BPM = re.compile(r"\b(\d{2,3}) bpm\b")
_OCTAVE = 64.0  # quarters a minute; tempi are compared between this and its double


class _SoundMetric(Metric):
    """A measure of each sound on its own, mixed to mono."""

    reads = "media"
    name: str  # as in a recipe

    def __init__(self, *, modality: Given[Modality], dataset: Given[Dataset]) -> None:
        check_modality(modality, (1,), self.name)
        self.rate = modality.shape(duration=1.0)[1]

    def __call__(self, media: Sequence[Tensor], targets: Sequence[Target]) -> Score:
        """The measure of each sound [C, N], its channels mixed to one."""
        return Score.of([self.measure(m.mean(0), t) for m, t in zip(media, targets, strict=True)])

    @abstractmethod
    def measure(self, sound: Tensor, target: Target) -> float:
        """The value of one sound [N]; NaN if the measure does not apply."""


class Detune(_SoundMetric):
    """Energy-weighted mean distance from the nearest note of equal temperament, in semitones."""

    name = "detune"
    better = "lower"
    about = "distance from the nearest note, semitones (noise 0.25)"

    def measure(self, sound: Tensor, target: Target) -> float:
        """Semitones, 0 to 0.5; NaN for silence."""
        return float(audio.detune(sound, self.rate)) if bool(sound.any()) else math.nan


class OnsetRate(_SoundMetric):
    """Note onsets per second."""

    name = "onset_rate"
    better = "real"
    about = "note onsets per second"

    def measure(self, sound: Tensor, target: Target) -> float:
        """Onsets per second."""
        return float(audio.onset_rate(sound, self.rate))


class ChromaEntropy(_SoundMetric):
    """Entropy of the energy over the 12 pitch classes, in bits: 0 for a single note, 3.58 for noise."""

    name = "chroma_entropy"
    better = "real"
    about = "entropy of the energy over pitch classes, bits"

    def measure(self, sound: Tensor, target: Target) -> float:
        """Bits, 0 to 3.58; NaN for silence."""
        share = audio.chroma(sound, self.rate)
        return float(-(share * share.clamp_min(1e-12).log2()).sum()) if bool(share.any()) else math.nan


class Loudness(_SoundMetric):
    """Gated loudness in dB of full scale."""

    name = "loudness"
    better = "real"
    about = "gated loudness, dB of full scale"

    def measure(self, sound: Tensor, target: Target) -> float:
        """dB of full scale; NaN for silence."""
        level = float(audio.loudness(sound, self.rate))
        return level if math.isfinite(level) else math.nan


class Silence(_SoundMetric):
    """Share of 50 ms frames below -60 dB of full scale."""

    name = "silence"
    better = "real"
    about = "share of silent 50 ms frames"

    def measure(self, sound: Tensor, target: Target) -> float:
        """Share of frames, 0 to 1."""
        return float(audio.silence_share(sound, self.rate))


class Clipping(_SoundMetric):
    """Share of samples at full scale."""

    name = "clipping"
    better = "lower"
    about = "share of samples at full scale"

    def measure(self, sound: Tensor, target: Target) -> float:
        """Share of samples, 0 to 1."""
        return float(audio.clipping_share(sound))


class _KeyMetric(_SoundMetric):
    """A measure of a sound by the key that its prompt asks for."""

    reads = "prompt"

    def measure(self, sound: Tensor, target: Target) -> float:
        """NaN for silence or a prompt without a key."""
        asked = key_in(target.prompt)
        return self.heard(sound, asked) if asked and bool(sound.any()) else math.nan

    @abstractmethod
    def heard(self, sound: Tensor, key: str) -> float:
        """The value of a sound [N] for a key such as "E-flat major"."""


class Key(_KeyMetric):
    """Share of the energy on the scale of the requested key; minor includes the flat and the raised seventh.

    The floor, the same sounds with the keys of other sounds, is what a model gets that ignores the prompt.
    """

    name = "key"
    better = "higher"
    about = "share of the energy on the scale of the requested key"

    def heard(self, sound: Tensor, key: str) -> float:
        """Share of the energy, 0 to 1."""
        return float(audio.chroma(sound, self.rate)[list(key_classes(key))].sum())


class Tonality(_KeyMetric):
    """Whether a sound is in the requested key: tonic and mode, as a listener hears them.

    `key` counts the energy on the right scale; a piece can lie on it and yet rest on another tonic. About 95% of real
    pieces of six seconds are recognised (the ceiling of the evaluation). The floor has the keys of other sounds.
    """

    name = "tonality"
    better = "higher"
    about = "share heard in the requested key, tonic and mode"

    def heard(self, sound: Tensor, key: str) -> float:
        """1 if the requested key is heard, else 0."""
        return float(key_name(*tonality.key_of(sound, self.rate)) == key)


class Tempo(_SoundMetric):
    """Whether a sound has the requested tempo, within 8%; half and double the tempo count, too.

    The floor has the tempi of other sounds.
    """

    name = "tempo"
    better = "higher"
    reads = "prompt"
    about = "share whose tempo is within 8% of the requested one"

    def measure(self, sound: Tensor, target: Target) -> float:
        """1 or 0; NaN for silence, a steady sound, or a prompt without quarters per minute ("92 bpm")."""
        asked = _BPM.search(target.prompt)
        if asked is None or not int(asked[1]):
            return math.nan
        heard = audio.tempo(sound, self.rate, _OCTAVE, 2 * _OCTAVE)
        apart = abs(math.log2(heard / int(asked[1])) % 1) if math.isfinite(heard) else math.nan
        return float(min(apart, 1 - apart) <= math.log2(1.08)) if math.isfinite(apart) else math.nan
