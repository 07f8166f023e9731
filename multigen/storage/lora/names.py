"""Names of tensors in LoRA files, in the spellings of diffusers, peft and other trainers."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from multigen.errors import MultigenError, reason
from multigen.storage.diffusers_folder import imported
from multigen.storage.lora.adapter import Pair

log = logging.getLogger(__name__)

DOWN, UP, ALPHA = "lora_A.weight", "lora_B.weight", "alpha"
OTHER_SPELLINGS = {
    "lora.down.weight": DOWN,
    "lora.up.weight": UP,
    "lora_down.weight": DOWN,
    "lora_up.weight": UP,
}
_TEXT = ("text_encoder.", "text_encoder_2.", "lora_te")  # prefixes of layers outside the backbone


def pairs_of(tensors: Mapping[str, Tensor], theirs: Mapping[str, Any], where: str) -> dict[str, Pair]:
    """Return the pair of each layer, sorted by its name.

    theirs   peft's metadata, for alpha
    where    the file's name in messages

    Layers of a text encoder are ignored with a warning. Raises MultigenError if other tensors are not those of a LoRA.
    """
    text = {_split(k)[0] for k in tensors if k.startswith(_TEXT)}
    tensors = {k: v for k, v in tensors.items() if not k.startswith(_TEXT)}
    if text and tensors:
        log.warning(
            "%s: %d layers of a text encoder are ignored: multigen applies LoRAs to the backbone only, so media may "
            "differ a little from what this LoRA was trained for",
            where, len(text),
        )  # fmt: skip
    if any(k.startswith("lora_unet_") for k in tensors):
        tensors = _converted(tensors, where)
    layers: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        layer, part = _split(key)
        if part is None:
            raise MultigenError(
                f"{where}: {key} is not a tensor of a LoRA in diffusers' format (<layer>.lora_A.weight, .lora_B.weight)"
            )
        layers.setdefault(layer, {})[part] = tensor
    if not layers:
        only = f", only one of a text encoder ({len(text)} layers), which cannot be applied" if text else ""
        raise MultigenError(f"{where}: there is no LoRA of a backbone in it{only}")
    return {layer: _pair(layer, parts, theirs, where) for layer, parts in sorted(layers.items())}


def _split(key: str) -> tuple[str, str | None]:
    """Split a key into layer and kind of tensor, in any spelling: lora_A, lora.down, processor.to_q_lora.down."""
    key = re.sub(r"\.(to_q|to_k|to_v|to_out)_lora\.", r".\1.lora.", key.replace(".processor.", "."))
    key = key.replace(".to_out.lora.", ".to_out.0.lora.").replace(".lora.down.weight.alpha", ".alpha")
    for ending, part in {DOWN: DOWN, UP: UP, ALPHA: ALPHA, **OTHER_SPELLINGS}.items():
        if key.endswith(f".{ending}"):
            layer = key.removesuffix(f".{ending}")
            if layer.endswith(".lora"):  # beside an .alpha
                layer = layer.removesuffix(".lora")
            return layer, part
    return key, None


def _pair(layer: str, parts: Mapping[str, Tensor], theirs: Mapping[str, Any], where: str) -> Pair:
    down, up, alpha = (parts.get(k) for k in (DOWN, UP, ALPHA))
    if down is None or up is None:
        raise MultigenError(f"{where}: {layer}: {UP if up is None else DOWN} is missing")
    if down.ndim < 2 or up.ndim < 2 or down.shape[0] != up.shape[1] or math.prod(up.shape[2:]) != 1:
        raise MultigenError(
            f"{where}: {layer}: {list(up.shape)} and {list(down.shape)} do not multiply to the change of a layer"
        )
    if not (down.isfinite().all() and up.isfinite().all()):
        raise MultigenError(f"{where}: {layer}: contains non-finite numbers")
    rank = down.shape[0]
    if alpha is not None:
        return Pair(down, up, float(alpha) / rank)
    prefix = layer.partition(".")[0]
    given = theirs.get(f"{prefix}.alpha_pattern", {})
    own = next((v for k, v in given.items() if layer.endswith(k)), None) if isinstance(given, dict) else None
    strength = own if own is not None else theirs.get(f"{prefix}.lora_alpha")
    return Pair(down, up, float(strength) / rank if isinstance(strength, int | float) else 1.0)


def _converted(tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Convert the names of other trainers (kohya) with diffusers' own reader."""
    try:
        mixin = imported("diffusers").loaders.StableDiffusionLoraLoaderMixin
        state, alphas = mixin.lora_state_dict(dict(tensors))
    except MultigenError:
        raise
    except Exception as error:  # whatever the library raises for unknown names
        raise MultigenError(f"{where}: diffusers cannot read it ({reason(error)})") from error
    return {**state, **{k: torch.tensor(float(v)) for k, v in (alphas or {}).items()}}
