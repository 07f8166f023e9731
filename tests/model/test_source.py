"""What stands at a source, with its weights and without."""

from __future__ import annotations

from pathlib import Path

import pytest

from multigen.errors import MultigenError
from multigen.model import source as module
from multigen.model.source import find, find_recipe
from multigen.recipe.paths import shipped_weights
from tests.model.test_model import small


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return small("image_digits").save(tmp_path / "digits.safetensors")


def test_the_recipe_alone_is_that_of_the_model_and_reads_no_weights(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = [str(file), "image_digits", str(shipped_weights()["image_digits"])]
    expected = [find(one).recipe for one in sources]

    def read(path: Path) -> None:
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr(module, "load_tensors", read)
    assert [find_recipe(one) for one in sources] == expected
    with pytest.raises(AssertionError, match="was read"):
        find(file)


@pytest.mark.parametrize("kind", ["missing", "damaged", "no recipe", "no run", "no weights"])
def test_what_is_no_model_is_refused_alike(kind: str, file: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    place = tmp_path / "other.safetensors"
    if kind == "damaged":
        place.write_bytes(file.read_bytes()[:100])
    elif kind == "no recipe":
        save_file(load_file(file), place)
    elif kind in ("no run", "no weights"):
        place = tmp_path / "run"
        place.mkdir()
        if kind == "no weights":
            text = (Path(__file__).parents[2] / "recipes" / "image_digits.yaml").read_text()
            (place / "recipe.yaml").write_text(text.replace("weights: image_digits", "weights: null"))
    said = []
    for look in (find, find_recipe):
        with pytest.raises(MultigenError) as caught:
            look(place)
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert kind != "no weights" or "no weights yet" in said[0]
