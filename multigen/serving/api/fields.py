"""What a type of a request has in it, for messages that name the nearest."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel


def fields_at(annotation: Any, place: Iterable[int | str]) -> list[str]:
    """The members of the object at a place within a type; empty where it is no object with known members."""
    for part in place:
        annotation = _member(annotation, part)
    for one in alternatives(annotation):
        if isinstance(one, type) and issubclass(one, BaseModel):
            return list(one.model_fields)
    return []


def _member(annotation: Any, part: int | str) -> Any:
    for one in alternatives(annotation):
        if isinstance(part, int) and typing.get_origin(one) is list:
            return typing.get_args(one)[0]
        if isinstance(one, type) and issubclass(one, BaseModel) and part in one.model_fields:
            return one.model_fields[str(part)].annotation
    return annotation  # the name of an alternative, as pydantic puts it into a place


def alternatives(annotation: Any) -> tuple[Any, ...]:
    """The types that a union is of."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return typing.get_args(annotation)
    return (annotation,)
