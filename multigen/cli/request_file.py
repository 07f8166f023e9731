"""Requests as text: a prompt, or a line of JSON that says more."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from multigen import registry
from multigen.cli.arguments import size
from multigen.errors import MultigenError, message
from multigen.generation.request import EditRequest, Request, Size, options
from multigen.options import Option
from multigen.runs.checks import check_media, check_medium

INPUT = "input"  # what a file of requests and the command line call the medium of an edit
PROMPTS = ("prompt", "negative_prompt", "invert")


def read_request(text: str, where: str, declared: Callable[[], Sequence[Option]] = tuple) -> Request:
    """A line as a request: JSON where it begins with a brace, a prompt otherwise.

    `{"prompt": "red apple", "seed": 3, "steps": 20, "overrides": ["sampler.name=ddim"]}`; the keys are the fields of
    `Request`, the options of the model and, for an edit of the medium `"input": "apple.png"`, the fields of
    `EditRequest`. `declared` gives the options of the modality; only a key that is no other asks for them.
    MultigenError names the place, an unknown key and the nearest, a value of another type.
    """
    if not text.startswith("{"):
        try:
            return Request(text)
        except MultigenError as error:
            raise MultigenError(f"{where}: {error}") from None
    try:
        data = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise MultigenError(f"{where}: not JSON ({error})") from None
    lists = ("overrides", "images")
    own = {**options(Request), **{name: Option(name, tuple[str, ...]) for name in lists}}
    edits = options(EditRequest)
    edits[INPUT] = edits.pop("media")
    known = {**own, **edits}
    more = {} if data.keys() <= known.keys() else {o.name: o for o in declared() if o.name not in known}
    for key in data:
        if key not in known and key not in more:
            raise MultigenError(message(f"{where}: {key}", key, sorted({**known, **more})))
    fields, edit, chosen = (_typed(data, kind, where) for kind in (own, edits, more))
    if edit and INPUT not in edit:
        raise MultigenError(f"{where}: {next(iter(edit))}: it goes with input, the file of a medium")
    try:
        request = Request(**fields, options=chosen, edit=edit_request(edit) if edit else None)
        request.check()
        return request
    except MultigenError as error:
        raise MultigenError(f"{where}: {error}") from None


def edit_request(values: Mapping[str, Any]) -> EditRequest:
    """An edit from its options by name, the medium as `input`. MultigenError for a missing file or a wrong value."""
    medium = check_media(values[INPUT])
    rest = {name: value for name, value in values.items() if name != INPUT}
    for name in ("mask", "last"):
        if isinstance(picture := rest.get(name), str):
            rest[name] = check_media(picture)
    edit = EditRequest(medium, **rest)
    edit.check()
    return edit


def _size(text: str, where: str) -> Size:
    try:
        return size(text)
    except argparse.ArgumentTypeError as error:
        raise MultigenError(f"{where}: {error}") from None


def _medium(option: Option, path: str, where: str) -> str:
    try:
        return check_medium(option, path)
    except MultigenError as error:
        raise MultigenError(f"{where}: {error}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object's keys and values; ValueError for a key that comes twice, of which JSON would keep the last."""
    keys = [key for key, _ in pairs]
    if twice := [key for key in keys if keys.count(key) > 1]:
        raise ValueError(f"{twice[0]!r} comes twice")
    return dict(pairs)


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _typed(data: Mapping[str, Any], declared: Mapping[str, Option], where: str) -> dict[str, Any]:
    found = {}
    for key, value in data.items():
        if key in declared:
            option = declared[key]
            if key in PROMPTS and isinstance(value, str):  # which says itself what is no text
                found[key] = value
                continue
            if option.type == Size and isinstance(value, str):
                value = _size(value, f"{where}: {key}")
            kind = option.type if option.default not in (None, "") else option.type | None
            found[key] = registry.convert(kind, value, f"{where}: {key}")
            if option.media and isinstance(value, str):
                found[key] = _medium(option, value, f"{where}: {key}")
    return found
