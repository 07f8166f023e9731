"""Transformers of flows by their authors' names: the reverse of what the loader does."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import torch

from tests.families.single_files import NETWORK, Weights, clip, named, part, replaced, vae, write

SD3_TOP = {
    "pos_embed.proj": "x_embedder.proj",
    "time_text_embed.timestep_embedder.linear_1": "t_embedder.mlp.0",
    "time_text_embed.timestep_embedder.linear_2": "t_embedder.mlp.2",
    "time_text_embed.text_embedder.linear_1": "y_embedder.mlp.0",
    "time_text_embed.text_embedder.linear_2": "y_embedder.mlp.2",
    "proj_out": "final_layer.linear",
    "norm_out.linear": "final_layer.adaLN_modulation.1",
}
SD3_BLOCK = {
    "attn.to_out.0": "x_block.attn.proj",
    "attn.to_add_out": "context_block.attn.proj",
    "norm1.linear": "x_block.adaLN_modulation.1",
    "norm1_context.linear": "context_block.adaLN_modulation.1",
    "ff.net.0.proj": "x_block.mlp.fc1",
    "ff.net.2": "x_block.mlp.fc2",
    "ff_context.net.0.proj": "context_block.mlp.fc1",
    "ff_context.net.2": "context_block.mlp.fc2",
}
FLUX_TOP = {
    "time_text_embed.timestep_embedder.linear_1": "time_in.in_layer",
    "time_text_embed.timestep_embedder.linear_2": "time_in.out_layer",
    "time_text_embed.text_embedder.linear_1": "vector_in.in_layer",
    "time_text_embed.text_embedder.linear_2": "vector_in.out_layer",
    "time_text_embed.guidance_embedder.linear_1": "guidance_in.in_layer",
    "time_text_embed.guidance_embedder.linear_2": "guidance_in.out_layer",
    "context_embedder": "txt_in",
    "x_embedder": "img_in",
    "proj_out": "final_layer.linear",
    "norm_out.linear": "final_layer.adaLN_modulation.1",
}
FLUX_DOUBLE = {
    "norm1.linear": "img_mod.lin",
    "norm1_context.linear": "txt_mod.lin",
    "attn.to_out.0": "img_attn.proj",
    "attn.to_add_out": "txt_attn.proj",
    "ff.net.0.proj": "img_mlp.0",
    "ff.net.2": "img_mlp.2",
    "ff_context.net.0.proj": "txt_mlp.0",
    "ff_context.net.2": "txt_mlp.2",
    "attn.norm_q.weight": "img_attn.norm.query_norm.scale",
    "attn.norm_k.weight": "img_attn.norm.key_norm.scale",
    "attn.norm_added_q.weight": "txt_attn.norm.query_norm.scale",
    "attn.norm_added_k.weight": "txt_attn.norm.key_norm.scale",
}
FLUX_SINGLE = {
    "norm.linear": "modulation.lin",
    "proj_out": "linear2",
    "attn.norm_q.weight": "norm.query_norm.scale",
    "attn.norm_k.weight": "norm.key_norm.scale",
}
OWN, ADDED = (
    ("attn.to_q", "attn.to_k", "attn.to_v"),
    ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
)


def _joined(found: Weights, inner: Weights, start: str, names: Iterable[str], new: str) -> None:
    for kind in ("weight", "bias"):
        found[f"{start}{new}.{kind}"] = torch.cat([inner.pop(f"{name}.{kind}") for name in names])


def _blocks(weights: Weights, stack: str) -> dict[int, Weights]:
    found: dict[int, Weights] = {}
    for name, tensor in weights.items():
        if match := re.match(rf"{stack}\.(\d+)\.(.*)", name):
            found.setdefault(int(match[1]), {})[match[2]] = tensor
    return found


def _top(weights: Weights, table: dict[str, str]) -> Weights:
    own = {n: t for n, t in weights.items() if "transformer_blocks." not in n}
    return {replaced(n, table): _swapped(t) if n.startswith("norm_out") else t for n, t in own.items()}


def _swapped(tensor: torch.Tensor) -> torch.Tensor:
    return torch.cat(tensor.chunk(2)[::-1])


def sd3(weights: Weights) -> Weights:
    found = _top(weights, SD3_TOP)
    found["pos_embed"] = found.pop("pos_embed.pos_embed")
    blocks = _blocks(weights, "transformer_blocks")
    for number, inner in blocks.items():
        start = f"joint_blocks.{number}."
        _joined(found, inner, start, OWN, "x_block.attn.qkv")
        _joined(found, inner, start, ADDED, "context_block.attn.qkv")
        for name, tensor in inner.items():
            last = number == len(blocks) - 1 and name.startswith("norm1_context")
            found[start + replaced(name, SD3_BLOCK)] = _swapped(tensor) if last else tensor
    return found


def flux(weights: Weights) -> Weights:
    found = _top(weights, FLUX_TOP)
    for number, inner in _blocks(weights, "transformer_blocks").items():
        start = f"double_blocks.{number}."
        _joined(found, inner, start, OWN, "img_attn.qkv")
        _joined(found, inner, start, ADDED, "txt_attn.qkv")
        found |= {start + replaced(name, FLUX_DOUBLE): tensor for name, tensor in inner.items()}
    for number, inner in _blocks(weights, "single_transformer_blocks").items():
        start = f"single_blocks.{number}."
        _joined(found, inner, start, (*OWN, "proj_mlp"), "linear1")
        found |= {start + replaced(name, FLUX_SINGLE): tensor for name, tensor in inner.items()}
    return found


def stable_diffusion_3(folder: Path, path: Path) -> Path:
    """As `sd3_medium_incl_clips_t5xxlfp16.safetensors`."""
    encoders = {"text_encoder": "clip_l", "text_encoder_2": "clip_g"}
    return write(
        path,
        named(sd3(part(folder, "transformer")), NETWORK),
        named(vae(part(folder, "vae")), "first_stage_model."),
        *(named(clip(part(folder, k)), f"text_encoders.{v}.transformer.") for k, v in encoders.items()),
        named(part(folder, "text_encoder_3"), "text_encoders.t5xxl.transformer."),
    )


def flux_transformer(folder: Path, path: Path) -> Path:
    """As `flux1-dev.safetensors`: the transformer alone, without a prefix."""
    return write(path, flux(part(folder, "transformer")))


def flux_whole(folder: Path, path: Path) -> Path:
    """As `flux1-dev-fp8.safetensors` with all parts in it."""
    return write(
        path,
        named(flux(part(folder, "transformer")), NETWORK),
        named(vae(part(folder, "vae")), "vae."),
        named(clip(part(folder, "text_encoder")), "text_encoders.clip_l.transformer."),
        named(part(folder, "text_encoder_2"), "text_encoders.t5xxl.transformer."),
    )
