"""Token states of captions on an accelerator: a batch of them is one gather, and nothing waits for the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from multigen.core.upload import upload

# Padded lengths are multiples of this and never shrink: a compiled network sees few of them, and attention's mask is
# aligned.
STEP = 16


class PaddedStates(NamedTuple):
    """A batch of token states.

    tokens  [B, L, K], padded with zeros
    mask    [B, L], True for a valid token
    means   [B, K], mean of each caption's valid states
    """

    tokens: Tensor
    mask: Tensor
    means: Tensor


class DeviceStates:
    """A table of captions and their states on a device.

    width     K
    device    where the states are
    capacity  most numbers that are kept; the caller clears the table when more are needed
    """

    def __init__(self, width: int, device: torch.device, capacity: int) -> None:
        self.device, self.capacity = device, capacity
        self._states = torch.zeros(0, STEP, width, device=device)
        self._means = torch.zeros(0, width, device=device)
        self._lengths = torch.zeros(0, dtype=torch.long, device=device)
        self._rows: dict[str, int] = {}

    def missing(self, captions: Sequence[str]) -> list[str]:
        """Return the captions that are not in the table, each once."""
        return list(dict.fromkeys(c for c in captions if c not in self._rows))

    def fits(self, count: int, length: int) -> bool:
        """Whether `count` more captions of up to `length` tokens fit."""
        longest = max(self._states.shape[1], -(-length // STEP) * STEP)
        return (len(self._rows) + count) * longest * self._states.shape[2] <= self.capacity

    def clear(self) -> None:
        """Forget all captions."""
        self._rows.clear()

    def put(self, captions: Sequence[str], states: Tensor, lengths: Sequence[int]) -> None:
        """Add captions with their states [B, L, K] on the device, the first `lengths` of each valid."""
        count, longest = len(captions), states.shape[1]
        start = len(self._rows)
        self._grow(start + count, longest)
        rows = slice(start, start + count)
        valid = upload(torch.tensor(lengths), self.device)
        mask = torch.arange(longest, device=self.device) < valid[:, None]
        states = states * mask[..., None]
        self._states[rows, :longest] = states
        self._states[rows, longest:] = 0
        self._means[rows] = states.sum(1) / valid[:, None]
        self._lengths[rows] = valid
        self._rows |= {caption: start + k for k, caption in enumerate(captions)}

    def _grow(self, count: int, length: int) -> None:
        """Make room for `count` captions of up to `length` tokens in all."""
        have, longest, width = self._states.shape
        longest = max(longest, -(-length // STEP) * STEP)
        if count <= have and longest == self._states.shape[1]:
            return
        size = max(count, have if count <= have else 2 * have, 256)
        states = torch.zeros(size, longest, width, device=self.device)
        states[:have, : self._states.shape[1]] = self._states
        means, lengths = states.new_zeros(size, width), self._lengths.new_zeros(size)
        means[:have], lengths[:have] = self._means, self._lengths
        self._states, self._means, self._lengths = states, means, lengths

    def gather(self, captions: Sequence[str]) -> PaddedStates:
        """Return the states of captions that are all in the table, padded to the longest that was ever in it."""
        index = upload(torch.tensor([self._rows[c] for c in captions]), self.device)
        places = torch.arange(self._states.shape[1], device=self.device)
        return PaddedStates(self._states[index], places < self._lengths[index][:, None], self._means[index])
