"""What a single file of weights holds, from its header alone: of which kind of model it is, and how wide."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from multigen.errors import MultigenError, reason

Shapes = Mapping[str, tuple[int, ...]]  # of the tensors, by name
NETWORK = "model.diffusion_model."
_FIRST = f"{NETWORK}input_blocks.0.0.weight"
_TEXT = f"{NETWORK}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
_POOLED = f"{NETWORK}label_emb.0.0.weight"
_SD3, _FLUX = (
    "joint_blocks.0.context_block.adaLN_modulation.1.bias",
    "double_blocks.0.img_attn.norm.key_norm.scale",
)
SD1, SD2, SDXL, REFINER, SD3, FLUX = (
    "stable_diffusion",
    "stable_diffusion_2",
    "stable_diffusion_xl",
    "stable_diffusion_xl_refiner",
    "stable_diffusion_3",
    "flux",
)
REFINED = 2560  # numbers of pooled text and ids that a refiner is told; the base is told 2816
KNOWN = "Stable Diffusion 1.x, 2.x, XL (base and refiner) and 3, and Flux.1"


def shapes_of(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a file's tensors. MultigenError if it is no safetensors file."""
    try:
        with safe_open(path, "pt") as file:
            return {k: tuple(file.get_slice(k).get_shape()) for k in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise MultigenError(f"{path}: not a readable safetensors file ({reason(error)})") from error


def bare(shapes: Shapes) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the network's tensors, without the prefix that most files give them."""
    inside = {k.removeprefix(NETWORK): v for k, v in shapes.items() if k.startswith(NETWORK)}
    return inside or dict(shapes)


def kind_of(shapes: Shapes) -> str | None:
    """Return of which kind a file's network is, a name above; None for any other."""
    network = bare(shapes)
    if _SD3 in network:
        return SD3
    if _FLUX in network:
        return FLUX
    if _FIRST not in shapes:
        return None
    if _POOLED in shapes:
        return REFINER if _is_refiner(shapes) else SDXL
    wide = (
        any(k.startswith("cond_stage_model.model.") for k in shapes) or shapes.get(_TEXT, (0, 0))[1] == 1024
    )
    return SD2 if wide else SD1


def _is_refiner(shapes: Shapes) -> bool:
    """Whether a network of Stable Diffusion XL is a refiner: OpenCLIP is its only text encoder."""
    only = any(k.startswith("conditioner.embedders.0.model.") for k in shapes)
    return only or shapes[_POOLED][1:] == (REFINED,)


def check(shapes: Shapes, kind: str, where: Path) -> None:
    """MultigenError for variants of a network that nothing here samples with, and for weights that need more."""
    if any(k.endswith((".scale_weight", ".weight_scale", "scaled_fp8")) for k in shapes):
        raise MultigenError(f"{where}: its weights are scaled fp8. Allowed: fp32, fp16, bf16 and plain fp8")
    network, takes = bare(shapes), 4
    if kind == FLUX:
        takes, allowed = network["img_in.weight"][1], (4 * _latents(network["final_layer.linear.weight"][0]),)
    elif kind == SD3:
        takes, allowed = network["x_embedder.proj.weight"][1], (network["x_embedder.proj.weight"][1],)
    else:
        takes, channels = shapes[_FIRST][1], shapes.get(f"{NETWORK}out.2.weight", (4,))[0]
        allowed = (channels, 2 * channels + 1)
    if takes not in allowed:
        raise MultigenError(
            f"{where}: its network takes {takes} channels. Allowed: {' or '.join(map(str, allowed))}; networks that "
            "take a picture besides, such as InstructPix2Pix or Flux Fill, are others"
        )


def _latents(out: int) -> int:
    """Channels of Flux's latents: it answers in squares of 2 x 2."""
    return out // 4


def settings(shapes: Shapes, kind: str) -> dict[str, Any]:
    """Return what the shapes say of the network's configuration."""
    return {SD3: _of_sd3, FLUX: _of_flux}.get(kind, _of_unet)(bare(shapes))


def masked(shapes: Shapes, kind: str) -> bool:
    """Whether the network has channels for a mask."""
    return kind not in (SD3, FLUX) and shapes[_FIRST][1] != shapes.get(f"{NETWORK}out.2.weight", (4,))[0]


def _of_unet(network: Shapes) -> dict[str, Any]:
    found = {"in_channels": network["input_blocks.0.0.weight"][1], "out_channels": network["out.2.weight"][0]}
    text = _TEXT.removeprefix(NETWORK)
    return found | ({"cross_attention_dim": network[text][1]} if text in network else {})


def _count(network: Shapes, name: str) -> int:
    return 1 + max(int(k.split(".")[1]) for k in network if k.startswith(f"{name}."))


def _of_sd3(network: Shapes) -> dict[str, Any]:
    width, _, patch, _ = (*network["x_embedder.proj.weight"],)
    channels, heads = network["x_embedder.proj.weight"][1], width // 64
    found: dict[str, Any] = {
        "patch_size": patch,
        "in_channels": channels,
        "out_channels": network["final_layer.linear.weight"][0] // patch**2,
        "num_layers": _count(network, "joint_blocks"),
        "num_attention_heads": heads,
        "joint_attention_dim": network["context_embedder.weight"][1],
        "caption_projection_dim": network["context_embedder.weight"][0],
        "pooled_projection_dim": network["y_embedder.mlp.0.weight"][1],
        "pos_embed_max_size": math.isqrt(network["pos_embed"][1]),
    }
    if "joint_blocks.0.x_block.attn.ln_q.weight" in network:  # 3.5
        found["qk_norm"] = "rms_norm"
    if twice := sorted({int(k.split(".")[1]) for k in network if ".x_block.attn2." in k}):  # 3.5 medium
        found["dual_attention_layers"] = twice
    return found


def _of_flux(network: Shapes) -> dict[str, Any]:
    head = network[_FLUX][0]
    return {
        "in_channels": network["img_in.weight"][1],
        "num_layers": _count(network, "double_blocks"),
        "num_single_layers": _count(network, "single_blocks"),
        "attention_head_dim": head,
        "num_attention_heads": network["img_in.weight"][0] // head,
        "joint_attention_dim": network["txt_in.weight"][1],
        "pooled_projection_dim": network["vector_in.in_layer.weight"][1],
        "guidance_embeds": "guidance_in.in_layer.weight" in network,
        "axes_dims_rope": [head // 8, head * 7 // 16, head * 7 // 16],
    }
