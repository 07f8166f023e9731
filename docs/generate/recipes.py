"""Two pages of the reference: every key of a recipe, from the dataclasses, and the recipes that are shipped."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import io
import textwrap
import tokenize
import typing
from typing import Any

from docs.generate.markdown import cell, code, docstring, plain, table
from multigen import registry
from multigen.recipe import schema
from multigen.recipe.reader import read
from multigen.recipe.source import shipped as shipped_recipes
from multigen.registry import KINDS, Part

_KEYS = """\
# Recipe keys

Every key of a recipe, its type, its default and its meaning. This page is made from the dataclasses in
`multigen.recipe.schema`, so it cannot fall behind them. `multigen run RECIPE --cfg job` prints all keys of a recipe
with their values.

A key is set in the YAML file or, for one command, as `key=value`: `train.lr=1e-3`. Keys whose type is a part name take
`{name: ..., argument: ...}`; [parts](parts.md) lists the names and arguments of each kind. An override of a part's
`name` drops the arguments of the former part. `+key=value` adds an argument that the recipe does not mention yet.

"""


def keys() -> str:
    """The reference of all keys."""
    hints = typing.get_type_hints(schema.Recipe)
    sections = [_section("", schema.Recipe)]
    for field in dataclasses.fields(schema.Recipe):
        inner = _dataclass(hints[field.name])
        if inner is not None:
            sections.append(_section(field.name, inner))
    return _KEYS + "\n".join(sections)


def _section(prefix: str, kind: type) -> str:
    title = f"## {prefix}" if prefix else "## Top level"
    head = ["key", "type", "default", "meaning"]
    return f"{title}\n\n{docstring(kind)}\n\n{table(head, _rows(prefix, kind))}"


def _rows(prefix: str, kind: type) -> list[list[str]]:
    """Rows of a dataclass; those of a dataclass inside it follow with dotted keys, unless it has its own section."""
    said, hints = comments(kind), typing.get_type_hints(kind)
    rows = []
    for field in dataclasses.fields(kind):
        key = f"{prefix}.{field.name}" if prefix else field.name
        inner = _dataclass(hints[field.name])
        if inner is not None and prefix:
            rows += _rows(key, inner)
        elif inner is not None:
            meaning = docstring(inner).split("\n\n")[0]
            rows.append([f"[`{key}`](#{field.name})", "section", "", cell(meaning)])
        else:
            meaning = cell(plain(said.get(field.name, ""))) or _of_kind(field.name)
            rows.append([code(key), code(_type(hints[field.name])), code(_default(field)), meaning])
    return rows


def _of_kind(name: str) -> str:
    """What a key means that only names a part."""
    kind = {"data": "dataset"}.get(name, name)
    return f"a [{kind}](parts.md#{kind})" if kind in KINDS else ""


def comments(kind: type) -> dict[str, str]:
    """The comment beside each field in the source of a dataclass, or on the lines above it."""
    source = textwrap.dedent(inspect.getsource(kind))
    lines = source.splitlines()
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    found = {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}
    body = next(n for n in ast.parse(source).body if isinstance(n, ast.ClassDef)).body
    said = {}
    for node in body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            first, last = node.lineno, node.end_lineno or node.lineno
            while lines[first - 2].lstrip().startswith("#"):
                first -= 1
            said[node.target.id] = " ".join(found[k] for k in range(first, last + 1) if k in found)
    return said


def _dataclass(hint: Any) -> type | None:
    return hint if dataclasses.is_dataclass(hint) and isinstance(hint, type) and hint is not Part else None


def _type(hint: Any) -> str:
    if hint is Part:
        return "part"
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return "{" + ", ".join(f.name for f in dataclasses.fields(hint)) + "}"
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        inner = [_type(a) for a in arguments if a is not Ellipsis]
        return f"[{', '.join(inner)}{', ...' if Ellipsis in arguments else ''}]"
    if arguments and origin is not typing.Literal:
        return " | ".join(_type(a) for a in arguments)
    return registry.describe(hint)


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default_factory is not dataclasses.MISSING:
        return _shown(field.default_factory())
    return "required" if field.default is dataclasses.MISSING else _shown(field.default)


def _shown(value: Any) -> str:
    """A value as a recipe writes it."""
    if isinstance(value, Part):
        return value.name if not value.args else f"{{name: {value.name}, ...}}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, tuple | list):
        return f"[{', '.join(_shown(v) for v in value)}]"
    return '""' if value == "" else f"{value:g}" if isinstance(value, float) else str(value)


def shipped() -> str:
    """The recipes that the package carries, as they are."""
    text = "# Shipped recipes\n\nEach is one file; `multigen recipes` lists them, and a name stands for the file.\n"
    for name, path in shipped_recipes().items():
        about = read(path).data.get("description", "")
        yaml = path.read_text(encoding="utf-8").rstrip()
        text += f"\n## {name}\n\n{about[:1].upper()}{about[1:]}.\n\n```yaml\n{yaml}\n```\n"
    return text
