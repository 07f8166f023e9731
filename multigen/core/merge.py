"""Merge calls into batches: pieces of calls that fit a batch, and their answers joined again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from multigen.core.conditioning import Cond
from multigen.core.guides import Call
from multigen.core.sampling import Sampling


class Piece(NamedTuple):
    """Rows [start, stop) of one call of a sampling, and the list that collects its answers."""

    sampling: Sampling
    call: Call
    start: int
    stop: int
    answers: list[Tensor]

    @property
    def size(self) -> int:
        """How many samples it holds."""
        return self.stop - self.start

    @property
    def whole(self) -> bool:
        """Whether it is the call in one piece."""
        return self.stop - self.start == self.call.x.shape[0]

    def x(self) -> Tensor:
        """Its samples [rows, C, *D]."""
        return self.call.x if self.whole else self.call.x[self.start : self.stop]

    def t(self) -> Tensor:
        """Its times [rows], float64."""
        t = self.call.t.double()
        return t.expand(self.size) if t.numel() == 1 else t[self.start : self.stop]

    def cond(self) -> Cond:
        """Its conditions, of as many rows."""
        cond = self.call.cond.expand(self.call.x.shape[0])
        return cond if self.whole else cond[self.start : self.stop]


def joined(pieces: list[Tensor]) -> Tensor:
    """Join the answers of a call's pieces."""
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces)


def batches(group: list[Piece], max_batch: int) -> Iterator[list[Piece]]:
    """Pack pieces in order into batches of at most `max_batch` samples."""
    if len(group) == 1:
        yield group
        return
    batch: list[Piece] = []
    size = 0
    for piece in group:
        if batch and size + piece.size > max_batch:
            yield batch
            batch, size = [], 0
        batch.append(piece)
        size += piece.size
    yield batch


def halved(batch: list[Piece]) -> tuple[list[Piece], list[Piece]] | None:
    """Cut a batch in two, between pieces where there are several; None for a single sample."""
    if len(batch) > 1:
        middle = len(batch) // 2
        return batch[:middle], batch[middle:]
    (piece,) = batch
    if piece.size == 1:
        return None
    middle = piece.start + piece.size // 2
    return [piece._replace(stop=middle)], [piece._replace(start=middle)]
