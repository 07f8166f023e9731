"""Switches that save memory: the same media, and less memory at the peak."""

from __future__ import annotations

import ctypes
import dataclasses
import gc
import importlib.util
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.family_folders import CLIP_L, LETTERS, Folder, write_folder
from multigen.errors import MultigenError, RecipeError
from multigen.model.model import Model
from multigen.recipe.load import load_recipe, override_recipe
from multigen.runs.learner import model_of as trained_model
from multigen.runs.opened import open_model
from tests.families.test_families import SEED, latents, opened

MB = 2**20
UNET = {
    "sample_size": 8,
    "block_out_channels": (128, 256),
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "layers_per_block": 1,
    "cross_attention_dim": 512,
    "attention_head_dim": 8,
    "transformer_layers_per_block": 6,
}
VAE = {
    "block_out_channels": (16, 32),
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "latent_channels": 4,
    "sample_size": 64,
}
CLIP = {
    **CLIP_L,
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
}


# Of the same kind, where nothing is weighed.
LIGHT_UNET = {"block_out_channels": (32, 64), "cross_attention_dim": 64, "transformer_layers_per_block": 1}
LIGHT_CLIP = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline large enough to weigh: an encoder of 100 MB, a network of 120 MB."""
    return write(tmp_path_factory, UNET, CLIP)


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One with the same parts and autoencoder, which loads quickly."""
    return write(tmp_path_factory, UNET | LIGHT_UNET, CLIP | LIGHT_CLIP)


def write(home: pytest.TempPathFactory, unet: dict[str, Any], clip: dict[str, Any]) -> Path:
    last = 2 * len(LETTERS) + 1
    tokens = {"bos_token_id": last - 1, "eos_token_id": last, "pad_token_id": last, "vocab_size": 2 * last}
    parts: dict[str, tuple[str, str, dict[str, Any]]] = {
        "unet": ("diffusers", "UNet2DConditionModel", unet),
        "vae": ("diffusers", "AutoencoderKL", VAE),
        "text_encoder": ("transformers", "CLIPTextModel", {**clip, **tokens}),
        "tokenizer": ("transformers", "CLIPTokenizer", {}),
        "scheduler": ("diffusers", "DDIMScheduler", {"clip_sample": False}),
    }
    place = home.mktemp("memory") / "pipeline"
    return write_folder(
        Folder("StableDiffusionPipeline", parts), place, ("safety_checker", "feature_extractor")
    )


def weight(folder: Path, part: str) -> float:
    """MB of a part's weights."""
    return sum(p.stat().st_size for p in (folder / part).glob("*.safetensors")) / MB


def made(folder: Path, *overrides: str) -> Tensor:
    model = open_model(str(folder), overrides, "cpu")
    return picture(model)


def picture(model: Model, n: int = 1, size: int = 16) -> Tensor:
    media = model.generate("a red apple", n=n, seed=3, steps=2, size=size, guidance_scale=3.0)
    return torch.stack([one.tensor for one in media])


def status(name: str) -> float:
    """MB of this process."""
    line = next(row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith(name))
    return int(line.split()[1]) / 1024


def peak(folder: Path, *overrides: str) -> float:
    """MB of resident memory that loading and sampling take at most."""
    return rise(lambda: made(folder, *overrides))


