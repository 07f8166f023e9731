"""Paths in recipes and overrides."""

from __future__ import annotations

from pathlib import Path

import pytest

from multigen.errors import RecipeError
from multigen.recipe.load import load_recipe


@pytest.mark.parametrize("name", ["${name}", "my ${b}", "${oc.env:HOME}"])
def test_a_reference_is_one_in_paths_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir()
    with pytest.raises(RecipeError, match=r"\$\{\.\.\.\} is the value of another key, in paths too. Rename"):
        load_recipe("image_folder", [f"data.path={name}"])
    with pytest.raises(RecipeError, match=r"data\.path: '\$\{nme\}' .*is the value of another key"):
        load_recipe("image_folder", ["data.path=${nme}"])
    found = load_recipe("image_folder", ["data.path=pictures/${name}"])
    assert found.data.args["path"] == "pictures/image_folder"
