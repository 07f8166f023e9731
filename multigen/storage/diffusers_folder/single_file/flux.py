"""The weights of Flux.1's transformer by diffusers' names.

As diffusers' own converter has them, which takes the published width alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

_TOP = {
    "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
    "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
    "txt_in": "context_embedder",
    "img_in": "x_embedder",
    "final_layer.linear": "proj_out",
}
_NORM_OUT = "final_layer.adaLN_modulation.1"
_DOUBLE = {
    "img_mod.lin": "norm1.linear",
    "txt_mod.lin": "norm1_context.linear",
    "img_attn.proj": "attn.to_out.0",
    "txt_attn.proj": "attn.to_add_out",
    "img_mlp.0": "ff.net.0.proj",
    "img_mlp.2": "ff.net.2",
    "txt_mlp.0": "ff_context.net.0.proj",
    "txt_mlp.2": "ff_context.net.2",
    "img_attn.norm.query_norm": "attn.norm_q",
    "img_attn.norm.key_norm": "attn.norm_k",
    "txt_attn.norm.query_norm": "attn.norm_added_q",
    "txt_attn.norm.key_norm": "attn.norm_added_k",
}
_SINGLE = {
    "modulation.lin": "norm.linear",
    "linear2": "proj_out",
    "norm.query_norm": "attn.norm_q",
    "norm.key_norm": "attn.norm_k",
}
# One layer there, several here: in that order along its outputs.
_SPLIT = {
    "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
}


def renamed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the same weights by diffusers' names. KeyError for one that Flux.1 does not have."""
    width = weights["img_in.weight"].shape[0]
    return {new: value for name, tensor in weights.items() for new, value in _of(name, tensor, width)}


def _of(name: str, tensor: Tensor, width: int) -> Iterator[tuple[str, Tensor]]:
    layer, _, kind = name.rpartition(".")
    kind = "weight" if kind == "scale" else kind  # as norms of Flux call it
    if layer == _NORM_OUT:  # shift, then scale; diffusers has them the other way round
        yield f"norm_out.linear.{kind}", torch.cat(tensor.chunk(2)[::-1])
        return
    if layer in _TOP:
        yield f"{_TOP[layer]}.{kind}", tensor
        return
    stack, _, rest = layer.partition(".")
    number, _, inner = rest.partition(".")
    names = {"double_blocks": _DOUBLE, "single_blocks": _SINGLE}[stack]
    start = {"double_blocks": "transformer_blocks", "single_blocks": "single_transformer_blocks"}[stack]
    if inner not in _SPLIT:
        yield f"{start}.{number}.{names[inner]}.{kind}", tensor
        return
    parts = _SPLIT[inner]
    sizes = [width] * 3 + [tensor.shape[0] - 3 * width] * (len(parts) - 3)
    for part, rows in zip(parts, tensor.split(sizes), strict=True):
        yield f"{start}.{number}.{part}.{kind}", rows
