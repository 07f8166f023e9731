"""The reference of parts: every name of every kind, its arguments and what it does, from the registry."""

from __future__ import annotations

from docs.generate import markdown
from docs.generate.markdown import code, table
from multigen import registry
from multigen.cli.parts import recipe_text
from multigen.registry import KINDS

_HEAD = """\
# Parts

Every part that a recipe can name, with its arguments. This page is made from the registry; `multigen parts` prints the
same, with the parts of installed packages among them. [Extend](../extend/index.md) shows how to add one.

"""


def page() -> str:
    """The whole reference."""
    jump = " · ".join(f"[{kind}](#{kind})" for kind in KINDS)
    return _HEAD + jump + "\n\n" + "\n".join(_kind(kind) for kind in KINDS)


def _kind(kind: str) -> str:
    return f"## {kind}\n\n" + "\n".join(_part(kind, name) for name in registry.names(kind))


def _part(kind: str, name: str) -> str:
    arguments = registry.arguments(kind, name)
    about, said = markdown.arguments(registry.lookup(kind, name), [a.name for a in arguments])
    rows = [
        [
            code(a.name),
            code(registry.describe(a.annotation)),
            "required" if a.required else code(recipe_text(a.default)),
            said.get(a.name, ""),
        ]
        for a in arguments
    ]
    head = ["argument", "type", "default", "meaning"]
    if not said:
        head, rows = head[:3], [row[:3] for row in rows]
    return f"### {name} {{#{kind}-{name}}}\n\n{about}\n\n{table(head, rows) if rows else ''}"
