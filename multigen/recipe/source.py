"""Recipe files: finding them, and reading their YAML as plain data with the line of every key.

The reader is strict and small: YAML 1.2's core types (so `no` is a word and 1e-3 a number), no tags, no merge keys, no
duplicate keys, one document, and limits on bytes, depth and on what aliases unfold to. PyYAML and Hydra's loader are
laxer; they never see a file that did not pass here.
"""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from multigen.errors import RecipeError, message
from multigen.recipe.safety import check_key, check_number, check_part_name, check_text, check_top_key

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_NODES = 50_000  # after aliases are unfolded
MAX_TEXT = 1024 * 1024  # characters after aliases are unfolded
MAX_FILES = 16

_INT = re.compile(r"[-+]?[0-9]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_TAG = "tag:yaml.org,2002:"
_DEFAULT_NAME = re.compile(r"[A-Za-z0-9][\w-]*")


@dataclass
class Source:
    """One recipe file as plain data; `lines` holds the line of each dotted key, `defaults` the recipes it extends."""

    shown: str
    data: dict[str, Any]
    lines: dict[str, int]
    defaults: list[str] = field(default_factory=list)
    path: Path | None = None


def show(path: Path) -> str:
    """The path as messages give it: relative where the file lies below the working folder."""
    absolute = Path(os.path.abspath(path))
    return str(absolute.relative_to(Path.cwd())) if absolute.is_relative_to(Path.cwd()) else str(absolute)


# --- finding ----------------------------------------------------------------------------------------------------


def shipped_folder() -> Path:
    """Where the shipped recipes are: inside the installed package, or beside it in a source checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "recipes"
    return inside if inside.is_dir() else package.parent / "recipes"


def shipped() -> dict[str, Path]:
    """Shipped recipes by name, sorted."""
    return {p.stem: p for p in sorted(shipped_folder().glob("*.yaml"))}


def find(path_or_name: str) -> Path:
    """The file that a path, a run folder or the name of a shipped recipe stands for; RecipeError with the nearest."""
    path = Path(path_or_name)
    if path.is_file():
        return path
    if (path / "recipe.yaml").is_file():
        return path / "recipe.yaml"
    known = shipped()
    if path_or_name in known:
        return known[path_or_name]
    if (path / "model_index.json").is_file():
        how = f"multigen sample {path_or_name}, or: multigen run image_stable_diffusion backbone.path={path_or_name}"
        raise RecipeError(f"{path_or_name}: a folder in diffusers' format is no recipe. Use: {how}")
    if path.is_dir():
        raise RecipeError(f"{path_or_name}: this folder holds no recipe.yaml, so it is no run folder.")
    if len(path.parts) > 1 or path.suffix in (".yaml", ".yml"):
        beside = [str(p) for p in sorted(path.parent.glob("*.y*ml"))] if path.parent.is_dir() else []
        near = difflib.get_close_matches(str(path), beside, n=1) or [path.stem] * (path.stem in known)
        hint = f" Did you mean {near[0]!r}?" if near else f" Shipped recipes: {', '.join(known)}."
        raise RecipeError(f"{path_or_name}: no such file.{hint}")
    raise RecipeError(
        message("recipe", path_or_name, known, "A path to a .yaml or a run folder is allowed as well.")
    )


def chain(path: Path) -> list[Source]:
    """The file and all that it extends, in the order in which they are merged (later ones win)."""
    layers: list[Source] = []
    _extend(path, (), layers)
    return layers


def _extend(path: Path, above: tuple[Path, ...], layers: list[Source]) -> None:
    source = read(path)
    above = (*above, path.resolve())
    for name in source.defaults:
        if name == "_self_":
            layers.append(source)
            continue
        at = f"{source.shown}:{source.lines['defaults']}: defaults"
        target = _sibling(name, path, at)
        if target.resolve() in above:
            raise RecipeError(f"{at}: {name!r} extends itself, by way of {show(target)}.")
        if any(layer.path is not None and target.resolve() == layer.path.resolve() for layer in layers):
            raise RecipeError(f"{at}: {name!r} is extended twice. Name each recipe once.")
        if len(above) + len(layers) >= MAX_FILES:
            raise RecipeError(f"{at}: more than {MAX_FILES} recipes extend one another.")
        _extend(target, above, layers)


def _sibling(name: str, path: Path, at: str) -> Path:
    """The recipe that `defaults` names: beside the file, or shipped. A file that names itself means the shipped one."""
    known = shipped()
    beside = path.with_name(f"{name}.yaml")
    if beside.is_file() and beside.resolve() != path.resolve():
        return beside
    if name in known:
        return known[name]
    siblings = [p.stem for p in path.parent.glob("*.yaml") if p.stem != path.stem]
    raise RecipeError(
        message(at, name, sorted({*siblings, *known}), "Recipes beside the file and shipped ones count.")
    )


# --- reading ----------------------------------------------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """YAML 1.2 core schema: PyYAML's own resolver makes `no` false, 1:30 ninety and 1e-3 a word."""


_Loader.yaml_implicit_resolvers = {}
for _name, _pattern, _first in (
    ("null", re.compile(r"~|null|Null|NULL|"), ["~", "n", "N", ""]),
    ("bool", re.compile(r"true|True|TRUE|false|False|FALSE"), list("tTfF")),
    ("int", _INT, list("-+0123456789")),
    ("float", _FLOAT, list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(f"{_TAG}{_name}", re.compile(f"^(?:{_pattern.pattern})$"), _first)


def read(path: Path) -> Source:
    """One file, checked; RecipeError with file and line for anything that a recipe may not contain."""
    shown = show(path)
    source = parse(_text(path, shown), shown)
    source.path = path
    return source


def parse(text: str, shown: str) -> Source:
    """The text of a recipe, checked; `shown` names it in messages."""
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            break  # Hydra reads directives in the leading comments only
        if re.match(r"\s*#\s*@", line):
            raise RecipeError(f"{shown}:{number}: directives such as @package are not allowed in a recipe.")
    try:
        _check_events(text, shown)
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise RecipeError(
            f"{shown}:{line}: this is not valid YAML: {error.problem or error.context}."
        ) from None
    except yaml.YAMLError as error:
        raise RecipeError(f"{shown}:1: this is not valid YAML: {' '.join(str(error).split())}.") from None
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
        raise RecipeError(f"{shown}: the file is over {MAX_BYTES:,} bytes, the limit of a recipe.")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise RecipeError(f"{shown}:{line}: this is not UTF-8 text.") from None
    return text


def _check_events(text: str, shown: str) -> None:
    """Tags, directives, documents, depth: on the event stream, which is built without recursion."""
    depth = documents = 0
    for event in yaml.parse(text, Loader=_Loader):
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


class _Builder:
    """Nodes to plain data. Counts every node each time an alias brings it up, so that aliases cannot explode."""

    def __init__(self, shown: str) -> None:
        self.shown, self.lines = shown, {}
        self.nodes = self.characters = 0

    def build(self, node: yaml.Node, place: str, depth: int) -> Any:
        at = f"{self.shown}:{node.start_mark.line + 1}: {place or 'recipe'}"
        self.nodes += 1
        if self.nodes > MAX_NODES or depth > MAX_DEPTH:
            raise RecipeError(
                f"{at}: aliases unfold to more than {MAX_NODES:,} values or {MAX_DEPTH} levels."
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
            raise RecipeError(f"{at}: aliases unfold to more than {MAX_TEXT:,} characters.")
        kind = node.tag.removeprefix(_TAG)
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
    """The `defaults` list: names of recipes and `_self_` (last where it is left out, so that the file itself wins)."""
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
