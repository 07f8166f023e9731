"""Names of tensors in LoRA files, in the spellings of diffusers, peft and other trainers."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from multigen.errors import MultigenError, reason
from multigen.storage.diffusers_folder import imported
from multigen.storage.lora.adapter import Pair

log = logging.getLogger(__name__)

DOWN, UP, ALPHA, MAGNITUDE = "lora_A.weight", "lora_B.weight", "alpha", "lora_magnitude_vector"
OTHER_SPELLINGS = {
    "lora.down.weight": DOWN,
    "lora.up.weight": UP,
    "lora_down.weight": DOWN,
    "lora_up.weight": UP,
    "lora_magnitude_vector.weight": MAGNITUDE,
}
DORA = "dora_scale"  # kohya's and LyCORIS' magnitudes, which may be those of columns
PEFT = "base_model.model."  # how peft begins the names of layers
# Files in the names of a network's first authors, whose layers diffusers divides: how their keys begin, and diffusers'
# reader of them.
_DIVIDED = {
    r"(lora_unet_|diffusion_model\.)?(double|single)_blocks[._]": "FluxLoraLoaderMixin",
    r"(lora_unet_|diffusion_model\.)blocks[._]": "WanLoraLoaderMixin",
    r"diffusion_model\.": "LTXVideoLoraLoaderMixin",
}
_TEXT = "lora_te"  # layers of text encoders, which have one name everywhere
# Adapters of other kinds (LyCORIS, peft), by what their tensors are called.
_OTHER_KINDS = {
    r"hada_(w|t)\d|hada_": "LoHa",
    r"lokr_": "LoKr",
    r"oft_(blocks|diag|r)|\bboft_": "OFT",
    r"lora_mid\.": "LoCon with a Tucker decomposition",
    r"on_input$|\bia3_l": "(IA)3",
    r"\b[ab][12]\.weight$": "GLoRA",
    r"\.(diff|diff_b|w_norm|b_norm)$": "full weights",
    r"vera_|lora_embedding_": "embeddings or VeRA",
}


def kind_of_others(keys: Any) -> str | None:
    """Return the name of an adapter's kind that is no LoRA, from the names of its tensors; None: it may be one."""
    return next((kind for kind in map(_kind, keys) if kind is not None), None)


def _kind(key: str) -> str | None:
    return next((kind for pattern, kind in _OTHER_KINDS.items() if re.search(pattern, key)), None)


def pairs_of(tensors: Mapping[str, Tensor], theirs: Mapping[str, Any], where: str) -> dict[str, Pair]:
    """Return the pair of each layer, sorted by its name.

    theirs   peft's metadata, for alpha
    where    the file's name in messages

    Raises MultigenError for tensors that are not those of a LoRA.
    """
    tensors = {key.removeprefix(PEFT): tensor for key, tensor in tensors.items()}
    if (kind := kind_of_others(tensors)) is not None:
        raise MultigenError(f"{where}: its kind is {kind}, which is not applied. Applied: LoRA, DoRA.")
    tensors = _divided(tensors, where)
    layers: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        layer, part = _split(key)
        if part is None:
            raise MultigenError(
                f"{where}: {key} is not a tensor of a LoRA in diffusers' format (<layer>.lora_A.weight, .lora_B.weight)"
            )
        layers.setdefault(layer, {})[part] = tensor
    if not layers:
        raise MultigenError(f"{where}: there is no LoRA in it")
    return {layer: _pair(layer, parts, theirs, where) for layer, parts in sorted(layers.items())}


def _split(key: str) -> tuple[str, str | None]:
    """Split a key into layer and kind of tensor, in any spelling: lora_A, lora.down, processor.to_q_lora.down."""
    key = re.sub(r"\.(to_q|to_k|to_v|to_out)_lora\.", r".\1.lora.", key.replace(".processor.", "."))
    key = key.replace(".to_out.lora.", ".to_out.0.lora.").replace(".lora.down.weight.alpha", ".alpha")
    own = {name: name for name in (DOWN, UP, ALPHA, MAGNITUDE, DORA)}
    for ending, part in {**own, **OTHER_SPELLINGS}.items():
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
    if not all(t.isfinite().all() for t in parts.values()):
        raise MultigenError(f"{where}: {layer}: contains non-finite numbers")
    scale = _scale(layer, theirs, down.shape[0]) if alpha is None else float(alpha) / down.shape[0]
    return Pair(down, up, scale, _magnitude(layer, parts, up.shape[0], down.shape[1], where))


def _magnitude(layer: str, parts: Mapping[str, Tensor], out: int, into: int, where: str) -> Tensor | None:
    """DoRA's lengths of rows, [out], or of columns, [1, in]."""
    given = parts.get(MAGNITUDE, parts.get(DORA))
    if given is None:
        return None
    if DORA in parts and given.ndim > 1 and given.shape[0] == 1 != out and given.numel() == into:
        return given.reshape(1, into)
    if given.numel() != out:
        raise MultigenError(f"{where}: {layer}: {given.numel()} magnitudes, for a weight of {out} x {into}")
    return given.reshape(out)


def _scale(layer: str, theirs: Mapping[str, Any], rank: int) -> float:
    """Alpha over rank (its root for rsLoRA) by peft's metadata, whose keys may begin as the layers do; or else 1."""
    prefix = layer.partition(".")[0]

    def told(key: str) -> Any:
        return theirs.get(f"{prefix}.{key}", theirs.get(key))

    pattern = told("alpha_pattern")
    own = (
        next((v for k, v in pattern.items() if layer.endswith(k)), None)
        if isinstance(pattern, dict)
        else None
    )
    alpha = own if own is not None else told("lora_alpha")
    if not isinstance(alpha, int | float):
        return 1.0
    return float(alpha) / (math.sqrt(rank) if told("use_rslora") else rank)


def _divided(tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """The tensors with layers that a network's first authors wrote as one divided, by diffusers' own reader."""
    readers = {mixin for pattern, mixin in _DIVIDED.items() if any(re.match(pattern, k) for k in tensors)}
    if not readers:
        return dict(tensors)
    if any(k.endswith(DORA) for k in tensors):
        raise MultigenError(
            f"{where}: a DoRA in the names of the network's authors is not applied. Applied: LoRA."
        )
    mixin = next(one for one in _DIVIDED.values() if one in readers)
    apart = {k: v for k, v in tensors.items() if k.startswith(_TEXT)}
    rest = {k: v for k, v in tensors.items() if k not in apart}
    try:
        state = getattr(imported("diffusers").loaders, mixin).lora_state_dict(rest)
    except MultigenError:
        raise
    except Exception as error:  # whatever the library raises for unknown names
        raise MultigenError(f"{where}: diffusers cannot read it ({reason(error)})") from error
    return {**state, **apart}
