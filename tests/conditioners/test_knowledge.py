"""What a model was told: prompts unlike all of it are told from others, in a number and by name."""

from __future__ import annotations

import pytest
import torch

from multigen.conditioners import knowledge
from multigen.conditioners.knowledge import Knowledge, stored, summary, words_of
from multigen.conditioners.label import Label
from multigen.conditioners.text import Text
from multigen.errors import MultigenError

CAPTIONS = [
    f"{colour} {thing}" for colour in ("red", "green", "blue") for thing in ("apple", "car", "boat", "shoe")
]


@pytest.fixture(scope="module")
def text() -> Text:
    return Text()


@pytest.fixture(scope="module")
def known(text: Text) -> Knowledge:
    found = summary(text, [*CAPTIONS, *CAPTIONS, "", "🍌"])
    assert found is not None
    return found


def test_a_summary_keeps_every_caption_and_word_once(known: Knowledge) -> None:
    assert sorted(known.captions) == sorted([*CAPTIONS, "banana"])
    assert known.words == {"red", "green", "blue", "apple", "car", "boat", "shoe", "banana"}
    assert known.vectors.dtype == torch.int8 and known.vectors.shape == (13, 384)
    assert 0.3 <= known.level <= 0.85


def test_its_own_captions_are_known(text: Text, known: Knowledge) -> None:
    for prompt in CAPTIONS:
        verdict = known.judge(text, prompt)
        assert verdict.novelty == pytest.approx(0, abs=2e-3)
        assert not verdict.is_new
        assert verdict.nearest[0] == prompt
    assert known.judge(text, "🍌").nearest[0] == "banana"
    near = known.judge(text, "a red boat, please")
    assert near.nearest[0] == "red boat" and not near.is_new


@pytest.mark.parametrize("prompt", ["electric guitar solo", "a portrait of a woman", "sunset over mountains"])
def test_others_are_new_and_say_why(text: Text, known: Knowledge, prompt: str) -> None:
    verdict = known.judge(text, prompt)
    assert verdict.is_new
    assert verdict.novelty > 0.4
    assert set(verdict.new_words) == {w for w in prompt.split() if w not in ("a", "of")}


def test_few_captions_are_spread_out(text: Text, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many captions those are kept that are far from each other; all of their words count."""
    monkeypatch.setattr(knowledge, "MOST", 4)
    found = summary(text, CAPTIONS)
    assert found is not None and len(found.captions) == 4
    assert {c.split()[1] for c in found.captions} == {"apple", "car", "boat", "shoe"}
    assert len(found.words) == 7


def test_a_file_keeps_it(text: Text, known: Knowledge) -> None:
    again = stored(known.tensors(), "x")
    assert again is not None
    assert again.judge(text, "green boat") == known.judge(text, "green boat")
    assert (again.captions, again.words, again.level) == (known.captions, known.words, known.level)
    assert stored({"backbone.a": torch.zeros(1)}, "x") is None
    for broken in (known.tensors() | {"knowledge.text": torch.zeros(4, dtype=torch.uint8)},
                   known.tensors() | {"knowledge.vectors": known.vectors[1:]}):  # fmt: skip
        with pytest.raises(MultigenError, match=r"w\.safetensors: what it knows is damaged"):
            stored(broken, "w.safetensors")


def test_two_trainings_together(text: Text, known: Knowledge) -> None:
    music = summary(text, ["flute, E minor", "church organ, G major"], about="music")
    assert music is not None
    assert music.judge(text, "red apple").is_new
    both = known.joined(music)
    assert both.about == "music"
    assert not any(both.judge(text, p).is_new for p in ("red apple", "flute, E minor"))


def test_without_text_nothing_is_known(text: Text) -> None:
    assert summary(text, []) is None
    assert summary(text, ["", " "]) is None
    assert summary(Label(classes=("0", "1")), ["0", "1"]) is None


def test_words() -> None:
    assert words_of("Two Apples of glass, 92 bpm in E") == {
        "two": "two",
        "apple": "apples",
        "glass": "glass",
        "bpm": "bpm",
    }
