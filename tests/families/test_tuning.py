"""Full and LoRA fine-tuning of every family: what learns, and that diffusers makes the same of what is written."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import multigen
from multigen.errors import MultigenError, RecipeError
from multigen.model.diffusers import check_training
from multigen.model.export import export
from multigen.model.model import Model
from multigen.model.source import find, run_weights
from multigen.recipe.load import override_recipe
from multigen.storage import lora, words
from multigen.training import checkpoint as checkpoints
from multigen.training.log import read as read_log
from tests.families.test_families import ROWS, Loaded, compare, latents, opened
from tests.families.tuning import tuning

# Pipelines that no LoRA can be put into with diffusers' own loader: they are compared as a whole folder.
WITHOUT_LORAS = (
    "unconditional", "stable audio", "audioldm 2", "musicldm", "modelscope", "latent consistency", "kandinsky, prior",
    "unclip",
)  # fmt: skip
SAME = (  # networks that another row trains
    "stable diffusion 2, v, zero snr", "flux, true cfg", "stable audio, edm", "ltx image-to-video", "wan 2.2 5B, text",
    "wan 2.2 5B, a picture", "consistency model",
)  # fmt: skip
# They begin with a picture, or are told an embedding, which a training does not show them.
UNTRAINED = (
    "kandinsky", "stable unclip", "unclip, decoder",
    "wan image-to-video", "stable video diffusion", "wan, both ends heard", "wan 2.2 image-to-video, both ends shown",
)  # fmt: skip
# Their whole networks learn in every run of the tests, and LoRAs in one of each set of text encoders; the rest is slow.
ENCODERS = ("stable diffusion 1", "stable diffusion xl", "stable diffusion 3", "musicldm")
WHOLE = ("stable diffusion inpainting", "unconditional", "wan 2.2")
NAMES = [name for name in ROWS if name not in (*SAME, *UNTRAINED)]


@pytest.fixture(scope="module")
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Loaded]:
    return request.param, opened(request.param, tmp_path_factory.mktemp("base"))


def rows(*quick: str) -> pytest.MarkDecorator:
    """All families, of which those that are not `quick` are slow."""
    each = [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]
    return pytest.mark.parametrize("base", each, indirect=True)


def trained(name: str, loaded: Loaded, home: Path, *overrides: str) -> tuple[Path, dict[str, Tensor]]:
    """The run folder of two steps, and the parameters that moved in them."""
    recipe = tuning(name, loaded.folder, home / "media", *overrides)
    multigen.train(recipe, out=home / "run", device="cpu", quiet=True)
    rows = [row["loss"] for row in read_log(home / "run") if "loss" in row]
    assert len(rows) == 2 and all(math.isfinite(loss) and loss > 0 for loss in rows)
    newest = checkpoints.newest(home / "run" / "checkpoints")
    assert newest is not None
    return home / "run", dict(checkpoints.load(newest).tensors["weights"])


def again(loaded: Loaded, source: Path) -> Loaded:
    """The tuned model, its media of the size of the row."""
    found = find(source)
    recipe = replace(found.recipe, modality=loaded.model.recipe.modality, sampler=loaded.model.recipe.sampler)
    return replace(loaded, model=Model.of(found, recipe, device="cpu"))


def weights(model: Model) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.denoiser.named_parameters()}


@rows(*WHOLE)
def test_all_of_the_network_learns(
    base: tuple[str, Loaded], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, loaded = base
    run, learned = trained(name, loaded, tmp_path)
    before = loaded.model.state_dict()
    assert set(learned) == {key for key in before if key in learned}
    moved = [key for key, value in learned.items() if not torch.equal(value, before[key])]
    assert len(moved) > 0.9 * len(learned)
    assert {key.partition(".")[0] for key in learned} == {"backbone"}
    plain = latents(loaded.model, [loaded.request(seed=7)])
    folder = export(run, tmp_path / "folder", to="diffusers")
    made = compare(again(loaded, run), monkeypatch, folder=folder)
    assert (made[:1] - plain).abs().max() > 1e-3 * plain.abs().max()
    opened_again = multigen.load(folder, device="cpu")
    torch.testing.assert_close(opened_again.state_dict(), multigen.load(run, device="cpu").state_dict())


@rows(*ENCODERS)
def test_a_lora_learns_in_text_encoders_too(
    base: tuple[str, Loaded], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, loaded = base
    clips = [host.outside for host in loaded.model.conditioner.hosts() if host.learns]
    part = f"{{name: lora, rank: 2, alpha: 3, text: {str(bool(clips)).lower()}}}"
    run, learned = trained(name, loaded, tmp_path, f"train.adapter={part}", "train.lr=5e-2")
    assert all(".lora_A." in key or ".lora_B." in key for key in learned)
    heads = {
        key.partition(".")[2].partition(".")[0] + "." for key in learned if key.startswith("conditioner.")
    }
    assert heads == set(clips)
    file = run / lora.FILE
    outside = loaded.model.denoiser.backbone.published[0]
    assert {key.partition(".")[0] + "." for key in load_file(file)} == {outside, *clips}
    base_weights = weights(loaded.model)
    plain = latents(loaded.model, [loaded.request(seed=7)])
    tuned = again(loaded, run)
    assert tuned.model.loras.own is not None
    with tuned.model.bare():
        assert all(torch.equal(value, base_weights[key]) for key, value in weights(tuned.model).items())
    loaded.model.adapt({str(file): 1.0})
    one = latents(loaded.model, [loaded.request(seed=7)])
    loaded.model.adapt({})
    if name in WITHOUT_LORAS:
        folder = export(run, tmp_path / "merged", to="diffusers", merge=True)
        made = compare(tuned, monkeypatch, folder=folder)
    else:
        made = compare(tuned, monkeypatch, lambda pipe: pipe.load_lora_weights(run, weight_name=lora.FILE))
    torch.testing.assert_close(one, made[:1], rtol=0, atol=1e-4 * float(made.abs().max()))
    assert (made[:1] - plain).abs().max() > 1e-3 * plain.abs().max()
    if clips and name in ("stable diffusion xl", "latent consistency"):
        folder = export(run, tmp_path / "whole", to="diffusers", merge=True)
        compare(tuned, monkeypatch, folder=folder)
        with pytest.raises(MultigenError, match=r"its LoRAs change text encoders .* --merge --to diffusers"):
            export(run, tmp_path / "one.safetensors", merge=True)


def test_networks_that_begin_with_a_picture_are_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    home = tmp_path_factory.mktemp("begun")
    loaded = opened("stable video diffusion", home)
    with pytest.raises(RecipeError, match="begins with a picture, and such networks are not trained"):
        multigen.train(
            tuning("stable video diffusion", loaded.folder, home / "media"),
            out=home / "run",
            device="cpu",
            quiet=True,
        )


def test_what_is_trained_otherwise_than_its_pipeline(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture
) -> None:
    loaded = opened("stable diffusion 3", tmp_path_factory.mktemp("sd3"))
    other = ["schedule={name: scaled_linear}", "prediction={name: eps}", "timesteps={name: trailing}"]
    recipe = tuning("stable diffusion 3", loaded.folder, tmp_path / "media", *other, "guide={name: cfg}")
    wrong = "prediction: 'eps' is not what .* was trained with: prediction.name=flow"
    with pytest.raises(RecipeError, match=wrong):
        check_training(override_recipe(recipe, ["train.adapter={name: lora}"]))
    check_training(recipe)
    assert re.search(wrong, caplog.text)


def test_a_run_that_left_its_base_alone_holds_no_whole_model(tmp_path: Path) -> None:
    (tmp_path / words.FILE).touch()
    with pytest.raises(MultigenError, match="it holds a new word, no whole model"):
        run_weights(tmp_path)
