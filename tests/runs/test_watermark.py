"""The recipe's `watermark`, from the override to the file."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
import torch

from multigen import marks
from multigen.errors import RecipeError
from multigen.generation.request import EditRequest, Request
from multigen.marks.keys import own_key
from multigen.marks.report import report
from multigen.modalities.image import Image
from multigen.modalities.media import Media
from multigen.recipe.dump import recipe_hash, to_data, to_yaml
from multigen.recipe.load import load_recipe
from multigen.runs.sample import sample
from tests.marks.drawn import picture
from tests.model.test_model import small
from tests.serving.engine.engines import TINY, ask, engine


def made(out: Path, *overrides: str, edit: EditRequest | None = None) -> tuple[Path, dict[str, object]]:
    request = Request("red apple", steps=1, edit=edit)
    folder = sample(
        "image_emoji", request, n=1, seed=3, overrides=overrides, out=out, quiet=True, device="cpu"
    )
    row = json.loads(Path(folder, "manifest.json").read_text())["files"][0]
    return Path(folder, row["file"]), row


def test_files_are_marked_where_the_recipe_asks_for_it(tmp_path: Path) -> None:
    path, row = made(tmp_path / "on", "watermark=on")
    assert report(path).state == "found"
    assert row["watermark"] is True
    plain, row = made(tmp_path / "auto")
    assert report(plain).state == "absent"
    assert "watermark" not in row
    change = (Image().read(path) - Image().read(plain)).abs().max()
    assert 0 < float(change) < 0.2


def test_what_an_edit_keeps_is_in_the_file_as_it_was(tmp_path: Path) -> None:
    keep = torch.zeros(64, 64, dtype=torch.bool)
    keep[:, :32] = True
    source = Media(picture(), Image()).save(tmp_path / "source.png")
    path, row = made(tmp_path / "edit", "watermark=on", edit=EditRequest(source, keep=keep))
    assert row["watermark"] is True
    assert torch.equal(Image().read(path)[:, keep], Image().read(source)[:, keep])
    assert report(path).state == "found"


def test_recipes_of_before_and_their_hashes_stay() -> None:
    recipe, said = load_recipe("image_digits"), load_recipe("image_digits", ["watermark=auto"])
    assert recipe_hash(recipe) == recipe_hash(said)
    assert "watermark" not in to_data(said)
    off = load_recipe("image_digits", ["watermark=off"])
    assert off.watermark == "off"
    assert "watermark: 'off'" in to_yaml(off)
    with pytest.raises(RecipeError, match="watermark: 'yes' is not allowed"):
        load_recipe("image_digits", ["watermark=yes"])


@pytest.mark.parametrize("public", [True, False])
def test_a_server_marks_where_others_reach_it(public: bool) -> None:
    model, request = small("image_digits", [*TINY, "modality.size=32"]), Request("3", steps=1, seed=0)
    (alone,) = model.generate("3", steps=1, seed=0)

    async def work() -> torch.Tensor:
        async with engine(model, public=public) as one:
            ticket = await ask(one, request)
            await ticket.wait()
            return ticket.media[0].tensor

    change = asyncio.run(asyncio.wait_for(work(), 60)) - alone.tensor.clamp(-1, 1)
    found = marks.detect((10 * change).clamp(-1, 1), key=own_key(), cuts=False)
    assert found.found is public
    assert bool(change.abs().max() > 1e-3) is public
