"""Options that the fields of a dataclass declare: the command line, requests of a server and forms are made of them."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from multigen.options import Option

_OPTION = "option"


def option(
    type: Any,
    help: str,
    metavar: str = "",
    low: float = -math.inf,
    above: float = -math.inf,
    choices: tuple[str, ...] = (),
) -> dict[str, Option]:
    """The declaration of a field, its `metadata`; name and default are the field's."""
    return {_OPTION: Option("", type, None, help, low=low, above=above, choices=choices, metavar=metavar)}


def declared(kind: type[Any]) -> dict[str, Option]:
    """The options that a dataclass declares, by name."""
    found = {f.name: (f.metadata.get(_OPTION), f.default) for f in dataclasses.fields(kind)}
    return {
        name: dataclasses.replace(one, name=name, default=default)
        for name, (one, default) in found.items()
        if one is not None
    }
