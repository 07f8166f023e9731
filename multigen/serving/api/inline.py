"""Files that stand in JSON as base64.

A file of some megabytes takes JSON's reader and writer tens of milliseconds, in which no other thread runs. So files
are put into the text after it is written, and base64 is read in pieces.
"""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

_PIECE = 1 << 18  # characters that are read at once; a multiple of four


@dataclass(frozen=True)
class Inline:
    """A file as a value in JSON."""

    content: bytes


def encode(data: Any) -> bytes:
    """The JSON text of data, in which files may stand."""
    mark, files = secrets.token_hex(16), list[bytes]()  # nobody can send a value that is taken for a file

    def marked(value: object) -> str:
        if not isinstance(value, Inline):
            raise TypeError(f"{type(value).__name__} is no JSON")
        files.append(value.content)
        return mark

    text = json.dumps(data, default=marked, allow_nan=False).encode()
    first, *rest = text.split(mark.encode())
    parts = [first]
    for file, after in zip(files, rest, strict=True):
        parts += (base64.b64encode(file), after)
    return b"".join(parts)


def decode(text: str) -> bytes:
    """A file from base64. ValueError if it is none."""
    if "=" in text[:-2]:
        raise ValueError("padding within the text")
    return b"".join(
        base64.b64decode(text[start : start + _PIECE], validate=True) for start in range(0, len(text), _PIECE)
    )


class JSON(Response):
    """An answer of JSON in which files may stand."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The text."""
        return encode(content)
