"""Pipelines of diffusers in the shapes of the published ones, with made-up weights, as folders."""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from benchmarks.gpu.networks import SDXL
from multigen.storage.torchaudio_shim import import_torchaudio

LETTERS = [chr(c) for c in range(33, 127)]
SCALED = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
# Text encoders: those of Stable Diffusion 1.5, and the second of XL and 3.
CLIP_L = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
          "projection_dim": 768}  # fmt: skip
CLIP_G = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20,
          "projection_dim": 1280, "hidden_act": "gelu"}  # fmt: skip
VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
}
SD15 = {"block_out_channels": (320, 640, 1280, 1280), "cross_attention_dim": 768, "attention_head_dim": 8}
SD3 = {"num_layers": 24, "attention_head_dim": 64, "num_attention_heads": 24, "joint_attention_dim": 4096,
       "caption_projection_dim": 1536, "pooled_projection_dim": 2048, "in_channels": 16, "out_channels": 16,
       "pos_embed_max_size": 192, "sample_size": 128}  # fmt: skip
# The same families, so small that a test can afford them.
SMALL_CLIP = {"hidden_size": 32, "intermediate_size": 37, "num_hidden_layers": 2, "num_attention_heads": 4,
              "projection_dim": 32}  # fmt: skip
SMALL_VAE = {"block_out_channels": (8,) * 4, "norm_num_groups": 8, "layers_per_block": 1}
SMALL_UNET = {
    "block_out_channels": (32, 64),
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "layers_per_block": 1,
    "norm_num_groups": 8,
}
SMALL_XL = {"cross_attention_dim": 64, "transformer_layers_per_block": (1, 2), "attention_head_dim": 4,
            "projection_class_embeddings_input_dim": 32 + 6 * 256}  # fmt: skip
SMALL_SD3 = {"num_layers": 1, "attention_head_dim": 8, "num_attention_heads": 4, "joint_attention_dim": 80,
             "caption_projection_dim": 32, "pooled_projection_dim": 64}  # fmt: skip


class Folder(NamedTuple):
    """A pipeline's parts: sub-folder -> (package, class, configuration). `scheduler` and tokenizers among them."""

    pipeline: str
    parts: Mapping[str, tuple[str, str, Mapping[str, Any]]]


def stable_diffusion(small: bool) -> Folder:
    """Stable Diffusion 1.5."""
    unet = SD15 | (SMALL_UNET | {"cross_attention_dim": 32, "attention_head_dim": 4} if small else {})
    scheduler = {**SCALED, "clip_sample": False, "steps_offset": 1, "set_alpha_to_one": False}
    parts = {
        "unet": ("diffusers", "UNet2DConditionModel", {"sample_size": 64, **unet}),
        "scheduler": ("diffusers", "DDIMScheduler", scheduler),
        **_vae(small, {}),
        **_clip("", "CLIPTextModel", CLIP_L, small),
    }
    return Folder("StableDiffusionPipeline", parts)


def stable_diffusion_xl(small: bool) -> Folder:
    """Stable Diffusion XL, base."""
    unet = {"sample_size": 128, **SDXL.settings, **(SMALL_UNET | SMALL_XL if small else {})}
    scheduler = {**SCALED, "timestep_spacing": "leading", "steps_offset": 1}
    parts = {
        "unet": ("diffusers", "UNet2DConditionModel", unet),
        "scheduler": ("diffusers", "EulerDiscreteScheduler", scheduler),
        **_vae(small, {"scaling_factor": 0.13025}),
        **_clip("", "CLIPTextModel", CLIP_L, small),
        **_clip("_2", "CLIPTextModelWithProjection", CLIP_G, small),
    }
    return Folder("StableDiffusionXLPipeline", parts)


def stable_diffusion_3(small: bool) -> Folder:
    """Stable Diffusion 3 medium without its third text encoder, T5."""
    vae = {"latent_channels": 16, "scaling_factor": 1.5305, "shift_factor": 0.0609}
    parts = {
        "transformer": ("diffusers", "SD3Transformer2DModel", SD3 | (SMALL_SD3 if small else {})),
        "scheduler": ("diffusers", "FlowMatchEulerDiscreteScheduler", {"shift": 3.0}),
        **_vae(small, {**vae, "use_quant_conv": False, "use_post_quant_conv": False}),
        **_clip("", "CLIPTextModelWithProjection", CLIP_L, small),
        **_clip("_2", "CLIPTextModelWithProjection", CLIP_G, small),
    }
    return Folder("StableDiffusion3Pipeline", parts)


