"""The generated reference: complete, and nothing in it without a word of explanation."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

import multigen
from docs.generate import api, benchmarks, commands, markdown, parts, recipes
from docs.outside import outside_references
from multigen import registry
from multigen.cli.main import COMMANDS
from multigen.recipe import schema
from multigen.recipe.source import shipped
from multigen.registry import KINDS

PUBLIC = {
    "EditRequest", "Media", "Model", "MultigenError", "Part", "Recipe", "Request", "__version__", "core", "evaluate",
    "explain", "export", "load", "load_recipe", "register", "train",
}  # fmt: skip


def test_import_multigen_shows_the_public_api_and_nothing_else() -> None:
    assert set(dir(multigen)) == PUBLIC
    for name in PUBLIC:
        assert f"## multigen.{markdown.plain(name)}\n" in api.pages()["multigen"]


def test_every_recipe_key_has_its_row_and_its_meaning() -> None:
    page = recipes.keys()
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith(("| `", "| [`"))]
    assert len(rows) > 80
    assert not [row[0] for row in rows if not row[-1].strip(" |")]
    for field in dataclasses.fields(schema.Train):
        assert f"`train.{field.name}" in page


def test_every_part_stands_in_the_reference_with_its_arguments() -> None:
    page = parts.page()
    for kind in KINDS:
        for name in registry.names(kind):
            assert f"{{#{kind}-{name}}}" in page
            section = page.split(f"{{#{kind}-{name}}}")[1].split("\n### ")[0]
            assert section.strip().splitlines()[0], f"{kind} {name} has no docstring"
            for argument in registry.arguments(kind, name):
                assert f"| `{argument.name}` |" in section


def test_every_command_and_recipe_stands_in_the_reference() -> None:
    page = commands.page()
    for name in COMMANDS:
        assert f"\n## {name}\n" in page
    assert "`--guidance-scale" in page
    for name in shipped():
        assert f"\n## {name}\n" in recipes.shipped()


def test_docstrings_as_markdown() -> None:
    text = "Does a_b.\n\nsize     of it\nlong_one  what goes\n          on here\n\nReturns [B, *D]."
    shown = markdown.from_text(text)
    assert "a\\_b" in shown and "| `long_one` | what goes on here |" in shown and "\\[B, \\*D\\]" in shown

    def part(*, size: int = 1, other: int = 2) -> None:
        """Summary.

        size: how large | how small
        """

    about, said = markdown.arguments(part, ["size", "other"])
    assert (about, said) == ("Summary.", {"size": "how large \\| how small"})


def test_headings_in_code_are_no_headings() -> None:
    assert markdown.deeper("# a\n```\n# b\n```\n") == "## a\n```\n# b\n```\n"


def test_results_of_benchmarks_become_sections(tmp_path: Path) -> None:
    (tmp_path / "intro.md").write_text("# Benchmarks\n")
    (tmp_path / "samplers.md").write_text("| a |\n|---|\n")
    (tmp_path / "many.md").write_text("# Many\n\ntext\n")
    page = benchmarks.page(tmp_path / "intro.md", tmp_path)
    assert "## samplers\n\n| a |" in page and "## Many\n" in page


@pytest.mark.parametrize(
    ("html", "count"),
    [
        ('<a href="https://example.org/">text</a>', 0),
        ('<script src="https://example.org/x.js"></script>', 1),
        ('<link rel="stylesheet" href="//example.org/x.css">', 1),
        ('<p style="background: url(https://example.org/x.png)">', 1),
        ("<style>@import 'https://example.org/x.css'; p {}</style>", 1),
        ('<img src="a.png"><script src="../x.js"></script>', 0),
    ],
)
def test_what_a_page_would_fetch_from_elsewhere_is_found(tmp_path: Path, html: str, count: int) -> None:
    (tmp_path / "index.html").write_text(html)
    assert len(outside_references(tmp_path)) == count


def test_what_a_style_would_fetch_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.css").write_text(
        '@font-face{src:url("https://example.org/f.woff2")} a{background:url(b.png)}'
    )
    assert outside_references(tmp_path) == [("a.css", "https://example.org/f.woff2")]