def rise(call: Callable[[], object]) -> float:
    """MB of resident memory that a call takes at most."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)  # what is free, but kept
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    before = status("VmRSS")
    call()
    return status("VmHWM") - before


@pytest.fixture(scope="module")
def plain(light: Path) -> Tensor:
    return made(light)


def write_lora(path: Path) -> None:
    """One layer of the network, moved a little."""
    layer = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    rows = {f"{layer}.lora_A.weight": torch.ones(2, 64), f"{layer}.lora_B.weight": torch.ones(64, 2) / 50}
    save_file(rows, path)


needs_proc = pytest.mark.skipif(platform.system() != "Linux", reason="reads /proc")
SWITCHES = {"sample.offload=components": 1e-6, "sample.offload=sequential": 1e-5, "backbone.dtype=bf16": 0.05}


@pytest.mark.parametrize("switch", [*SWITCHES, "backbone.dtype=fp16", "codec.slicing=true"])
def test_media_are_the_same(switch: str, light: Path, plain: Tensor) -> None:
    tolerance = SWITCHES.get(switch, 0.05 if "dtype" in switch else 1e-6)
    torch.testing.assert_close(made(light, switch), plain, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    "family", ["stable diffusion xl", "flux", "stable audio", "audioldm 2", "wan", "stable video diffusion"]
)
def test_families_make_the_same_while_their_networks_come_and_go(family: str, tmp_path: Path) -> None:
    loaded = opened(family, tmp_path)
    (wanted,) = latents(loaded.model, [loaded.request(seed=SEED)])
    recipe = loaded.model.recipe
    for offload in ("components", "sequential"):
        changed = dataclasses.replace(recipe, sample=dataclasses.replace(recipe.sample, offload=offload))
        model = Model(changed, device="cpu")
        (made,) = latents(model, [loaded.request(seed=SEED)])
        torch.testing.assert_close(made, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@needs_proc
def test_the_peak_is_lower(folder: Path, plain: Tensor) -> None:
    """By the encoder, by all but a layer, by half of the network; less where the system is slow to take memory back.

    Opening a tensor reads up to 64 kB of it.
    """
    network, encoder = weight(folder, "unet"), weight(folder, "text_encoder")
    assert min(network, encoder) > 90
    whole = peak(folder)
    assert whole > 0.95 * (network + encoder)
    assert peak(folder, "sample.offload=components") < whole - 0.5 * encoder
    assert peak(folder, "sample.offload=sequential") < whole - 0.5 * network
    assert peak(folder, "backbone.dtype=bf16") < whole - 0.3 * network


def test_tiles_are_nearly_the_same_and_take_less(light: Path) -> None:
    """Tiles see no further than their own edge, and each has its own mean and deviation in the norms."""
    whole, tiled = (open_model(str(light), [f"codec.tiling={on}"], "cpu").codec for on in ("false", "true"))
    x = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    x = F.interpolate(x, (96, 96), mode="bilinear")  # tiles of 32 x 32
    with torch.no_grad():
        wanted, found = whole.decode(x), tiled.decode(x)
        assert (found - wanted).abs().mean() < 0.2 * wanted.std()
        assert not torch.equal(found, wanted)
        if platform.system() == "Linux":
            large = F.interpolate(
                x, (128, 128), mode="bilinear"
            )  # beside which what else the process does is little
            assert rise(lambda: tiled.decode(large)) < 0.6 * rise(lambda: whole.decode(large))


def test_slices_take_less(light: Path, plain: Tensor) -> None:
    whole, sliced = (open_model(str(light), [f"codec.slicing={on}"], "cpu").codec for on in ("false", "true"))
    x = torch.randn(8, 4, 24, 24, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(sliced.decode(x), whole.decode(x), rtol=0, atol=1e-5)
        if platform.system() == "Linux":
            assert rise(lambda: sliced.decode(x)) < 0.5 * rise(lambda: whole.decode(x))


def test_parts_that_are_offloaded_say_what_does_not_go_with_it(light: Path, tmp_path: Path) -> None:
    with pytest.raises(
        RecipeError, match=r"sample.offload: components is not allowed. Allowed: null; it goes with"
    ):
        Model(override_recipe(load_recipe("image_digits"), ["sample.offload=components", "weights=null"]))
    lora = tmp_path / "lora.safetensors"
    write_lora(lora)
    model = open_model(str(light), ["sample.offload=sequential"], "cpu")
    with pytest.raises(
        MultigenError, match=r"cannot be changed: sample.offload=sequential .* Allowed: components"
    ):
        model.adapt({str(lora): 1.0})
    adapted = open_model(str(light), ["sample.offload=components"], "cpu")
    adapted.adapt({str(lora): 1.0})
    whole = open_model(str(light), [], "cpu")
    whole.adapt({str(lora): 1.0})
    torch.testing.assert_close(picture(adapted), picture(whole), rtol=0, atol=1e-6)


def test_only_fp32_is_trained_whole(light: Path) -> None:
    recipe = open_model(str(light), ["backbone.dtype=bf16"], "cpu").recipe
    with pytest.raises(MultigenError, match=r"backbone.dtype: bf16 does not train. Allowed: fp32"):
        trained_model(recipe, "cpu")


def test_8_bits_ask_for_their_package(folder: Path, light: Path, plain: Tensor) -> None:
    if importlib.util.find_spec("torchao") is None:
        with pytest.raises(
            MultigenError, match=r"backbone.dtype: int8 needs the package torchao: pip install"
        ):
            made(light, "backbone.dtype=int8")
        return
    torch.testing.assert_close(made(light, "backbone.dtype=int8"), plain, rtol=0, atol=0.05)
    if platform.system() == "Linux":
        assert peak(folder, "backbone.dtype=int8") < peak(folder) - 0.1 * weight(folder, "unet")
