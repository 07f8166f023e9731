"""Data and weights that installed packages carry, found without importing the packages."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from multigen.errors import MultigenError


def package_folder(package: str, what: str, hint: str = "") -> Path:
    """Folder of an installed package, by the name it is imported by. Importing it could take seconds, and run code.

    MultigenError if it is not there: it says what needs it, how to get it, and `hint`, another way out.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        text = f'{what} needs the package {package}: pip install "multigen[demo]"'
        raise MultigenError(f"{text}, or {hint}" if hint else text)
    return Path(spec.submodule_search_locations[0])
