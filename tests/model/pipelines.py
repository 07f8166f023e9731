"""A Stable Diffusion pipeline of a few thousand random weights, on disk as Stable Diffusion 1.5 is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from multigen.storage.torchaudio_shim import import_torchaudio

import_torchaudio()

from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel  # noqa: E402
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer  # noqa: E402

WORDS = ("red", "apple", "blue", "car", "lighthouse")
# As in the file of Stable Diffusion 1.5, which was written before there was a spacing to choose.
SCHEDULER = {
    "_class_name": "PNDMScheduler",
    "_diffusers_version": "0.6.0",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
    "clip_sample": False,
}
# What the VAE of 2022 called its attention.
OLD_NAMES = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def tiny_pipeline(folder: Path, **scheduler: Any) -> Path:
    """Write it to `folder`; `scheduler` replaces entries of its scheduler's configuration."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        components = parts(clip_tokenizer(folder / "tokenizer"))
    pipeline = StableDiffusionPipeline(**components, safety_checker=None, feature_extractor=None)
    pipeline.save_pretrained(folder, safe_serialization=True)
    for path in (folder / "tokenizer").iterdir():  # newer files that transformers adds
        if path.name not in ("vocab.json", "merges.txt", "tokenizer_config.json"):
            path.unlink()
    clip_tokenizer(folder / "tokenizer")
    edit(folder / "scheduler" / "scheduler_config.json", SCHEDULER | scheduler, whole=True)
    _rename(folder / "vae" / "diffusion_pytorch_model.safetensors", _old)
    _rename(
        folder / "text_encoder" / "model.safetensors", lambda n: f"text_model.{n.removeprefix('text_model.')}"
    )
    return folder


def edit(path: Path, values: dict[str, Any], *, whole: bool = False) -> None:
    """Set keys of a JSON file, or all of it."""
    before = {} if whole else json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(before | values, indent=2), encoding="utf-8")


def parts(tokenizer: CLIPTokenizer) -> dict[str, Any]:
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=4,
        norm_num_groups=8,
    )
    vae = AutoencoderKL(
        block_out_channels=(16, 32),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        norm_num_groups=8,
        latent_channels=4,
        sample_size=16,
    )
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=77,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    encoder = CLIPTextModel(text)
    for module in (unet, vae, encoder):
        stir(module)
    scheduler = PNDMScheduler(steps_offset=1, skip_prk_steps=True)
    return {"unet": unet, "vae": vae, "text_encoder": encoder, "tokenizer": tokenizer, "scheduler": scheduler}


@torch.no_grad()
def stir(module: nn.Module) -> None:
    """Random weights at their start hardly hear a prompt."""
    for name, p in module.named_parameters():
        p.add_(0.05 * torch.randn(p.shape))
        if "attn2" in name:
            p.mul_(3)


def clip_tokenizer(folder: Path) -> CLIPTokenizer:
    """Byte pairs of CLIP's kind: every letter, and the words above."""
    letters = [chr(c) for c in range(33, 127)]
    merges: list[str] = []
    vocabulary = [*letters, *(f"{c}</w>" for c in letters)]
    for word in WORDS:
        pieces = [*word[:-1], f"{word[-1]}</w>"]
        while len(pieces) > 1:
            merge = f"{pieces[0]} {pieces[1]}"
            if merge not in merges:
                merges.append(merge)
                vocabulary.append("".join(pieces[:2]))
            pieces = ["".join(pieces[:2]), *pieces[2:]]
    vocabulary += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    edit(folder / "vocab.json", {token: k for k, token in enumerate(vocabulary)}, whole=True)
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8")
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": 77,
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
    }
    edit(folder / "tokenizer_config.json", config, whole=True)
    return CLIPTokenizer.from_pretrained(folder)


def _old(name: str) -> str:
    if ".attentions." in name:
        for new, old in OLD_NAMES.items():
            name = name.replace(f".{new}.", f".{old}.")
    return name


def _rename(path: Path, rename: Any) -> None:
    save_file({rename(k): v for k, v in load_file(path).items()}, path, metadata={"format": "pt"})
