"""LoRA files of Stable Diffusion that others made are read as diffusers reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import multigen
from multigen.core import Noise
from multigen.registry import build
from tests.model.pipelines import tiny_pipeline

from diffusers import DDIMScheduler, StableDiffusionPipeline  # isort: skip

PROMPTS = ["a red apple", "blue car, lighthouse on the left"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("sd")
    tiny_pipeline(home / "tiny")
    return home


def ours(home: Path, loras: dict[str, float]) -> tuple[Tensor, Tensor]:
    """Latents of the two prompts, and the noise they started from."""
    model = multigen.load(home / "tiny", loras=loras, device="cpu")
    found: list[Tensor] = []
    decode = model.codec.decode
    model.codec.decode = lambda x, **kw: (found.append(x), decode(x, **kw))[1]  # type: ignore[method-assign]
    model.generate(PROMPTS, seed=7, steps=10, guidance_scale=7.5)
    schedule = model.denoiser.schedule
    ts = build("timesteps", model.recipe.timesteps)(schedule, 10)
    return torch.cat(found), Noise([7, 8], (4, 8, 8))("start") * schedule(ts[:1]).sigma.float()


def theirs(home: Path, file: Path, start: Tensor, scale: float) -> Tensor:
    pipe = StableDiffusionPipeline.from_pretrained(home / "tiny", local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    pipe.load_lora_weights(file.parent, weight_name=file.name, adapter_name="x")
    pipe.set_adapters(["x"], [scale])
    return pipe(
        PROMPTS, latents=start, guidance_scale=7.5, output_type="latent", num_inference_steps=10
    ).images


def close(made: Tensor, other: Tensor) -> None:
    """To 3e-5 of the largest value, which is 60 to 75: fp32 makes 2e-6 of it, a weight of 0.71 for 0.7 7e-3."""
    torch.testing.assert_close(made, other, rtol=0, atol=3e-5 * other.abs().max().item())


@pytest.mark.parametrize("form", ["kohya", "old", "metadata"])
def test_files_of_others_are_read_as_diffusers_does(form: str, home: Path, tmp_path: Path) -> None:
    layer = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
    gen = torch.Generator().manual_seed(0)
    down, up = torch.randn(2, 32, generator=gen) / 2, torch.randn(32, 2, generator=gen) / 2
    header: dict[str, str] = {"format": "pt"}
    tensors: dict[str, Any]
    if form == "kohya":
        flat = f"lora_unet_{layer.replace('.', '_')}"
        tensors = {f"{flat}.lora_down.weight": down, f"{flat}.lora_up.weight": up}
        tensors[f"{flat}.alpha"] = torch.tensor(1.0)
    elif form == "old":
        tensors = {f"unet.{layer}.lora.down.weight": down, f"unet.{layer}.lora.up.weight": up}
    else:
        tensors = {f"unet.{layer}.lora_A.weight": down, f"unet.{layer}.lora_B.weight": up}
        facts = {"unet.r": 2, "unet.lora_alpha": 6, "unet.target_modules": ["to_k"], "unet.peft_type": "LORA"}
        header["lora_adapter_metadata"] = json.dumps(facts)
    file = tmp_path / f"{form}.safetensors"
    save_file(tensors, file, metadata=header)
    plain, start = ours(home, {})
    made, _ = ours(home, {str(file): 1.5})
    assert (made - plain).abs().max() > 0.05
    close(made, theirs(home, file, start, 1.5))
