"""The judge of speech: words that are said are heard, others and noise are not."""

from __future__ import annotations

import shutil

import pytest
import torch

from multigen.datasets.flite import speak
from multigen.datasets.spoken import SpokenSentences
from multigen.evaluation.metrics import Target, shuffled
from multigen.evaluation.metrics.words import Voice, WordError, edits, slot_error
from multigen.modalities.audio import Audio

pytestmark = pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed")
RATE = 16000
TEXTS = (
    "The river was cold in the morning.",
    "Seven people walked to the old station.",
    "She never wrote a letter to her brother.",
    "Bring water and bread for the children.",
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> SpokenSentences:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MULTIGEN_CACHE", str(tmp_path_factory.mktemp("cache")))
        return SpokenSentences(modality=Audio(rate=RATE, seconds=4.096), sentences=60, words=400)


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> list[torch.Tensor]:
    path = tmp_path_factory.mktemp("said") / "one.wav"
    return [torch.from_numpy(speak(text, "rms", 1.0, path).sound / 32768)[None].float() for text in TEXTS]


TARGETS = [Target(f"rms: {text}") for text in TEXTS]


def test_edits_count_words() -> None:
    assert edits(["a", "b", "c"], ["a", "b", "c"]) == 0
    assert edits(["a", "b", "c"], ["a", "x", "c", "d"]) == 2
    assert edits(["a", "b"], []) == 2


@pytest.mark.parametrize("grammar", ["loop", "slots"])
def test_what_is_said_is_heard(dataset: SpokenSentences, said: list[torch.Tensor], grammar: str) -> None:
    modality = Audio(rate=RATE, seconds=4.096)
    make = WordError if grammar == "loop" else slot_error
    metric = make(modality=modality, dataset=dataset)
    right, wrong = metric(said, TARGETS), metric(said, shuffled(TARGETS))
    assert right.value <= 0.12 < 0.5 < wrong.value
    noise = [
        0.1 * torch.randn(one.shape, generator=torch.Generator().manual_seed(k)) for k, one in enumerate(said)
    ]
    assert metric(noise, TARGETS).value > 0.7


def test_other_rates_and_levels_are_heard_too(dataset: SpokenSentences, said: list[torch.Tensor]) -> None:
    from torchaudio.functional import resample

    metric = slot_error(modality=Audio(rate=22050, seconds=4.096), dataset=dataset)
    other = [0.1 * resample(one, RATE, 22050).repeat(2, 1) for one in said]
    assert metric(other, TARGETS).value <= 0.12


def test_words_without_an_entry_are_not_judged(dataset: SpokenSentences, said: list[torch.Tensor]) -> None:
    metric = WordError(modality=Audio(rate=RATE, seconds=4.096), dataset=dataset)
    assert torch.tensor(metric(said[:1], [Target("the zorble")]).values).isnan().all()


@pytest.mark.slow
def test_voices_are_told_apart(dataset: SpokenSentences) -> None:
    metric = Voice(modality=Audio(rate=RATE, seconds=4.096), dataset=dataset, items=48)
    items = [dataset[i] for i in dataset.split()[1]]
    media, targets = [i["media"] for i in items], [Target(i.get("text", ""), i["id"]) for i in items]
    assert metric(media, targets).value >= 0.9
