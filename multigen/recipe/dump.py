"""A `Recipe` as plain data, as YAML and as a hash."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

import yaml

from multigen.recipe.schema import UNSAID_EMPTY, Recipe
from multigen.registry import Part


def to_data(recipe: Recipe) -> dict[str, Any]:
    """Return a recipe as plain data: keys in the order of the dataclasses, a part's arguments sorted after its name."""
    return _plain(recipe)


def _plain(value: Any) -> Any:
    if isinstance(value, Part):
        return {"name": value.name, **{k: _plain(value.args[k]) for k in sorted(value.args)}}
    if dataclasses.is_dataclass(value):
        pairs = ((f, getattr(value, f.name)) for f in dataclasses.fields(value))
        said = [(f, _plain(one), one != f.default) for f, one in pairs]
        return {f.name: one for f, one, other in said if not f.metadata.get(UNSAID_EMPTY) or (one and other)}
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value


class _Dumper(yaml.SafeDumper):
    """Quotes words that any version of YAML reads as a number or a boolean. Writes no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    # Only double quotes preserve line ends and control characters: elsewhere YAML folds them.
    style = None if text.isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$"),
    list("-+.0123456789"),
)


def to_yaml(recipe: Recipe) -> str:
    """Return a recipe as YAML, which `load_recipe` reads back as an equal recipe. The order of keys is stable."""
    return yaml.dump(to_data(recipe), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def recipe_hash(recipe: Recipe) -> str:
    """Return the sha256 (hex) of a recipe's data: equal recipes have equal hashes, however they were written."""
    text = json.dumps(to_data(recipe), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
