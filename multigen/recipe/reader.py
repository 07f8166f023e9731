"""The reader of recipes: YAML as plain data, with the line of every key.

It is small and strict: YAML 1.2's core types (`yaml_core`), no merge keys, no duplicate keys, and limits on bytes,
depth and what aliases expand to. PyYAML's own loader and Hydra's are laxer; they never see a file that did not pass
here.
"""

from __future__ import annotations

import copy
import functools
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from multigen.errors import RecipeError
from multigen.recipe.safety import check_key, check_number, check_part_name, check_text, check_top_key
from multigen.recipe.yaml_core import MAX_DEPTH, TAG, CoreLoader, check_events

MAX_BYTES = 256 * 1024
MAX_NODES = 50_000  # after aliases are expanded
MAX_TEXT = 1024 * 1024  # characters after aliases are expanded

_DEFAULT_NAME = re.compile(r"[A-Za-z0-9][\w-]*")


@dataclass
class Source:
    """One recipe file as plain data.

    shown      its name in messages
    lines      dotted key -> line
    defaults   recipes that it extends, and `_self_`
    """

    shown: str
    data: dict[str, Any]
    lines: dict[str, int]
    defaults: list[str] = field(default_factory=list)
    path: Path | None = None


def show(path: Path) -> str:
    """Return a path for messages: relative to the working folder if the file is inside it."""
    absolute = Path(os.path.abspath(path))
    return str(absolute.relative_to(Path.cwd())) if absolute.is_relative_to(Path.cwd()) else str(absolute)


def read(path: Path) -> Source:
    """Read and check a file. RecipeError with file and line for anything that a recipe may not contain."""
    shown = show(path)
    source = parse(_text(path, shown), shown)
    source.path = path
    return source


def parse(text: str, shown: str) -> Source:
    """Read and check the text of a recipe. `shown` is its name in messages."""
    return copy.deepcopy(_parsed(text, shown))  # whoever composes recipes changes them


@functools.lru_cache(maxsize=128)
def _parsed(text: str, shown: str) -> Source:
    """As `parse`. A command reads the same texts several times, and PyYAML takes 30 ms for one."""
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            break  # Hydra reads directives in the leading comments only
        if re.match(r"\s*#\s*@", line):
            raise RecipeError(f"{shown}:{number}: directives such as @package are not allowed in a recipe.")
    try:
        check_events(text, shown)
        node = yaml.compose(text, Loader=CoreLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise RecipeError(f"{shown}:{line}: not valid YAML: {error.problem or error.context}.") from None
    except yaml.YAMLError as error:
        raise RecipeError(f"{shown}:1: not valid YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(node, yaml.MappingNode):
        raise RecipeError(f"{shown}:1: a recipe is a mapping of keys to values; see `multigen recipes`.")
    builder = _Builder(shown)
    data = builder.build(node, "", 0)
    at = f"{shown}:{builder.lines.get('defaults', 1)}: defaults"
    return Source(shown, data, builder.lines, _defaults(data.pop("defaults", None), at))


def _text(path: Path, shown: str) -> str:
    if not path.is_file():
        raise RecipeError(f"{shown}: no such file.")
    with path.open("rb") as file:
        raw = file.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise RecipeError(f"{shown}: the file is larger than {MAX_BYTES:,} bytes, the limit for a recipe.")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise RecipeError(f"{shown}:{line}: not UTF-8 text.") from None
    return text


class _Builder:
    """Builds plain data from nodes. A node counts each time that an alias repeats it, so aliases cannot explode."""

    def __init__(self, shown: str) -> None:
        self.shown, self.lines = shown, {}
        self.nodes = self.characters = 0

    def build(self, node: yaml.Node, place: str, depth: int) -> Any:
        at = f"{self.shown}:{node.start_mark.line + 1}: {place or 'recipe'}"
        self.nodes += 1
        if self.nodes > MAX_NODES or depth > MAX_DEPTH:
            raise RecipeError(
                f"{at}: aliases expand to more than {MAX_NODES:,} values or {MAX_DEPTH} levels."
            )
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(child, f"{place}.{i}", depth + 1) for i, child in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)
        return self._scalar(node, place, at)

    def _mapping(self, node: yaml.MappingNode, place: str, depth: int) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            at = f"{self.shown}:{line}: {place or 'recipe'}"
            if not isinstance(key_node, yaml.ScalarNode):
                raise RecipeError(f"{at}: a list or mapping is not allowed as a key.")
            key = check_key(self._scalar(key_node, "", at), at)
            if not place:
                check_top_key(key, at)
            if key in out:
                raise RecipeError(f"{at}: the key {key!r} appears twice.")
            here = f"{place}.{key}" if place else key
            self.lines[here] = line
            out[key] = self.build(value_node, here, depth + 1)
        return out

    def _scalar(self, node: yaml.ScalarNode, place: str, at: str) -> Any:
        text = node.value
        self.characters += len(text)
        if self.characters > MAX_TEXT:
            raise RecipeError(f"{at}: aliases expand to more than {MAX_TEXT:,} characters.")
        kind = node.tag.removeprefix(TAG)
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        if kind == "int":
            if len(text) > 100:
                raise RecipeError(f"{at}: a number of {len(text)} digits is not allowed.")
            return int(text, 16) if text.startswith("0x") else int(text)
        if kind == "float":
            return check_number(float(text.replace(".inf", "inf").replace(".nan", "nan")), at)
        check_part_name(place, text, at)
        return check_text(text, at)


def _defaults(value: Any, at: str) -> list[str]:
    """Return the `defaults` list: names of recipes, and `_self_`, by default last, so that the file itself wins."""
    if value is None:
        return ["_self_"]
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list):
        raise RecipeError(f"{at}: {value!r} is not allowed. Allowed: a list of recipe names, and _self_.")
    for name in names:
        if name != "_self_" and not (isinstance(name, str) and _DEFAULT_NAME.fullmatch(name)):
            raise RecipeError(
                f"{at}: {name!r} is not allowed. Allowed: names of recipes beside this file or shipped, and _self_; "
                "no paths, packages, config groups or overrides."
            )
    if names.count("_self_") > 1:
        raise RecipeError(f"{at}: _self_ appears twice.")
    return names if "_self_" in names else [*names, "_self_"]
