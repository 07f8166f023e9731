"""Optional packages: the data and weights that they carry, and how to install what is missing."""

from __future__ import annotations

import importlib.util
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from multigen.errors import MultigenError

_COMMAND = "multigen"  # of the distribution, whatever it is called
_EXTRA = re.compile(r"""extra\s*==\s*['"]([\w.-]+)['"]""")
_NAME = re.compile(r"[\w.-]+")


def package_folder(package: str, what: str, hint: str = "") -> Path:
    """Folder of an installed package, by the name it is imported by. Importing it could take seconds, and run code.

    MultigenError if it is missing: what needs it, how to install it, and `hint`, another way out.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        text = f"{what} needs the package {package}: {install('demo')}"
        raise MultigenError(f"{text}, or {hint}" if hint else text)
    return Path(spec.submodule_search_locations[0])


def check_installed(package: str, what: str, extra: str) -> None:
    """MultigenError if a package is missing: what needs it, and the extra that brings it."""
    if importlib.util.find_spec(package) is None:
        raise MultigenError(f"{what} needs the package {package}: {install(extra)}")


def torch_version() -> str:
    """The version of torch and of its build, such as 2.13.0+cu130; where it is not imported, as it was installed.

    PyPI's wheels leave their build out of the version that they are installed as.
    """
    imported = sys.modules.get("torch")
    return metadata.version("torch") if imported is None else str(imported.__version__)


def install(extra: str) -> str:
    """The command that installs an extra: in the clone that runs, or of the installed distribution."""
    clone = _clone()
    if clone is not None:
        folder = "." if clone == Path.cwd() else clone
        return f'pip install -e "{folder}[{extra}]"'
    found = _distribution()
    return f'pip install "{found.name}[{extra}]"' if found else f"install the extra {extra} of multigen"


def extras() -> dict[str, tuple[str, ...]]:
    """Extra -> the names of its packages: of the clone that runs, or of the installed distribution."""
    clone, found = _clone(), _distribution()
    if clone is not None:
        return from_project(_project(clone))
    return from_requirements(found.requires or ()) if found else {}


def from_project(project: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Extra -> the names of its packages, from the `project` table of a pyproject.toml."""
    own = project.get("name")
    rows = project.get("optional-dependencies", {})
    return {extra: tuple(n for n in map(_name, wanted) if n != own) for extra, wanted in rows.items()}


def from_requirements(requirements: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Extra -> the names of its packages, from the requirements of an installed distribution."""
    found: dict[str, tuple[str, ...]] = {}
    for text in requirements:
        for extra in _EXTRA.findall(text):
            found[extra] = (*found.get(extra, ()), _name(text))
    return found


def _name(requirement: str) -> str:
    match = _NAME.match(requirement)
    assert match is not None, requirement
    return match[0]


def _clone() -> Path | None:
    """The source tree that multigen runs from; None where it is installed."""
    root = Path(__file__).resolve().parents[2]
    return root if _COMMAND in _project(root).get("scripts", {}) else None


def _project(root: Path) -> Mapping[str, Any]:
    """The `project` table of a source tree's pyproject.toml; empty without one."""
    try:
        return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8")).get("project", {})
    except (OSError, ValueError):
        return {}


def _distribution() -> metadata.Distribution | None:
    """The installed distribution that brings the command `multigen`."""
    for entry in metadata.entry_points(group="console_scripts", name=_COMMAND):
        if entry.value.partition(":")[0].partition(".")[0] == _COMMAND:
            return entry.dist
    return None
