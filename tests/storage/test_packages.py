"""Folders of installed packages."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from multigen.errors import MultigenError
from multigen.storage.packages import package_folder


def test_a_package_is_found_and_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "carries_data").mkdir()
    (tmp_path / "carries_data" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert package_folder("carries_data", "this") == tmp_path / "carries_data"
    assert "carries_data" not in sys.modules


@pytest.mark.parametrize("name", ["no_such_package_anywhere", "json.decoder"])  # the second is no folder
def test_what_is_missing_is_said_with_its_cure(name: str) -> None:
    cure = rf'^the encoder needs the package {name}: pip install "multigen\[demo\]", or set conditioner.path$'
    with pytest.raises(MultigenError, match=cure):
        package_folder(name, "the encoder", "set conditioner.path")
    with pytest.raises(MultigenError, match=r'\[demo\]"$'):
        package_folder(name, "the encoder")
