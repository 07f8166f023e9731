"""The core stands alone: torch, einops, the standard library and itself."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import multigen.core

ALLOWED = {"torch", "einops", *sys.stdlib_module_names}


def imports(source: str) -> list[str]:
    """Every module that a source names in an import, wherever it stands."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append("." * node.level + (node.module or ""))
    return found


def allowed(name: str) -> bool:
    return name.split(".")[0] in ALLOWED or name == "multigen.core" or name.startswith("multigen.core.")


def test_core_imports_torch_einops_and_itself_only() -> None:
    files = sorted(Path(multigen.core.__file__).parent.glob("**/*.py"))
    assert len(files) >= 10
    wrong = [(f.name, name) for f in files for name in imports(f.read_text("utf-8")) if not allowed(name)]
    assert not wrong


def test_the_check_sees_what_it_should() -> None:
    source = "import numpy.linalg\ndef f():\n    from multigen.storage.files import x\n"
    source += "    from multigen.core.noise import y"
    assert [n for n in imports(source) if not allowed(n)] == ["numpy.linalg", "multigen.storage.files"]
    assert not allowed("multigen.core_files")
