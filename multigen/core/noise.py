"""Keyed randomness: every draw has a name, so it does not depend on what was drawn before it.

Sampling draws from one CPU fp32 stream for each (seed, purpose, index). Sample k of a request has seed + k, and is the
same sample alone, in any batch and on any number of devices. In training, noise, noise level, condition dropout,
augmentation and order are keyed by (seed, step, position in the global batch).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from multigen.core.upload import upload

_MASK = 0xFFFFFFFF


def stream(seed: int, *key: str | int) -> torch.Generator:
    """Return a CPU generator for (seed, *key).

    torch's CPU generator takes 32 bits of a seed. The key is hashed to 32 bits (BLAKE2b), and the low 32 bits of the
    seed go through a bijection that the key chooses, so two seeds below 2**32 never share a stream under one key.
    """
    # Quoted, so that different keys give different text: ("a", 1), ("a", "1") and ("a/1",).
    text = "/".join(repr(k) if isinstance(k, str) else str(int(k)) for k in (seed >> 32, *key))
    salt = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "little")
    h = ((seed & _MASK) + salt) & _MASK
    # The 32-bit finaliser of MurmurHash3 (fmix32), a bijection.
    h = ((h ^ (h >> 16)) * 0x85EBCA6B) & _MASK
    h = ((h ^ (h >> 13)) * 0xC2B2AE35) & _MASK
    h ^= h >> 16
    generator = torch.Generator()
    generator.manual_seed(h)
    return generator


def normal(shape: Sequence[int], seed: int, *key: str | int) -> Tensor:
    """Draw standard normal fp32 of `shape` on the CPU, keyed."""
    return torch.randn(tuple(shape), generator=stream(seed, *key))


def uniform(shape: Sequence[int], seed: int, *key: str | int) -> Tensor:
    """Draw uniform fp32 in [0, 1) of `shape` on the CPU, keyed."""
    return torch.rand(tuple(shape), generator=stream(seed, *key))


def permutation(n: int, seed: int, *key: str | int) -> Tensor:
    """Draw a permutation of range(n), int64, keyed."""
    return torch.randperm(n, generator=stream(seed, *key))


class Noise:
    """Noise of a batch of samples: `noise(purpose, index) -> [B, *shape]`, where row k depends on seeds[k] alone."""

    def __init__(
        self, seeds: Sequence[int], shape: Sequence[int], device: torch.device | str = "cpu"
    ) -> None:
        self.seeds, self.shape, self.device = tuple(seeds), tuple(shape), device

    def __call__(self, purpose: str, index: int = 0) -> Tensor:
        """Draw standard normal noise [B, *shape] for a purpose, on the device."""
        rows = [normal(self.shape, seed, purpose, index) for seed in self.seeds]
        return upload(torch.stack(rows), self.device)
