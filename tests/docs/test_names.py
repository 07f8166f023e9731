"""What the pages name exists: commands with their options, recipe keys, parts. Shown commands parse as they stand."""

from __future__ import annotations

import dataclasses
import re
import shlex
import typing
from pathlib import Path

import pytest

from multigen import registry
from multigen.cli.main import COMMANDS
from multigen.cli.request_options import add_options
from multigen.options import CONDITIONERS
from multigen.recipe.load import load_recipe
from multigen.recipe.schema import Recipe
from multigen.recipe.source import shipped
from multigen.registry import KINDS, Part
from tests.docs.blocks import PAGES, ROOT, read

CARDS = sorted((ROOT / "multigen" / "weights").glob("*/README.md"))
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
# Options of programs that the pages name beside multigen.
FOREIGN = {"--max-restarts", "--minutes", "--nproc-per-node", "--no-deps", "--only", "--quick"}
FILES = (".safetensors", ".yaml", ".md")
EXAMPLES = {"series", "sines", "waves"}  # parts that a page shows how to add
PARSERS = {name: command.parser() for name, command in COMMANDS.items()}
# What the commands add for the modality and the conditioner of a source.
_DECLARED = [o for m in registry.names("modality") for o in registry.lookup("modality", m).options]
_DECLARED += [o for declares in CONDITIONERS.values() for o in declares({})]
for _option in {o.name: o for o in _DECLARED}.values():
    add_options(PARSERS["sample"], [_option])
    add_options(PARSERS["edit"], [_option])
KEYED = typing.get_type_hints(Recipe)


def commands(path: Path) -> list[tuple[str, list[str]]]:
    """(where, arguments) of each shown `multigen` line: of a page's blocks, or of a recipe's comments."""
    if path.suffix == ".md":
        return [(block.where, words) for block in read(path) for words in block.commands()]
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        match = re.match(r"\s*#.*?\bmultigen ((?:run|train|sample|edit|evaluate) .*)", line)
        if match:
            found.append((f"{path.name}:{number}", shlex.split(match[1], comments=True)))
    return found


@pytest.mark.parametrize("path", [*PAGES, *CARDS, *RECIPES], ids=lambda p: str(p.relative_to(ROOT)))
def test_every_command_parses(path: Path) -> None:
    for where, words in commands(path):
        name, *arguments = words
        assert name in PARSERS, f"{where}: there is no command {name}"
        parsed = PARSERS[name].parse(arguments)
        source = getattr(parsed, "recipe", getattr(parsed, "source", ""))
        # Not students that an earlier line makes.
        overrides = [o for o in getattr(parsed, "overrides", []) if not re.match(r"fast=.*[./]", o)]
        if overrides and Path(str(source)).stem in shipped():
            swept = getattr(parsed, "multirun", False)
            load_recipe(Path(source).stem, [first(o) if swept else o for o in overrides])


@pytest.mark.parametrize("name", PARSERS)
def test_the_examples_of_a_command_parse(name: str) -> None:
    """Those that --help shows, and the reference."""
    for line in (PARSERS[name].description or "").splitlines():
        if line.startswith("  multigen "):
            _, command, *arguments = shlex.split(line.partition(" | ")[0], comments=True)
            PARSERS[command].parse(arguments)


def first(override: str) -> str:
    """The first of several values of a sweep."""
    key, _, value = override.partition("=")
    return f"{key}={re.split(r',(?![^[{]*[]}])', value)[0]}"


def spans(page: Path) -> list[str]:
    """Code within lines."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_option_exists(page: Path) -> None:
    known = {o for parser in PARSERS.values() for a in parser.actions for o in a.option_strings} | FOREIGN
    for span in spans(page):
        for option in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", span):
            assert option in known, f"{page.name}: `{span}`: there is no option {option}"
        name = re.match(r"multigen ([a-z]+)\b", span)
        if name:
            assert name[1] in PARSERS, f"{page.name}: `{span}`: there is no command {name[1]}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_recipe_key_exists(page: Path) -> None:
    for span in spans(page):
        match = re.match(r"\+?([a-z_]+(?:\.[a-z_0-9]+)+)(?:$|=)", span)
        if match and match[1].split(".")[0] in KEYED and not match[1].endswith(FILES):
            assert is_key(match[1].split(".")), f"{page.name}: `{span}`: there is no such key"
        named = re.match(r"\+?([a-z_.]+)\.name=([a-z_0-9]+)$", span)
        if named and named[2] not in EXAMPLES:
            registry.lookup(kind_of(named[1].split(".")[-1]), named[2])


def kind_of(key: str) -> str:
    """The kind of part that a key holds."""
    return {"data": "dataset"}.get(key, key)


def is_key(path: list[str], hint: object = Recipe) -> bool:
    """Whether a dotted key leads to a field, or to an argument of some part of its kind."""
    hints = typing.get_type_hints(hint)
    key, *rest = path
    if key not in hints:
        return False
    inner = next((h for h in (hints[key], *typing.get_args(hints[key])) if dataclasses.is_dataclass(h)), None)
    if inner is Part and rest:
        kind = kind_of(key)
        arguments = {a.name for name in registry.names(kind) for a in registry.arguments(kind, name)}
        return rest[0] in {"name", *arguments}
    return not rest or (inner is not None and is_key(rest, inner))


def test_a_key_that_is_none_is_found_out() -> None:
    assert is_key(["train", "noise_level", "mean"]) and is_key(["sample", "polish", "passes"])
    assert not is_key(["train", "noise_level", "meen"]) and not is_key(["train", "speed"])


def test_there_is_a_page_for_every_kind() -> None:
    pages = {page.stem for page in (ROOT / "docs" / "extend").glob("*.md")}
    overview = (ROOT / "docs" / "extend" / "index.md").read_text(encoding="utf-8")
    for kind in KINDS:
        assert kind in pages | {"noise_level"} and kind in overview, kind


def test_every_shipped_recipe_is_introduced() -> None:
    start = (ROOT / "docs" / "start.md").read_text(encoding="utf-8")
    for name in shipped():
        load_recipe(name)
        assert f"`{name}`" in start, name


def test_every_command_is_introduced() -> None:
    start = (ROOT / "docs" / "start.md").read_text(encoding="utf-8")
    for name in PARSERS:
        assert f"`{name}`" in start, name


def test_the_readme_counts_the_parts() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    words = {5: "five", 6: "six", 7: "seven", 8: "eight", 13: "Thirteen"}
    for kind, plural in {"sampler": "samplers", "schedule": "schedules", "guide": "guides"}.items():
        assert f"{words[len(registry.names(kind))]} {plural}" in text, kind
    assert f"{words[len(registry.names('modifier'))]} modifiers" in text
