"""Signatures of the built-in parts, read from their source: nothing is imported, so a wrong argument is said at once.

Importing a part imports torch, which takes seconds. Its source says the same, and never another thing than its code.
"""

from __future__ import annotations

import ast
import functools
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

UNKNOWN = object()  # an annotation that only the code knows
_ROOT = Path(__file__).parent.parent
# Names that the annotation of a recipe's argument may use.
_TYPES = {name: getattr(typing, name) for name in ("Annotated", "Any", "Literal")}
_TYPES |= {"Mapping": Mapping, "Sequence": Sequence}
_BUILTINS = {t.__name__: t for t in (bool, dict, float, int, list, str, tuple)}


class Written(NamedTuple):
    """A keyword-only parameter as it is written; `annotation` is `UNKNOWN` where it needs the module's own names."""

    name: str
    annotation: Any
    required: bool


@functools.cache
def written(place: str) -> tuple[Written, ...] | None:
    """The recipe arguments of the part at module:attribute, in order; None where its source does not say.

    Those that the builder gives are left out.
    """
    module, _, attribute = place.partition(":")
    found = _definition(module, attribute)
    if isinstance(found, ast.ClassDef):
        found = next((n for n in found.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    if not isinstance(found, ast.FunctionDef) or found.args.kwarg is not None:
        return None
    given = zip(found.args.kwonlyargs, found.args.kw_defaults, strict=True)
    return tuple(
        Written(a.arg, _evaluated(a.annotation), default is None)
        for a, default in given
        if not _is_given(a.annotation)
    )


def _definition(module: str, attribute: str) -> ast.stmt | None:
    """Where a name of a module is defined; through the modules that it is imported from."""
    for node in _statements(module):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == attribute:
            return node
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
            name = next((a.name for a in node.names if (a.asname or a.name) == attribute), None)
            if name is not None and node.module.startswith("multigen."):
                return _definition(node.module, name)
    return None


def _statements(module: str) -> Iterator[ast.stmt]:
    path = _ROOT.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if path.is_file():  # else an installation without its sources
        yield from ast.parse(path.read_text(encoding="utf-8")).body


def _is_given(annotation: ast.expr | None) -> bool:
    return isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "Given"


def _evaluated(annotation: ast.expr | None) -> Any:
    """The type that an annotation of our own source names."""
    if annotation is None:
        return Any
    try:
        code = compile(ast.Expression(annotation), "<annotation>", "eval")
        return eval(code, {"__builtins__": {}}, {**_BUILTINS, **_TYPES})
    except NameError:
        return UNKNOWN
