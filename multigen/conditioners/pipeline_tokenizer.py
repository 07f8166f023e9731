"""The tokenizer of one text encoder of a pipeline: prompts as chunks of token numbers with their weights."""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from multigen.conditioners.weighted_prompts import spans
from multigen.errors import MultigenError, reason
from multigen.storage import diffusers_folder


class Chunks(NamedTuple):
    """The chunks of one prompt.

    ids      token numbers [N, L], int64
    valid    those that are not padding [N, L], int64
    weights  [N, L]; 1 for the tokenizer's own
    cut      the end of the prompt that has no place; "" for none
    """

    ids: Tensor
    valid: Tensor
    weights: Tensor
    cut: str


class PipelineTokenizer:
    """Prompts -> chunks of token numbers. It is loaded when first used; a deep copy is the same object.

    place    its folder
    kind     its class in transformers
    longest  most positions of the text encoder, or fewer
    chunks   a long prompt becomes several chunks; False: it is cut

    `words` are new ones with the numbers of their vectors, in place of what their letters are.
    """

    def __init__(self, place: Path, kind: str, longest: int, *, chunks: bool) -> None:
        self.place, self.kind, self._longest, self._several = place, kind, longest, chunks
        self._lock = threading.Lock()
        self._tokenizer: Any = None
        self.words: Mapping[str, Sequence[int]] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> PipelineTokenizer:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.place, self.kind, self._longest, self._several, self.words)

    @property
    def length(self) -> int:
        """Tokens of a chunk, with its start and end."""
        return min(self._longest, self._loaded().model_max_length)

    def __call__(self, prompt: str) -> Chunks:
        """Cut a prompt into chunks, each padded to `length`. MultigenError for a weight out of range."""
        ids: list[int] = []
        weights: list[float] = []
        for text, weight in spans(prompt):
            found = self.numbers(text)
            ids += found
            weights += [weight] * len(found)
        before, after = self._specials()
        room = self.length - len(before) - len(after)
        starts = range(0, max(len(ids), 1), room) if self._several else [0]
        rows = [self._row(before, ids[k : k + room], after) for k in starts]
        scale = [self._padded([1.0] * len(before) + weights[k : k + room], 1.0) for k in starts]
        cut = "" if self._several else self._text(ids[room:])
        valid = [[1] * n + [0] * (self.length - n) for _, n in rows]
        return Chunks(torch.tensor([row for row, _ in rows]), torch.tensor(valid), torch.tensor(scale), cut)

    def empty(self, count: int) -> Chunks:
        """Return the chunks of the empty prompt, as often as asked for."""
        one = self("")
        return Chunks(*(part.expand(count, -1) for part in one[:3]), cut="")

    def pieces(self, word: str) -> Sequence[str]:
        """Split a word into tokens."""
        return self._loaded().tokenize(word)

    def texts(self, prompt: str) -> list[str]:
        """Return the tokens of all chunks as text, with those of the start, the end and the padding."""
        new = {k: f"{word}</w>" for word, numbers in self.words.items() for k in numbers}
        numbers = self(prompt).ids.flatten().tolist()
        return [new[k] if k in new else str(self._loaded().convert_ids_to_tokens(k)) for k in numbers]

    def knows(self, word: str) -> bool:
        """Return whether a word is a token of the vocabulary."""
        vocabulary = self._loaded().get_vocab()
        return any(one in vocabulary for one in (word, f"{word.lower()}</w>", f"▁{word}"))

    def numbers(self, text: str) -> list[int]:
        """Return the token numbers of a text, without those of its start and end."""
        found: list[int] = []
        for piece in self._pieces(text):
            new = self.words.get(piece.lower())
            if new is None:
                new = self._loaded()(piece, add_special_tokens=False, verbose=False).input_ids
            found += new
        return found

    def _pieces(self, text: str) -> list[str]:
        """A text cut at its new words, whose letters may be large or small, as tokenizers read them."""
        if not self.words:
            return [text]
        longest = sorted(self.words, key=len, reverse=True)
        pieces = re.split(f"({'|'.join(map(re.escape, longest))})", text, flags=re.IGNORECASE)
        return [piece for piece in pieces if piece]

    def _text(self, ids: Sequence[int]) -> str:
        """The text of token numbers, as far as they are in the vocabulary."""
        new = {k: word for word, numbers in self.words.items() for k in numbers[:1]}
        rest = {k for numbers in self.words.values() for k in numbers[1:]}
        runs = itertools.groupby((k for k in ids if k not in rest), new.get)
        parts = [word or self._loaded().decode(list(run)) for word, run in runs]
        return " ".join(part.strip() for part in parts).strip()

    def _row(self, before: list[int], ids: list[int], after: list[int]) -> tuple[list[int], int]:
        """A padded chunk, and how many of its tokens are valid."""
        row = [*before, *ids, *after]
        return self._padded(row, self._loaded().pad_token_id), len(row)

    def _padded(self, row: list[Any], value: Any) -> list[Any]:
        return row + [value] * (self.length - len(row))

    def _specials(self) -> tuple[list[int], list[int]]:
        """What the tokenizer puts before and after every text."""
        bare = self._loaded()("a", add_special_tokens=False).input_ids
        whole = self._loaded()("a").input_ids
        start = next(k for k in range(len(whole)) if whole[k : k + len(bare)] == bare)
        return whole[:start], whole[start + len(bare) :]

    def _loaded(self) -> Any:
        with self._lock:
            if self._tokenizer is None:
                try:
                    kind = getattr(diffusers_folder.imported("transformers"), self.kind)
                    self._tokenizer = kind.from_pretrained(self.place, local_files_only=True)
                except MultigenError:
                    raise
                except Exception as error:  # the library raises anything for damaged files
                    raise MultigenError(
                        f"{self.place}: cannot be loaded as a {self.kind} ({reason(error)})"
                    ) from error
        return self._tokenizer


def _again(
    place: Path, kind: str, longest: int, chunks: bool, words: Mapping[str, Sequence[int]]
) -> PipelineTokenizer:
    tokenizer = PipelineTokenizer(place, kind, longest, chunks=chunks)
    tokenizer.words = words
    return tokenizer
