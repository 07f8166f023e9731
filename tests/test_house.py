"""The house: imports go down only, none runs in a circle, and files and functions stay small."""

from __future__ import annotations

import ast
import graphlib
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

import multigen

PACKAGE = Path(multigen.__file__).parent
# Rooms by floor, the highest first. A file imports from floors below its own, or from its own room.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("__main__",),
    ("cli",),
    ("runs", "serving"),
    ("evaluation",),
    ("model",),
    ("training", "generation"),
    ("cascades",),
    ("datasets", "codecs", "marks", "safety"),
    ("conditioners",),
    ("modalities", "recipe", "backbones"),
    ("families", "provenance"),
    ("storage",),
    ("registry",),
    ("core", "parts", "signatures", "options", "device", "progress", "prompts"),
    ("errors", "version"),
)
FLOOR = {room: len(FLOORS) - number for number, rooms in enumerate(FLOORS) for room in rooms}
DATA = {"weights", "sounds"}  # folders of data; any room may read them
FILES = {
    ".".join(["multigen", *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
Edge = tuple[str, str]


def room(module: str) -> str:
    """The room of a module, such as "storage"; "" for the package itself."""
    return module.split(".")[1] if "." in module else ""


def imported(source: str, module: str, known: dict[str, Path]) -> Iterator[str]:
    """Modules of multigen that a source imports, wherever the import stands: in functions and for type checkers too."""
    package = module if known.get(module, Path()).name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "multigen")
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *([node.module] if node.module else [])])
            if base.split(".")[0] == "multigen":
                for alias in node.names:
                    inner = f"{base}.{alias.name}"
                    yield inner if inner in known else base


def edges(files: dict[str, Path] = FILES) -> list[Edge]:
    found = {(m, other) for m, path in files.items() for other in imported(path.read_text(), m, files)}
    return sorted((a, b) for a, b in found if a != b and room(b) not in DATA and room(a) not in DATA)


def upward(found: list[Edge]) -> list[Edge]:
    """Imports that do not go down: to a higher floor, to another room of the same floor, or to the package itself."""
    return [
        (a, b)
        for a, b in found
        if a != "multigen" and room(a) != room(b) and (b == "multigen" or FLOOR[room(b)] >= FLOOR[room(a)])
    ]


def circle(found: list[Edge]) -> list[str]:
    """The modules of one circle of imports; empty where there is none."""
    graph: dict[str, set[str]] = {}
    for a, b in found:
        graph.setdefault(a, set()).add(b)
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


def test_every_folder_is_a_room() -> None:
    rooms = {room(module) for module in FILES} - DATA - {""}
    assert rooms <= set(FLOOR)


def test_imports_go_down() -> None:
    assert upward(edges()) == []


def test_no_import_runs_in_a_circle() -> None:
    assert circle(edges()) == []


def test_the_check_sees_what_it_should() -> None:
    source = "from multigen.core import noise\ndef f():\n    from ..cli import main\nimport multigen.errors\n"
    known = {"multigen.core.noise": Path(), "multigen.cli.main": Path()}
    found = [("multigen.storage.files", m) for m in imported(source, "multigen.storage.files", known)]
    assert sorted(b for _, b in found) == ["multigen.cli.main", "multigen.core.noise", "multigen.errors"]
    assert [b for _, b in upward(found)] == ["multigen.cli.main"]
    assert sorted(set(circle([("a", "b"), ("b", "c"), ("c", "b"), ("c", "d")]))) == ["b", "c"]
    assert circle([("a", "b"), ("b", "c")]) == []


def lines(path: Path) -> int:
    return path.read_text().count("\n")


def functions(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield f"{path.relative_to(PACKAGE)}:{node.lineno} {node.name}", node.end_lineno - node.lineno + 1


@pytest.mark.parametrize("path", [p for p in FILES.values() if p.name != "__init__.py"], ids=str)
def test_no_file_is_over_300_lines_and_no_function_over_50(path: Path) -> None:
    assert lines(path) <= 300
    assert [(name, n) for name, n in functions(path) if n > 50] == []


def test_half_of_the_files_have_120_lines_at_most() -> None:
    sizes = [lines(path) for path in FILES.values() if path.name != "__init__.py"]
    assert statistics.median(sizes) <= 120
