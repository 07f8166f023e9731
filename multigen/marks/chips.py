"""Chips: the keyed signs that a mark is made of, the code that carries a payload, and how sure a score is.

A mark adds, to each of many coefficients of a medium, a small number whose sign the key gives. The detector weighs the
coefficients that it sees, `a`, and takes their signed sum over its norm: the score. It never looks at the key while it
weighs them, so that under a key that the medium was not marked with the score is a Rademacher sum of norm 1, whatever
the medium. Such sums have tails under 3.18 times those of the normal distribution (Bentkus and Dzindzalieta, "A tight
Gaussian bound for weighted sums of Rademacher random variables", Bernoulli 21, 2015). That, times the number of scores
that were looked at, is the p-value: it holds for any medium, marked by nobody, over random keys.

A payload turns signs. Its bits are split into words of 16. Each word has chips of its own, and turns the signs of those
by a random linear code: every two of its 65,536 code words differ in about half of the chips. The most likely word is
the largest of all correlations, which a fast Walsh-Hadamard transform gives at once: maximum-likelihood decoding.
Payload 0 turns nothing.
"""

from __future__ import annotations

import hashlib
import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

WORD = 16  # bits of a payload that are decoded together
_TAIL = 3.1787  # 1 / (4 Q(sqrt 2))
_VERSION = b"multigen watermark 1"


class Chips(NamedTuple):
    """Of n coefficients: signs [n], code columns [n] in [0, 2^16), and the word of the payload that turns each, [n]."""

    signs: Tensor
    columns: Tensor
    words: Tensor


def stream(key: bytes, *names: object, size: int) -> bytes:
    """Bytes that look random to whoever does not have the key: SHAKE-256 of it and of what they are for."""
    head = b"\0".join([_VERSION, *(str(name).encode() for name in names)])
    return hashlib.shake_256(len(key).to_bytes(4, "big") + key + head).digest(size)


@lru_cache(maxsize=16)
def chips_of(key: bytes, name: str, bits: int, lines: int, count: int, fixed: bool = False) -> Chips:
    """The chips of `lines` x `count` coefficients, flat. The first of each line are the same whatever the numbers.

    fixed  half of them are turned by no payload: their word is beyond its bits
    """
    raw = np.frombuffer(b"".join(stream(key, name, k, size=4 * count) for k in range(lines)), np.uint8)
    raw = raw.reshape(-1, 4)
    signs = torch.from_numpy((raw[:, 0] & 1).astype(np.float32) * 2 - 1)
    columns = torch.from_numpy(raw[:, 1].astype(np.int64) * 256 + raw[:, 2])
    count = bits // WORD
    words = torch.from_numpy(raw[:, 3].astype(np.int64) % (2 * count if fixed else count)).clamp(max=count)
    return Chips(signs, columns, words)


def chosen(chips: Chips, which: Tensor) -> Chips:
    """Some of them: bool [n]."""
    return Chips(chips.signs[which], chips.columns[which], chips.words[which])


def turned(chips: Chips, payload: int) -> Tensor:
    """The signs [n] of a mark that carries a payload."""
    word = (payload >> (WORD * chips.words)) & (2**WORD - 1)
    both = word & chips.columns
    for shift in (8, 4, 2, 1):
        both = both ^ (both >> shift)
    return chips.signs * (1 - 2 * (both & 1)).float()


def decoded(terms: Tensor, chips: Chips, bits: int) -> tuple[int, float]:
    """The most likely payload of signed terms [n] (`chips.signs` times the coefficients), and the sum that it has."""
    payload, total = 0, float(terms[chips.words >= bits // WORD].sum())
    for number in range(bits // WORD):
        mine = chips.words == number
        table = torch.zeros(2**WORD).index_add_(0, chips.columns[mine], terms[mine])
        sums = hadamard(table)
        best = int(sums.argmax())
        payload |= best << (WORD * number)
        total += float(sums[best])
    return payload, total


def hadamard(table: Tensor) -> Tensor:
    """Walsh-Hadamard transform of [2^16]: element m is the sum of (-1)^(bits that m and k share) table[k]."""
    large, small = _hadamard(64), _hadamard(32)
    cube = (large @ table.view(64, 1024)).view(64, 32, 32)
    return (small @ cube @ small).flatten()


@lru_cache(maxsize=2)
def _hadamard(side: int) -> Tensor:
    matrix = torch.ones(1, 1)
    while len(matrix) < side:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix


def log_tail(score: float, looked: float = 1.0) -> float:
    """The logarithm of how likely a score this large is under a wrong key, where so many were looked at; at most 0."""
    if score <= 0:
        return 0.0
    if score < 30:
        one = math.log(math.erfc(score / math.sqrt(2)) / 2)
    else:  # there it is far under what a float holds
        one = -score * score / 2 - math.log(score * math.sqrt(2 * math.pi))
    return min(0.0, one + math.log(_TAIL * looked))
