"""The tokenizer of one text encoder of a pipeline: prompts as chunks of token numbers with their weights."""

from __future__ import annotations

import threading
from collections.abc import Sequence
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
    """

    def __init__(self, place: Path, kind: str, longest: int, *, chunks: bool) -> None:
        self.place, self.kind, self._longest, self._several = place, kind, longest, chunks
        self._lock = threading.Lock()
        self._tokenizer: Any = None

    def __deepcopy__(self, memo: dict[int, Any]) -> PipelineTokenizer:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.place, self.kind, self._longest, self._several)

    @property
    def length(self) -> int:
        """Tokens of a chunk, with its start and end."""
        return min(self._longest, self._loaded().model_max_length)

    def __call__(self, prompt: str) -> Chunks:
        """Cut a prompt into chunks, each padded to `length`. MultigenError for a weight out of range."""
        ids: list[int] = []
        weights: list[float] = []
        for text, weight in spans(prompt):
            found = self._loaded()(text, add_special_tokens=False, verbose=False).input_ids
            ids += found
            weights += [weight] * len(found)
        before, after = self._specials()
        room = self.length - len(before) - len(after)
        starts = range(0, max(len(ids), 1), room) if self._several else [0]
        rows = [self._row(before, ids[k : k + room], after) for k in starts]
        scale = [self._padded([1.0] * len(before) + weights[k : k + room], 1.0) for k in starts]
        cut = "" if self._several else self._loaded().decode(ids[room:]).strip()
        valid = [[1] * n + [0] * (self.length - n) for _, n in rows]
        return Chunks(torch.tensor([row for row, _ in rows]), torch.tensor(valid), torch.tensor(scale), cut)

    def empty(self, count: int) -> Chunks:
        """Return the chunks of the empty prompt, as often as asked for."""
        one = self("")
        return Chunks(*(part.expand(count, -1) for part in one[:3]), cut="")

    def pieces(self, word: str) -> Sequence[str]:
        """Split a word into tokens."""
        return self._loaded().tokenize(word)

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


def _again(place: Path, kind: str, longest: int, chunks: bool) -> PipelineTokenizer:
    return PipelineTokenizer(place, kind, longest, chunks=chunks)
