"""Finding what stands at a source: with its weights, or its recipe alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from safetensors.torch import save_file
from torch import Tensor

from multigen.errors import MultigenError
from multigen.model import source
from multigen.model.load import load
from multigen.recipe.load import load_recipe
from multigen.recipe.paths import shipped_weights


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """No tensor of a file can be read."""

    def refuse(path: Path) -> dict[str, Tensor]:
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr(source, "load_tensors", refuse)


@pytest.mark.usefixtures("unread")
def test_the_recipe_of_a_source_is_found_without_reading_weights(tmp_path: Path) -> None:
    shipped = shipped_weights()["image_digits"]
    run = tmp_path / "run"
    shutil.copytree(shipped.parent, run)
    file = run / "weights.safetensors"
    (run / "recipe.yaml").write_text(source.read_header(file)["recipe"])
    for place in (file, run, "image_digits"):
        assert source.find_recipe(place).name == "image_digits", place
        with pytest.raises(AssertionError, match="was read"):
            source.find(place)


def test_both_ways_find_the_same_recipe_and_refuse_the_same_sources(tmp_path: Path) -> None:
    assert source.find_recipe("image_digits") == source.find("image_digits").recipe
    empty, torn, bare = tmp_path / "empty", tmp_path / "torn.safetensors", tmp_path / "bare.safetensors"
    empty.mkdir()
    torn.write_bytes(b"\xff" * 100)
    save_file({}, bare)
    untrained = tmp_path / "untrained"
    load("image_digits").save(tmp_path / "whole.safetensors")
    untrained.mkdir()
    text = source.read_header(tmp_path / "whole.safetensors")["recipe"]
    (untrained / "recipe.yaml").write_text(text.replace("weights: image_digits", "weights: null"))
    assert load_recipe(str(untrained / "recipe.yaml")).weights is None
    for wrong in (empty, torn, bare, untrained, tmp_path / "none.safetensors", tmp_path / "w.ckpt"):
        said = []
        for way in (source.find, source.find_recipe):
            with pytest.raises(MultigenError) as error:
                way(wrong)
            said.append(str(error.value))
        assert said[0] == said[1], wrong
