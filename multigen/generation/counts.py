"""How many media a request makes, and their seeds."""

from __future__ import annotations

from multigen.errors import MultigenError
from multigen.generation.parts import ModelParts
from multigen.generation.request import Request


def first_seed(request: Request, number: int, n: int, seed: int) -> int:
    """The seed of the first medium of a request: its own, or `seed` + the media of `number` before it."""
    return seed + number * n if request.seed is None else request.seed


def check_counts(parts: ModelParts, *, n: int, seed: int, batch: int = 1) -> None:
    """MultigenError for numbers that no request may have, and for a model that generates nothing."""
    _ = parts.denoiser
    for name, value in (("n", n), ("batch", batch)):
        if value < 1:
            raise MultigenError(f"{name}: {value} is not allowed; give 1 or more")
    if not 0 <= seed < 2**62:
        raise MultigenError(f"seed: {seed} is not allowed; give a whole number from 0 to 2^62 - 1")
    if seed + n > 2**62:
        raise MultigenError(f"seed: {seed} is not allowed with n = {n}; seeds count on, to 2^62 - 1 at most")
