"""The words of a prompt: which of its tokens are one word, and maps of words from those of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

_SPECIAL = {"[CLS]", "[SEP]", "[PAD]", "<s>", "</s>", "<pad>", "<|startoftext|>", "<|endoftext|>"}
_ENDS = "</w>"  # CLIP: the last piece of a word
_BEGINS = "▁"  # sentencepiece: the first piece of a word
_GOES_ON = "##"  # BERT: a piece that goes on with a word
SIGNS = "(start and end)"  # tokens that are no words


class Word(NamedTuple):
    """A word and the places of its tokens."""

    text: str
    tokens: tuple[int, ...]


def grouped(tokens: Sequence[str]) -> list[Word]:
    """The words that tokens of BERT, CLIP or T5 are pieces of; those that stand for no text last, as one."""
    ended = any(token.endswith(_ENDS) for token in tokens)
    begun = any(token.startswith(_BEGINS) for token in tokens)
    words: list[tuple[str, list[int]]] = []
    signs: list[int] = []
    open_ = False  # the last word goes on
    for k, token in enumerate(tokens):
        if token in _SPECIAL:
            signs.append(k)
            open_ = False
            continue
        text = token.removeprefix(_GOES_ON).removeprefix(_BEGINS).removesuffix(_ENDS)
        begins = token.startswith(_BEGINS) if begun else not token.startswith(_GOES_ON)
        if words and open_ and (ended or not begins):
            words[-1] = (words[-1][0] + text, [*words[-1][1], k])
        else:
            words.append((text, [k]))
        open_ = not token.endswith(_ENDS) if ended else True
    found = [Word(text, tuple(places)) for text, places in words if text]
    return [*found, Word(SIGNS, tuple(signs))] if signs else found


def of_words(maps: Tensor, words: Sequence[Word]) -> Tensor:
    """Maps of tokens [..., L, T, H, W] as those of words [..., words, T, H, W], the sums of their tokens'."""
    return torch.stack([maps[..., list(word.tokens), :, :, :].sum(-4) for word in words], -4)
