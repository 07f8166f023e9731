"""The rooms that make media know no kind of them by name: what came last came through the registry alone.

Text and time series are packages of their own (`examples/`); speech, notes, and media that are made for other media
are parts of `multigen/parts.py`. The driver, the trainer, requests, the command line and the server import none of
these, name none of their classes, and ask for none of their names.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from multigen.registry import BUILTIN
from tests.test_house import FILES, room

ROOT = Path(__file__).parents[1]
AGNOSTIC = ("core", "training", "generation", "cli", "serving")
EXAMPLES = sorted(
    path for path in (ROOT / "examples").glob("multigen-*") if (path / "pyproject.toml").is_file()
)
# Recipes from one kind of media to another, of speech and of notes, and what of them is no older than those.
ACROSS = (
    "audio_for_video", "video_for_audio", "video_from_image", "image_control", "audio_speech", "notes_chorales",
    "notes_folder",
)  # fmt: skip
NEW = re.compile(
    r"multigen\.(conditioners\.(media|shown|speech|timbre|durations|phones|extractors)|"
    r"datasets\.(bouncing_emoji|clips|conditioned|spoken|composed_notes|chorale_notes|scores)|modalities\.(notes|roll)|"
    r"evaluation\.metrics\.(across|outline|same_thing|words|notes))\b"
)


def entry_points(package: Path) -> dict[str, str]:
    """The parts of an example by name, and where they are."""
    groups = tomllib.loads((package / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "entry-points"
    ]
    return {name: place for rows in groups.values() for name, place in rows.items()}


def new_parts() -> dict[str, str]:
    """All parts that the rooms must not know, by name: "module:Class"."""
    built_in = {n: p for rows in BUILTIN.values() for n, p in rows.items() if NEW.match(p)}
    return built_in | {name: place for package in EXAMPLES for name, place in entry_points(package).items()}


PARTS = new_parts()
MODULES = {place.partition(":")[0] for place in PARTS.values()}


def findings(source: str) -> Iterator[str]:
    """Where a file imports one of the parts, or asks whether something has the name of one."""
    for node in ast.walk(ast.parse(source)):
        imported = (
            [node.module, *(f"{node.module}.{one.name}" for one in node.names)]
            if isinstance(node, ast.ImportFrom)
            else [one.name for one in node.names]
            if isinstance(node, ast.Import)
            else []
        )
        for name in imported:
            if name and (name in MODULES or NEW.match(name) or name.split(".")[0].startswith("multigen_")):
                yield f"imports {name}"
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            asked = any(isinstance(one, ast.Attribute) and one.attr in ("name", "media") for one in sides)
            named = {
                one.value
                for side in sides
                for one in ast.walk(side)
                if isinstance(one, ast.Constant) and isinstance(one.value, str)
            }
            if asked and named & PARTS.keys():
                yield f"line {node.lineno}: {ast.unparse(node)}"
        if isinstance(node, ast.Match) and ast.unparse(node.subject).endswith(".name"):
            patterns = [one.value for one in ast.walk(node) if isinstance(one, ast.MatchValue)]
            if any(isinstance(one, ast.Constant) and one.value in PARTS for one in patterns):
                yield f"line {node.lineno}: match {ast.unparse(node.subject)}"


def test_the_parts_are_those_of_the_recipes() -> None:
    """What is looked for is what these recipes consist of: none of it has been renamed or moved away."""
    for name in ("media", "media_text", "speech", "notes", "text", "series", "impacts", "spoken", "onsets"):
        assert name in PARTS, name
    for name in ACROSS:
        recipe = yaml.safe_load((ROOT / "recipes" / f"{name}.yaml").read_text(encoding="utf-8"))
        assert {
            row["name"] for row in recipe.values() if isinstance(row, dict) and "name" in row
        } & PARTS.keys()


@pytest.mark.parametrize("name", AGNOSTIC)
def test_a_room_knows_none_of_them(name: str) -> None:
    files = {module: path for module, path in FILES.items() if room(module) == name}
    assert len(files) > 10
    found = [f"{m}: {one}" for m, path in files.items() for one in findings(path.read_text(encoding="utf-8"))]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "from multigen.conditioners.speech import Speech",
        "from multigen.conditioners import speech",
        "import multigen.modalities.notes",
        "from multigen_text.modality import Text",
        "if recipe.conditioner.name in ('media', 'label'): pass",
        "x = 1 if modality.name == 'series' else 2",
        "match recipe.modality.name:\n    case 'notes':\n        pass",
    ],
)
def test_a_branch_on_one_of_them_would_be_found(source: str) -> None:
    assert list(findings(source))


def test_what_is_asked_of_requests_is_not_taken_for_one() -> None:
    assert not list(findings("others = [k for k in given if k not in ('media', 'noise')]"))


@pytest.mark.parametrize("package", EXAMPLES, ids=lambda path: path.name)
def test_an_example_changes_nothing_of_multigen(package: Path) -> None:
    """It is its entry points: it sets no attribute of what it imports, and every part that it declares is in it."""
    files = list(package.rglob("*.py"))
    for path in files:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        froms = (node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom))
        imported = {(one.asname or one.name).split(".")[0] for node in froms for one in node.names}
        for node in ast.walk(tree):
            targets = node.targets if isinstance(node, ast.Assign) else []
            for target in (one for one in targets if isinstance(one, ast.Attribute)):
                assert ast.unparse(target).split(".")[0] not in imported, f"{path.name}: {ast.unparse(node)}"
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "setattr":
                pytest.fail(f"{path.name}: {ast.unparse(node)}")
    for place in entry_points(package).values():
        module, _, attribute = place.partition(":")
        path = package / Path(*module.split(".")).with_suffix(".py")
        assert re.search(rf"^(class|def) {attribute}\b", path.read_text(encoding="utf-8"), re.MULTILINE), (
            place
        )
