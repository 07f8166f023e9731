"""The code of README and docs runs, with the tiny settings that stand above it. A page is one session in one folder."""

from __future__ import annotations

import contextlib
import io
import shlex
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from multigen import registry
from multigen.cli.main import main
from tests.docs import sandbox
from tests.docs.blocks import PAGES, ROOT, Block, read

RUNNABLE = [page for page in PAGES if any(block.how == "run" for block in read(page))]


@pytest.mark.slow
@pytest.mark.parametrize("page", RUNNABLE, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_code_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox.fill(tmp_path)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": page.stem}
    printed = ""
    with mock.patch.dict(registry._registered):  # what a page registers goes with it
        for block in read(page):
            if block.how == "output":
                assert printed == block.text, f"{block.where}: it prints\n{printed}"
            elif block.how == "run":
                printed = _run(block, names)


def _run(block: Block, names: dict[str, Any]) -> str:
    if block.file:
        Path(block.file).write_text(block.runs, encoding="utf-8")
        return ""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        if block.language == "python":
            exec(compile(block.runs, block.where, "exec", dont_inherit=True), names)
        else:
            _shell(block)
    return out.getvalue()


def _shell(block: Block) -> None:
    assert block.language == "sh", f"{block.where}: cannot run {block.language or 'plain text'}"
    for line in block.runs.splitlines():
        program, *arguments = shlex.split(line, comments=True)
        assert program == "multigen", f"{block.where}: only multigen runs in tests, not {program}"
        folder = [] if {"recipes", "parts", "doctor", "sheet", "verify"} & set(arguments[:1]) else ["--quiet"]
        assert main([*arguments, *folder, *block.added]) == 0, f"{block.where}: {line}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_python_block_runs_or_says_why_not(page: Path) -> None:
    for block in read(page):
        if block.language == "python":
            compile(block.text, block.where, "exec")
            assert block.how in ("run", "not run"), f"{block.where}: neither run nor `not run: why`"
            assert block.how == "run" or block.reason


def test_the_readme_is_short() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert 100 < len(lines) <= 170
