"""Overrides that a client may give: how media are sampled, in numbers and names of parts; nothing of this machine."""

from __future__ import annotations

import re
from collections.abc import Sequence

from multigen.errors import message
from multigen.serving.api.errors import ApiError
from multigen.serving.api.sampling import check_repeats
from multigen.serving.api.state import Limits

# Keys of a recipe, without what names files, weights or data.
ALLOWED = ("sampler", "guide", "timesteps", "sample.polish", "sample.steps", "codec.iterations")
# What is done so often: a request's own limit of steps holds for each.
_COUNTS = ("sample.steps", "sample.polish.passes", "codec.iterations")
_KEY = re.compile(r"[a-z_]+(\.[a-z_]+)*")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?|true|false|null")
_WORDS = ("true", "false", "null")
_NAME = re.compile(r"[a-z][a-z0-9_]*")


def check_overrides(given: Sequence[str], limits: Limits) -> tuple[str, ...]:
    """The overrides. ApiError for one that a client may not give."""
    sampler: dict[str, float] = {}
    for one in given:
        key, equals, value = one.partition("=")
        inside = any(key == allowed or key.startswith(f"{allowed}.") for allowed in ALLOWED)
        if not equals or not _KEY.fullmatch(key) or not inside:
            raise _refused(
                message("overrides", key[:60], ALLOWED, "Of a server's model nothing else changes.")
            )
        plain = _NAME if key.endswith(".name") or key in ALLOWED[:3] else _NUMBER
        if not plain.fullmatch(value):
            what = "the name of a part" if plain is _NAME else "a number"
            raise _refused(f"overrides: {key}={value[:60]} is not allowed; give {what}")
        if plain is not _NUMBER or value in _WORDS:
            continue
        if key in _COUNTS and float(value) > limits.steps:
            raise _refused(f"overrides: {key}={value[:60]}; allowed: up to {limits.steps}")
        if key.startswith("sampler."):
            sampler[key.removeprefix("sampler.")] = float(value)
    check_repeats(sampler, limits)
    return tuple(given)


def _refused(text: str) -> ApiError:
    return ApiError(400, text, param="overrides", code="invalid_value")
