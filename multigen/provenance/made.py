"""How a medium was made, as its file says it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from multigen.version import __version__

# IPTC digital source types: https://cv.iptc.org/newscodes/digitalsourcetype/
_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
GENERATED, COMPOSITE = f"{_TYPES}trainedAlgorithmicMedia", f"{_TYPES}compositeWithTrainedAlgorithmicMedia"
FORMAT = 1
AGENT = "multigen"
Sign = Literal["auto", "on", "off"]


@dataclass(frozen=True)
class SourceFile:
    """The file that an edit was made from: its suffix, and its path or its content."""

    suffix: str
    path: Path | None = None
    content: bytes | None = field(default=None, repr=False)

    def read(self) -> bytes:
        """The content. OSError where the file is gone."""
        if self.content is not None:
            return self.content
        if self.path is None:
            raise FileNotFoundError("a source without a file")
        return self.path.read_bytes()


@dataclass(frozen=True)
class Made:
    """How a medium was made.

    model         the recipe of the model, by name
    weights_hash  of the model
    sign          whether its file is signed
    edited        whether it was made from another medium
    source        the file of that, where there is one
    embedded      what only a recipe with `provenance.embed_recipe` says: recipe, prompt, seed
    """

    model: str
    weights_hash: str
    sign: Sign = "auto"
    edited: bool = False
    source: SourceFile | None = None
    embedded: Mapping[str, Any] | None = None

    @property
    def source_type(self) -> str:
        """The IPTC digital source type, an address."""
        return COMPOSITE if self.edited else GENERATED

    @property
    def action(self) -> str:
        """What C2PA calls it."""
        return "c2pa.edited" if self.edited else "c2pa.created"

    def data(self) -> dict[str, Any]:
        """All that a file says of it, but for who signed it."""
        return {
            "format": FORMAT,
            "action": self.action,
            "digital_source_type": self.source_type,
            "software": f"{AGENT} {__version__}",
            "model": self.model,
            "weights_hash": self.weights_hash,
            **(self.embedded or {}),
        }

    def text(self) -> str:
        """`data` as JSON of ASCII characters, on one line."""
        return json.dumps(self.data(), separators=(",", ":"))

    def sentence(self) -> str:
        """The same for people."""
        how = "Edited" if self.edited else "Made"
        return f"{how} with AI by {AGENT} {__version__}, model {self.model} ({self.weights_hash})"