MADE: dict[str, Callable[[bool], Folder]] = {
    "sd15": stable_diffusion,
    "sdxl": stable_diffusion_xl,
    "sd3": stable_diffusion_3,
}
ABSENT = {"sd15": ("safety_checker", "feature_extractor"), "sd3": ("text_encoder_3", "tokenizer_3")}


def write(name: str, folder: Path, *, small: bool = False) -> Path:
    """Write the pipeline of a name in `MADE`, one network in memory at a time."""
    return write_folder(MADE[name](small), folder, ABSENT.get(name, ()))


def write_folder(made: Folder, folder: Path, absent: Sequence[str] = ()) -> Path:
    """Write a pipeline; `absent` are the parts that its index lists as not there."""
    index: dict[str, Any] = {"_class_name": made.pipeline, "_diffusers_version": "0.42.1"}
    for part, (package, kind, settings) in made.parts.items():
        index[part] = [package, kind]
        place = folder / part
        place.mkdir(parents=True)
        if kind == "CLIPTokenizer":
            _write_tokenizer(place)
        elif part == "scheduler":
            _write_json(place / "scheduler_config.json", {"_class_name": kind, **settings})
        else:
            _write_network(place, package, kind, settings)
    _write_json(folder / "model_index.json", index | {name: [None, None] for name in absent})
    return folder


def _vae(small: bool, more: Mapping[str, Any]) -> dict[str, tuple[str, str, Mapping[str, Any]]]:
    return {"vae": ("diffusers", "AutoencoderKL", {**VAE, **(SMALL_VAE if small else {}), **more})}


def _clip(
    end: str, kind: str, settings: Mapping[str, Any], small: bool
) -> dict[str, tuple[str, str, Mapping[str, Any]]]:
    last = 2 * len(LETTERS) + 1
    tokens = {"bos_token_id": last - 1, "eos_token_id": last, "pad_token_id": last}
    return {
        f"text_encoder{end}": ("transformers", kind, {**settings, **(SMALL_CLIP if small else {}), **tokens}),
        f"tokenizer{end}": ("transformers", "CLIPTokenizer", {}),
    }


def _write_tokenizer(place: Path) -> None:
    """CLIP's byte pairs, without a merge: every letter is a token."""
    vocabulary = [*LETTERS, *(f"{c}</w>" for c in LETTERS), "<|startoftext|>", "<|endoftext|>"]
    _write_json(place / "vocab.json", {token: k for k, token in enumerate(vocabulary)})
    (place / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    end = "<|endoftext|>"
    names = {"bos_token": "<|startoftext|>", "eos_token": end, "unk_token": end, "pad_token": end}
    _write_json(place / "tokenizer_config.json", {"model_max_length": 77, **names})


def _write_network(place: Path, package: str, kind: str, settings: Mapping[str, Any]) -> None:
    import_torchaudio()
    module: Any = importlib.import_module(package)
    with torch.device("meta"):
        if package == "diffusers":
            network: Any = getattr(module, kind)(**settings)
            network.save_config(place)
            file = "diffusion_pytorch_model.safetensors"
        else:
            network = getattr(module, kind)(module.CLIPTextConfig(**settings))
            network.config.architectures = [kind]
            network.config.save_pretrained(place)
            file = "model.safetensors"
    save_file(_weights(network), place / file, metadata={"format": "pt"})


def _weights(network: nn.Module) -> dict[str, Tensor]:
    """Weights as layers start, uniform within 1 / sqrt(inputs): answers stay finite and differ."""
    generator = torch.Generator().manual_seed(0)
    norms = {f"{n}.weight" for n, m in network.named_modules() if "Norm" in type(m).__name__}
    found = {}
    for name, like in network.state_dict().items():
        made = torch.ones(like.shape) if name in norms else torch.zeros(like.shape)
        if name not in norms and like.ndim > 1:
            bound = 1 / math.sqrt(max(math.prod(like.shape[1:]), 1))
            made.uniform_(-bound, bound, generator=generator)
        found[name] = made
    return found


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2), encoding="utf-8")
