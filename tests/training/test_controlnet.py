"""ControlNets learn from pairs beside a frozen U-Net, and diffusers loads what was learned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import multigen
from multigen.backbones.diffusers import Diffusers
from multigen.core import Cond
from multigen.core.backbone import lead_name
from multigen.core.noise import normal
from multigen.errors import RecipeError
from multigen.model.compatibility import check_combination
from multigen.model.model import Model
from multigen.model.source import find
from multigen.recipe.load import override_recipe
from multigen.recipe.schema import Recipe
from multigen.training import checkpoint as checkpoints
from multigen.training.log import read as read_log
from tests.families.test_families import ROWS
from tests.families.tuning import tuning

import diffusers  # isort: skip  # after tests.families.test_families, which makes torchaudio importable

PART = "train.adapter={name: controlnet}"


def picture(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (16, 16)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size, colour)
    image.paste((255, 255, 255), (0, 0, 5, 9))
    image.save(path)


@pytest.fixture(scope="module", params=["stable diffusion 1", "stable diffusion xl"])
def home(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """pipeline/, pictures/ and edges/, and run/, trained for three steps."""
    home = tmp_path_factory.mktemp("controlnet")
    ROWS[request.param].make(home / "pipeline")
    for k in range(3):
        picture(home / "pictures" / f"{k}.png", (40 * k, 30, 90))
        picture(home / "edges" / f"{k}.jpg", (0, 80 * k, 0))
    multigen.train(recipe(request.param, home), out=home / "run", device="cpu", quiet=True)
    return home


def recipe(name: str, home: Path, *overrides: str) -> Recipe:
    data = f"data={{name: pairs, path: {home / 'pictures'}, controls: {home / 'edges'}}}"
    made = tuning(name, home / "pipeline", home / "pictures", "data.captions=none")
    return override_recipe(
        made, [data, "data.captions=none", "data.held_out=0", PART, "train.steps=3", *overrides]
    )


def led(backbone: Any, cond: Cond) -> torch.Tensor:
    x = torch.stack([normal((4, 8, 8), k, "x") for k in range(2)])
    with torch.no_grad():
        return backbone(x, torch.tensor([300.0, 700.0]), cond)


def test_the_folder_is_one_of_diffusers_and_leads_as_it_did_in_training(home: Path) -> None:
    net = diffusers.ControlNetModel.from_pretrained(home / "run" / "controlnet", local_files_only=True)
    newest = checkpoints.newest(home / "run" / "checkpoints")
    assert newest is not None
    learned = checkpoints.load(newest).tensors["ema"]
    state = net.state_dict()
    assert sorted(learned) == sorted(f"backbone.control.{name}" for name in state)
    assert all(torch.equal(learned[f"backbone.control.{name}"], value) for name, value in state.items())
    zeros = [name for name in state if "controlnet_down_blocks" in name or "controlnet_mid_block" in name]
    assert zeros and all(state[name].abs().max() > 0 for name in zeros)
    rows = [row["loss"] for row in read_log(home / "run") if "loss" in row]
    assert len(rows) == 3 and all(0 < loss < 100 for loss in rows)
    # As in training; beside the U-Net by diffusers; and as an adapter of the folder and of the run.
    model = multigen.load(home / "pipeline", device="cpu")
    base = model.denoiser.backbone
    assert isinstance(base, Diffusers)
    cond = model.encode("red apple", "blue car")
    shown = Model(find(home / "pipeline").recipe, device="cpu").modality.read(home / "edges" / "1.jpg")
    plain = led(base, cond)
    base.learn_control(0)
    torch.testing.assert_close(led(base, cond.with_extra("control", shown[None])), plain, rtol=0, atol=1e-5)
    assert base.control is not None
    base.control.load_state_dict(state)
    as_trained = led(base, cond.with_extra("control", shown[None]))
    assert (as_trained - plain).abs().max() > 1e-3
    for path in (home / "run", home / "run" / "controlnet"):
        found = find(home / "pipeline")
        adapter = f"adapters=[{{path: '{path}', image: '{home / 'edges' / '1.jpg'}'}}]"
        other = Model.of(found, override_recipe(found.recipe, [adapter]), device="cpu").denoiser.backbone
        told = cond.with_extra(lead_name(0), other.lead(0, shown, (4, 8, 8)).cond)
        torch.testing.assert_close(led(other, told), as_trained, rtol=0, atol=1e-4)


def test_the_network_itself_stays(home: Path) -> None:
    tuned, base = (multigen.load(home / one, device="cpu") for one in ("run", "pipeline"))
    assert tuned.weights_hash() == base.weights_hash()


def test_what_does_not_go_together(tmp_path: Path) -> None:
    for name in ("stable diffusion inpainting", "stable diffusion 3"):
        ROWS[name].make(tmp_path / name / "pipeline")
        made = tuning(name, tmp_path / name / "pipeline", tmp_path / name / "media", PART)
        with pytest.raises(RecipeError, match="train.adapter: this network takes no ControlNet. Allowed"):
            check_combination(made)
    ROWS["stable diffusion 1"].make(tmp_path / "one")
    made = tuning("stable diffusion 1", tmp_path / "one", tmp_path / "media", PART)
    with pytest.raises(
        RecipeError,
        match=r"the data's items have no 'control'. Allowed: data.name=pairs",
    ):
        multigen.train(made, out=tmp_path / "run", device="cpu", quiet=True)
