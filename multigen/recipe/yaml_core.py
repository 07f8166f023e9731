"""YAML 1.2's core types, and what else of YAML a recipe may use: one document, no tags, no directives."""

from __future__ import annotations

import re

import yaml

from multigen.errors import RecipeError

MAX_DEPTH = 32
TAG = "tag:yaml.org,2002:"

_INT = re.compile(r"[-+]?[0-9]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)


class CoreLoader(yaml.SafeLoader):
    """Loads YAML 1.2's core schema. PyYAML's own resolver makes `no` false, 1:30 the number 90, and 1e-3 a word."""


CoreLoader.yaml_implicit_resolvers = {}
for _name, _pattern, _first in (
    ("null", re.compile(r"~|null|Null|NULL|"), ["~", "n", "N", ""]),
    ("bool", re.compile(r"true|True|TRUE|false|False|FALSE"), list("tTfF")),
    ("int", _INT, list("-+0123456789")),
    ("float", _FLOAT, list("-+.0123456789")),
):
    CoreLoader.add_implicit_resolver(f"{TAG}{_name}", re.compile(f"^(?:{_pattern.pattern})$"), _first)


def check_events(text: str, shown: str) -> None:
    """Refuse tags, directives, a second document and deep nesting, on the event stream, which needs no recursion."""
    depth = documents = 0
    for event in yaml.parse(text, Loader=CoreLoader):
        at = f"{shown}:{event.start_mark.line + 1}"
        if getattr(event, "tag", None) is not None:
            raise RecipeError(
                f"{at}: the YAML tag {event.tag!r} is not allowed. A recipe is plain data, without tags."
            )
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if event.version or event.tags:
                raise RecipeError(f"{at}: YAML directives (%YAML, %TAG) are not allowed in a recipe.")
            if documents > 1:
                raise RecipeError(f"{at}: a second YAML document is not allowed. One file holds one recipe.")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise RecipeError(f"{at}: nested deeper than {MAX_DEPTH} levels.")
