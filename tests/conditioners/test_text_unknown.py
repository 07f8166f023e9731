"""Characters that the text encoder does not know: emoji become words, others are warned of."""

from __future__ import annotations

import warnings

import pytest
import torch

from multigen.conditioners.prompts import unread
from multigen.conditioners.text import Text


@pytest.fixture(scope="module")
def text() -> Text:
    return Text()


@pytest.mark.parametrize(
    ("emoji", "name"),
    [("🍎", "red apple"), ("🍌", "banana"), ("a 🍕 with ☕", "a slice of pizza with coffee")],
)
def test_an_emoji_is_its_name(text: Text, emoji: str, name: str) -> None:
    one, other = text({"text": [emoji]}), text({"text": [name]})
    assert torch.equal(one.vector, other.vector)
    assert torch.equal(one.tokens, other.tokens)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert text.from_prompts([emoji]) == {"text": [emoji]}  # manifests keep what was typed


def test_two_emoji_are_two_conditions(text: Text) -> None:
    apple, banana = text({"text": ["🍎", "🍌"]}).vector
    assert torch.nn.functional.cosine_similarity(apple, banana, dim=0) < 0.8


@pytest.mark.parametrize(("prompt", "words"), [
    ("красное яблоко", "красное, яблоко"), ("red яблоко", "яблоко"), ("赤いリンゴ", "赤いリンゴ"), ("苹果", "苹果"),
    ("사과", "사과"), ("تفاحة", "تفاحة"), ("แอปเปิล", "แอปเปิล"),
])  # fmt: skip
def test_words_that_are_not_understood_are_named(text: Text, prompt: str, words: str) -> None:
    with pytest.warns(UserWarning, match=f"does not know these words, so they say nothing: {words}$"):
        text.from_prompts([prompt])


@pytest.mark.parametrize(
    "prompt", ["", "red apple", "crème brûlée", "jalapeño, 12 °C", "Äpfel", "π", "—", "“red” apple…"]
)
def test_others_are_not(text: Text, prompt: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text.from_prompts([prompt])


def test_an_encoder_that_knows_the_script_is_believed() -> None:
    assert unread(["яблоко"], lambda word: ["ябл", "око"], "<unk>") == []
    assert unread(["日本"], list, "<unk>") == []  # scripts of one token a sign
    assert unread(["日本"], lambda word: ["<unk>", "本"], "<unk>") == ["日本"]
