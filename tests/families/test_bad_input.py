"""What is wrong with a pipeline's folder or with what is asked of it is said in one line, with what is allowed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import multigen
from multigen.errors import MultigenError
from multigen.families.betas import table
from multigen.model.model import Model
from multigen.registry import build
from tests.families import folders, sounding
from tests.families.folders import edit

import diffusers  # isort: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folders.stable_diffusion_xl(tmp_path_factory.mktemp("xl") / "pipeline")


@pytest.fixture
def copied(whole: Path, tmp_path: Path) -> Path:
    """A pipeline that a test may spoil."""
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def refused(folder: Path, words: str) -> None:
    with pytest.raises(MultigenError, match=words) as caught:
        multigen.load(folder, device="cpu")
    assert len(str(caught.value).splitlines()) == 1


def test_a_component_is_missing(copied: Path) -> None:
    shutil.rmtree(copied / "text_encoder_2")
    refused(copied, "text_encoder_2/config.json: no such file")


def test_a_component_is_of_another_class(copied: Path) -> None:
    edit(copied / "model_index.json", {"text_encoder_2": ["transformers", "CLIPTextModel"]})
    refused(
        copied,
        "its text_encoder_2: 'transformers.CLIPTextModel' is not allowed. Allowed: transformers.CLIPText",
    )


def test_a_vae_of_other_channels_than_the_network(copied: Path) -> None:
    vae = folders.vae(latent_channels=8)
    vae.save_pretrained(copied / "vae")
    refused(copied, "this network takes channels 4; codec and conditioner give 8")


def test_an_encoder_of_another_width_than_the_network(copied: Path) -> None:
    edit(copied / "text_encoder" / "config.json", {"hidden_size": 48})
    refused(copied, "this network takes tokens 64; codec and conditioner give 80")


def test_a_network_of_another_family(copied: Path) -> None:
    config = copied / "unet" / "config.json"
    edit(config, {"addition_embed_type": "image"})
    refused(
        copied,
        r"addition_embed_type: 'image' is not what the network of Stable Diffusion XL has \(text_time\)",
    )
    edit(config, {"addition_embed_type": "text_time", "class_embed_type": "timestep"})
    refused(
        copied, r"class_embed_type: 'timestep' is not what the network of Stable Diffusion XL has \(None\)"
    )


def test_pickles_name_the_line_that_converts_them_and_it_works(copied: Path) -> None:
    weights = copied / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(
        MultigenError, match=r"runs no code: multigen convert .*\.bin .*\.safetensors$"
    ) as caught:
        multigen.load(copied, device="cpu")
    from multigen.cli.main import main

    assert main(str(caught.value).split("multigen ")[1].split()) == 0
    multigen.load(copied, device="cpu")


def test_code_of_its_own_is_refused(copied: Path) -> None:
    edit(copied / "text_encoder_2" / "config.json", {"auto_map": {"AutoModel": "evil.Evil"}})
    refused(copied, "text_encoder_2: it requires its own code .auto_map., which is never run")


def test_a_model_that_speaks_a_transcription(tmp_path: Path) -> None:
    folder = sounding.audioldm2(tmp_path / "speech")
    edit(folder / "model_index.json", {"text_encoder_2": ["transformers", "VitsModel"]})
    refused(folder, r"speaks a transcription \(VitsModel\), which is not supported. Allowed: those of sounds")


@pytest.mark.parametrize(
    ("make", "size", "words"),
    [
        (folders.unconditional, 9, r"9 pixels are not allowed. Allowed: multiples of 2; the nearest is 8\."),
        (
            folders.stable_diffusion_3,
            60,
            r"60 pixels are not .* multiples of 4, up to 48; the nearest is 48\.",
        ),
    ],
)
def test_sizes_that_a_family_cannot_make(make: Any, size: int, words: str, tmp_path: Path) -> None:
    model = multigen.load(make(tmp_path / "pipeline"), device="cpu")
    with pytest.raises(MultigenError, match=words):
        model.generate("", size=size, steps=1)


def test_latents_of_whole_patches_are_made_and_cut(tmp_path: Path) -> None:
    model = multigen.load(folders.flux(tmp_path / "pipeline"), device="cpu")
    (made,) = model.generate("", size=(13, 18), steps=1)  # made at 16 x 20
    assert made.tensor.shape == (3, 13, 18)


def test_what_a_flow_s_scheduler_cannot_say_here(tmp_path: Path) -> None:
    folder = folders.flux(tmp_path / "pipeline")
    edit(folder / "scheduler" / "scheduler_config.json", {"invert_sigmas": True})
    refused(folder, "scheduler: invert_sigmas: true is not allowed. Allowed: false")


def test_a_plain_network_has_no_mask_channels(whole: Path) -> None:
    recipe = multigen.load(whole, device="cpu").recipe
    from multigen.recipe.load import override_recipe

    with pytest.raises(MultigenError, match="has no channels for a mask or a cascade. Allowed: masked=false"):
        Model(override_recipe(recipe, ["masked=true"]), device="cpu")


def test_distilled_guidance_needs_a_network_for_it(whole: Path) -> None:
    with pytest.raises(MultigenError, match="takes no guidance scale as an input; use the guide cfg"):
        multigen.load(whole, device="cpu").generate("", guide="distilled", size=16, steps=1)


@pytest.mark.parametrize("name", ["squaredcos_cap_v2", "sigmoid", "linear", "scaled_linear"])
def test_tables_of_betas_are_those_of_diffusers(name: str) -> None:
    theirs: Any = diffusers.DDPMScheduler(beta_schedule=name)
    ours = build("schedule", table({"beta_schedule": name}, ""))
    t = torch.arange(1, 1001, dtype=torch.float64) / 1000
    # The last of the cosine's are 1e-9, where fp32 products differ.
    torch.testing.assert_close(ours(t).alpha.square(), theirs.alphas_cumprod.double(), rtol=1e-3, atol=1e-8)
