"""The weights of one part of a single file, by the names that diffusers and transformers give them.

diffusers' own converters rename most of them. They read nothing but the tensors that they are given.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from multigen.errors import MultigenError
from multigen.storage.diffusers_folder.single_file import flux
from multigen.storage.diffusers_folder.single_file.header import FLUX, NETWORK, REFINER, SD2, SD3, SDXL

CLIP_L, CLIP_G, T5 = (f"text_encoders.{name}.transformer." for name in ("clip_l", "clip_g", "t5xxl"))
VAE = ("first_stage_model.", "vae.")
_OPEN_CLIP = ((SD2, "text_encoder"), (SDXL, "text_encoder_2"), (REFINER, "text_encoder_2"))
Weights = dict[str, Tensor]
Config = Mapping[str, Any]


def prefixes(kind: str, part: str) -> tuple[str, ...]:
    """Return how the names of a part's tensors begin in a file of a kind; () for what a file never holds."""
    first = {SD2: "cond_stage_model.model.", SDXL: "conditioner.embedders.0.transformer."}
    if kind in (SD3, FLUX):
        encoders = (CLIP_L, CLIP_G, T5) if kind == SD3 else (CLIP_L, T5)
    else:
        second = ("conditioner.embedders.1.model.",) if kind == SDXL else ()
        encoders = (first.get(kind, "cond_stage_model.transformer."), *second)
    named = {f"text_encoder{'' if k == 0 else f'_{k + 1}'}": (name,) for k, name in enumerate(encoders)}
    if kind == REFINER:
        named = {"text_encoder_2": ("conditioner.embedders.0.model.",)}
    return {"unet": (NETWORK,), "transformer": (NETWORK, ""), "vae": VAE, **named}.get(part, ())


def tensors(path: Path, kind: str, part: str, config: Config) -> Weights:
    """Return the weights of a part, renamed; only they are read. MultigenError if they are of another network."""
    with safe_open(path, "pt") as file:
        names = list(file.keys())
        start = next((p for p in prefixes(kind, part) if any(k.startswith(p) for k in names)), None)
        if start is None:
            raise MultigenError(f"{path}: it has no {part}")
        found = {k: file.get_tensor(k) for k in names if k.startswith(start)}
    try:
        return _converter(kind, part)(found, config, start)
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise MultigenError(
            f"{path}: its {part} has other layers than expected ({error}). If it is a variant, give a folder in "
            "diffusers' format of that: backbone.config=FOLDER"
        ) from error


def _converter(kind: str, part: str) -> Callable[[Weights, Config, str], Weights]:
    if part.startswith("text_encoder"):
        return _open_clip if (kind, part) in _OPEN_CLIP else _encoder
    return {"unet": _unet, "vae": _vae, "transformer": _sd3 if kind == SD3 else _flux}[part]


def _theirs(name: str) -> Any:
    """Return a converter of diffusers."""
    return getattr(importlib.import_module("diffusers.loaders.single_file_utils"), name)


def _unet(found: Weights, config: Config, start: str) -> Weights:
    return _theirs("convert_ldm_unet_checkpoint")(found, config=config)


def _vae(found: Weights, config: Config, start: str) -> Weights:
    return _theirs("convert_ldm_vae_checkpoint")(found, config=config)


def _sd3(found: Weights, config: Config, start: str) -> Weights:
    return _theirs("convert_sd3_transformer_checkpoint_to_diffusers")(_network(found, start))


def _flux(found: Weights, config: Config, start: str) -> Weights:
    return flux.renamed(_network(found, start))


def _network(found: Weights, start: str) -> Weights:
    """The tensors of a transformer, without a prefix and without what else a bare file holds."""
    own = {k.removeprefix(start): v for k, v in found.items()}
    return {k: v for k, v in own.items() if not k.startswith((*VAE, "text_encoders."))}


def _open_clip(found: Weights, config: Config, start: str) -> Weights:
    """OpenCLIP's names. What the file may not say is the width of the network."""
    like = SimpleNamespace(config=SimpleNamespace(hidden_size=config["hidden_size"]))
    return _theirs("convert_open_clip_checkpoint")(like, found, prefix=start)


def _encoder(found: Weights, config: Config, start: str) -> Weights:
    """CLIP and T5 of transformers: their names follow the prefix."""
    own = {k.removeprefix(start): v for k, v in found.items()}
    if start == T5:
        return own
    inside = ("text_model.", "text_projection")
    own = {k if k.startswith(inside) else f"text_model.{k}": v for k, v in own.items()}
    if start == CLIP_L and config.get("architectures") == ["CLIPTextModelWithProjection"]:
        own["text_projection.weight"] = torch.eye(
            config["projection_dim"]
        )  # of Stable Diffusion 3, never trained
    return own
