"""Whether two requests say the same. Media in memory are the same where they are one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_PLAIN = (str, Path, bool, int, float, list, tuple, dict)  # values that are compared by what they say


def is_same(one: object, other: object) -> bool:
    """Whether two values are the same. Tensors and media in memory are, where they are one."""
    return one is other or (isinstance(one, _PLAIN) and type(one) is type(other) and one == other)


def same_values(one: Mapping[str, object], other: Mapping[str, object]) -> bool:
    """Whether two sets of options say the same."""
    return one.keys() == other.keys() and all(is_same(value, other[name]) for name, value in one.items())


def is_said(value: object) -> bool:
    """Whether an option says something: it is neither None nor an empty text."""
    return value is not None and not (isinstance(value, str) and not value)
