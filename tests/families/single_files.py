"""Folders of tiny pipelines as single files: the reverse of what the loader does, by the authors' own names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

Weights = dict[str, Tensor]
NETWORK = "model.diffusion_model."
TOP = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}
VAE = {
    "conv_norm_out": "norm_out",
    "conv_shortcut": "nin_shortcut",
    "mid_block.resnets.0": "mid.block_1",
    "mid_block.resnets.1": "mid.block_2",
    "mid_block.attentions.0": "mid.attn_1",
}
ATTENTION = {"group_norm": "norm", "query": "q", "key": "k", "value": "v", "proj_attn": "proj_out",
             "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}  # fmt: skip
OPEN_CLIP = {
    "text_model.encoder.layers": "transformer.resblocks",
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "text_model.final_layer_norm": "ln_final",
    "text_model.embeddings.token_embedding": "token_embedding",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
}


def part(folder: Path, name: str) -> Weights:
    return load_file(next(iter(sorted((folder / name).glob("*.safetensors")))))


def named(weights: Weights, start: str) -> Weights:
    return {start + name: tensor.contiguous() for name, tensor in weights.items()}


def replaced(name: str, table: Mapping[str, str]) -> str:
    for new, old in table.items():
        name = re.sub(rf"(?<![^.]){re.escape(new)}(?![^.])", old, name)
    return name


def unet(weights: Weights, layers: int = 1) -> Weights:
    attentive = {int(n.split(".")[1]) for n in weights if n.startswith("up_blocks.") and ".attentions." in n}
    found = {}
    for name, tensor in weights.items():
        place, _, rest = name.partition(".")
        if place == "mid_block":
            kind, number, rest = rest.split(".", 2)
            new = f"middle_block.{1 if kind == 'attentions' else 2 * int(number)}.{rest}"
        elif place in ("down_blocks", "up_blocks"):
            level, kind, number, rest = rest.split(".", 3)
            rest = rest.replace("conv", "op") if kind == "downsamplers" else rest
            new = _block(place, int(level), kind, int(number), layers, int(level) in attentive) + rest
        else:
            new = replaced(name, TOP)
        found[replaced(new, RESNET) if ".resnets." in name else new] = tensor
    return found


def _block(place: str, level: int, kind: str, number: int, layers: int, attentive: bool) -> str:
    if kind == "downsamplers":
        return f"input_blocks.{(layers + 1) * (level + 1)}.0."
    if kind == "upsamplers":
        return f"output_blocks.{(layers + 1) * level + layers}.{2 if attentive else 1}."
    side = 0 if kind == "resnets" else 1
    if place == "down_blocks":
        return f"input_blocks.{(layers + 1) * level + number + 1}.{side}."
    return f"output_blocks.{(layers + 1) * level + number}.{side}."


def vae(weights: Weights, levels: int = 2) -> Weights:
    found = {}
    for name, tensor in weights.items():
        new = name
        if match := re.match(r"(encoder|decoder)\.(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.*)", name):
            side, way, level, kind, number, rest = match.groups()
            level = int(level) if way == "down" else levels - 1 - int(level)
            inner = f"block.{number}" if kind == "resnets" else f"{way}sample"
            new = f"{side}.{way}.{level}.{inner}.{rest}"
        if "attentions" in name:
            new = replaced(name, ATTENTION)
            if tensor.ndim == 2:
                tensor = tensor[..., None, None]
        found[replaced(new, VAE)] = tensor
    return found


def clip(weights: Weights) -> Weights:
    """As transformers of then wrote it."""
    keep = ("text_model.", "text_projection")
    return {n if n.startswith(keep) else f"text_model.{n}": t for n, t in weights.items()}


def open_clip(weights: Weights) -> Weights:
    found, joined = {}, {}
    for name, tensor in clip(weights).items():
        if match := re.match(r"(.*)self_attn\.([qkv])_proj\.(\w+)", name):
            joined.setdefault((match[1], match[3]), {})[match[2]] = tensor
        elif name.startswith("text_projection"):
            found["text_projection"] = tensor.T
        else:
            found[replaced(name, OPEN_CLIP)] = tensor
    for (start, kind), rows in joined.items():
        found[f"{replaced(start.rstrip('.'), OPEN_CLIP)}.attn.in_proj_{kind}"] = torch.cat(
            [rows[c] for c in "qkv"]
        )
    return found


def write(path: Path, *parts: Weights, dtype: torch.dtype | None = None) -> Path:
    whole: Weights = {}
    for one in parts:
        whole |= {k: v.contiguous().to(dtype) if dtype else v.contiguous() for k, v in one.items()}
    save_file(whole, path, metadata={"format": "pt"})
    return path


def stable_diffusion(folder: Path, path: Path) -> Path:
    """As `v1-5-pruned.safetensors`, with what else stands in it."""
    more = {"model_ema.decay": torch.zeros(()), "alphas_cumprod": torch.zeros(1000)}
    return write(
        path,
        named(unet(part(folder, "unet")), NETWORK),
        named(vae(part(folder, "vae")), "first_stage_model."),
        named(clip(part(folder, "text_encoder")), "cond_stage_model.transformer."),
        more,
    )


def refiner(folder: Path, path: Path) -> Path:
    """As `sd_xl_refiner_1.0.safetensors`."""
    return write(
        path,
        named(unet(part(folder, "unet")), NETWORK),
        named(vae(part(folder, "vae")), "first_stage_model."),
        named(open_clip(part(folder, "text_encoder_2")), "conditioner.embedders.0.model."),
    )


def stable_diffusion_xl(folder: Path, path: Path) -> Path:
    """As `sd_xl_base_1.0.safetensors`."""
    return write(
        path,
        named(unet(part(folder, "unet")), NETWORK),
        named(vae(part(folder, "vae")), "first_stage_model."),
        named(clip(part(folder, "text_encoder")), "conditioner.embedders.0.transformer."),
        named(open_clip(part(folder, "text_encoder_2")), "conditioner.embedders.1.model."),
    )
