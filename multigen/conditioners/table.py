"""Token states of captions kept on an accelerator: a batch of them is one gather, and nothing waits for the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from multigen.core.upload import upload

# Padded lengths are multiples of this: a compiled network sees few of them, and attention's mask is aligned.
STEP = 16


class Gathered(NamedTuple):
    """tokens [B, L, K], mask [B, L] and the mean of each caption's states [B, K]."""

    tokens: Tensor
    mask: Tensor
    means: Tensor


class Table:
    """Captions -> rows of states on `device`. Where more than `most` numbers would be kept, it begins anew."""

    def __init__(self, width: int, device: torch.device, most: int) -> None:
        self.device, self.most = device, most
        self._states = torch.zeros(0, STEP, width, device=device)
        self._means = torch.zeros(0, width, device=device)
        self._lengths = torch.zeros(0, dtype=torch.long, device=device)
        self._rows: dict[str, int] = {}
        self._long: dict[str, int] = {}  # how many tokens a caption has, known without asking the device

    def missing(self, captions: Sequence[str]) -> list[str]:
        """Those that are not here, each once. After it `put` keeps what is here, unless all must go."""
        return list(dict.fromkeys(c for c in captions if c not in self._rows))

    def fits(self, more: int, length: int) -> bool:
        """Whether so many further captions of up to `length` tokens can be kept."""
        long = max(self._states.shape[1], -(-length // STEP) * STEP)
        return (len(self._rows) + more) * long * self._states.shape[2] <= self.most

    def clear(self) -> None:
        self._rows.clear()
        self._long.clear()

    def put(self, captions: Sequence[str], states: Tensor, lengths: Sequence[int]) -> None:
        """Keep captions: states [N, L, K] on the device, of which `lengths` count, on the CPU."""
        count, long = len(captions), states.shape[1]
        start = len(self._rows)
        self._grow(start + count, long)
        rows = slice(start, start + count)
        valid = upload(torch.tensor(lengths), self.device)
        mask = torch.arange(long, device=self.device) < valid[:, None]
        states = states * mask[..., None]
        self._states[rows, :long] = states
        self._states[rows, long:] = 0
        self._means[rows] = states.sum(1) / valid[:, None]
        self._lengths[rows] = valid
        self._rows |= {caption: start + k for k, caption in enumerate(captions)}
        self._long |= dict(zip(captions, lengths, strict=True))

    def _grow(self, count: int, length: int) -> None:
        have, long, width = self._states.shape
        long = max(long, -(-length // STEP) * STEP)
        if count <= have and long == self._states.shape[1]:
            return
        size = max(count, have if count <= have else 2 * have, 256)
        states = torch.zeros(size, long, width, device=self.device)
        states[:have, : self._states.shape[1]] = self._states
        means, lengths = states.new_zeros(size, width), self._lengths.new_zeros(size)
        means[:have], lengths[:have] = self._means, self._lengths
        self._states, self._means, self._lengths = states, means, lengths

    def __call__(self, captions: Sequence[str]) -> Gathered:
        """The states of captions that are all here, padded with zeros to a common length."""
        index = upload(torch.tensor([self._rows[c] for c in captions]), self.device)
        length = -(-max(self._long[c] for c in captions) // STEP) * STEP
        mask = torch.arange(length, device=self.device) < self._lengths[index][:, None]
        return Gathered(self._states[index, :length], mask, self._means[index])
