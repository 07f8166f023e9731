"""The house: imports go down only, none runs in a circle, and files and functions stay small."""

from __future__ import annotations

import ast
import graphlib
import statistics
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import multigen
from multigen.registry import BUILTIN

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


TESTS = Path(__file__).parent


def registered(source: str) -> Iterator[tuple[str, str]]:
    """Kind and name of the parts that a source registers when it is imported."""
    for node in ast.parse(source).body:
        # What stands in a function is registered when a test runs, which takes it back: tests/conftest.py.
        run = node.decorator_list if isinstance(node, ast.ClassDef | ast.FunctionDef) else [node]
        for call in (inner for one in run for inner in ast.walk(one) if isinstance(inner, ast.Call)):
            if not registers(call.func):
                continue
            given = dict(zip(("kind", "name"), call.args, strict=False))
            given |= {word.arg: word.value for word in call.keywords if word.arg}
            texts = [v.value for k in ("kind", "name") if isinstance(v := given.get(k), ast.Constant)]
            if len(texts) != 2:
                raise AssertionError(
                    f"line {call.lineno}: give register kind and name as texts, so that both are seen"
                )
            yield str(texts[0]), str(texts[1])


def registers(function: ast.expr) -> bool:
    """Whether it is `register` or `registry.register`, but not that of another module, such as `atexit.register`."""
    if isinstance(function, ast.Attribute):
        owner = function.value
        last = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
        return function.attr == "register" and last == "registry"
    return isinstance(function, ast.Name) and function.id == "register"


def test_no_two_files_of_tests_register_one_name() -> None:
    """One process imports many of them, and a name stays registered: it hides another file's, a package's, or ours."""
    mine = [name for path in TESTS.rglob("*.py") for name in registered(path.read_text(encoding="utf-8"))]
    assert len(mine) >= 5
    ours = [(kind, name) for kind, names in BUILTIN.items() for name in names]
    theirs = [
        (group.removeprefix("multigen."), name)
        for path in (TESTS.parent / "examples").glob("*/pyproject.toml")
        for group, names in tomllib.loads(path.read_text(encoding="utf-8"))["project"]["entry-points"].items()
        for name in names
    ]
    assert ("modality", "series") in theirs
    assert [name for name, times in Counter([*mine, *ours, *theirs]).items() if times > 1] == []


def test_the_check_sees_every_way_to_register() -> None:
    source = '@registry.register("feature", "a")\n@other\nclass A: ...\nregister("codec", "b")(len)\n'
    source += 'def f():\n    register("codec", "c")\nclass B:\n    x = f("a", "b")\n'
    source += 'multigen.registry.register(name="d", kind="codec")(len)\natexit.register(print, "bye")\n'
    assert list(registered(source)) == [("feature", "a"), ("codec", "b"), ("codec", "d")]
    for hidden in (
        'register("feature", NAME)',
        "register(KIND, 'a')",
        "registry.register(**both)",
        "register('a')",
    ):
        with pytest.raises(AssertionError, match="line 2: give register kind and name as texts"):
            list(registered(f"import multigen\n{hidden}(len)\n"))
