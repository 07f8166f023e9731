"""Sentences to be spoken: frequent words of English in random order, so that every sound meets every other."""

from __future__ import annotations

from functools import cache

import torch

from multigen.conditioners.pronunciation import dictionary
from multigen.conditioners.text_encoder import packaged_folder
from multigen.core.noise import stream
from multigen.datasets import held_out

VERSION = 1  # of the rules below
_WORDS = "the a of in and to is was with for on that it at by from this be are as his her not you"
_SMALL = _WORDS.split()
_SMALL_SHARE, _COMMA_SHARE = 0.3, 0.08
_QUESTIONS = 0.15
_SHORTEST, _LONGEST = 3, 9  # words


def sentence(number: int, words: int) -> str:
    """Sentence `number` of the `words` most frequent that are not held out: 3 to 9 of them, with some commas."""
    rng = stream(number, "sentences", VERSION)
    vocabulary = frequent(words)[0]
    count = int(torch.randint(_SHORTEST, _LONGEST + 1, (), generator=rng))
    said = []
    for place in range(count):
        small, comma = torch.rand(2, generator=rng).tolist()
        among = _SMALL if small < _SMALL_SHARE else vocabulary
        said.append(among[int(torch.randint(len(among), (), generator=rng))])
        if comma < _COMMA_SHARE and 0 < place < count - 1:
            said[-1] += ","
    end = "?" if float(torch.rand((), generator=rng)) < _QUESTIONS else "."
    text = " ".join(said) + end
    return text[0].upper() + text[1:]


@cache
def frequent(count: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The most frequent words of English of three letters and more that the dictionary has: trained on, and held out.

    The order is that of the vocabulary of BERT, which the packaged text encoder carries; a tenth is held out.
    """
    lines = (packaged_folder() / "vocab.txt").read_text(encoding="utf-8").split("\n")
    known = dictionary()
    words = [word for word in lines if len(word) >= 3 and word.isascii() and word.isalpha() and word in known]
    words = words[:count]
    kept, out = held_out(words)
    return tuple(words[i] for i in kept), tuple(words[i] for i in out)
