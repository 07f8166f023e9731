"""The page of examples: each file of examples/ with its source."""

from __future__ import annotations

from pathlib import Path

from docs.generate.markdown import plain

_HEAD = """\
# Examples

The files of `examples/`, each under 60 lines; the tests run every one. From a clone: `python examples/toy.py`.

"""


def page(folder: Path) -> str:
    """Every example, in the order of their names; a package shows its files one below the other."""
    text = _HEAD
    for path in sorted(folder.glob("*.py")):
        text += _file(path, path.name, 2)
    for package in sorted(p.parent for p in folder.glob("*/pyproject.toml")):
        about = (package / "README.md").read_text(encoding="utf-8").partition("\n\n")[2]
        text += f"## {package.name}\n\n{about}\n"
        for path in sorted(p for p in package.rglob("[!_.]*.*") if p.suffix in (".toml", ".py", ".yaml")):
            text += _file(path, str(path.relative_to(package)), 3)
    return text


def _file(path: Path, title: str, level: int) -> str:
    language = {".py": "python", ".toml": "toml", ".yaml": "yaml"}[path.suffix]
    source = path.read_text(encoding="utf-8").rstrip()
    return f"{'#' * level} {plain(title)}\n\n```{language}\n{source}\n```\n\n"
