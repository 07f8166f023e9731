"""LoRA files: low-rank changes of a base model's weights, in diffusers' format, added to them when sampling.

    weight = base + sum of w_k (up_k down_k), over the layers that each file names (Hu et al. 2021, arXiv:2106.09685)

`pytorch_lora_weights.safetensors` holds `<layer>.lora_A.weight` (down) and `<layer>.lora_B.weight` (up); the layers of
a Stable Diffusion U-Net are named from `unet.` on, as diffusers has them, those of others from `backbone.` on. What we
write has alpha multiplied into `up`, so that every reader gives it the same strength. Reading and adding needs no
package.
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from multigen.errors import MultigenError
from multigen.storage.files import atomic
from multigen.storage.tensors import load_tensors, save_tensors

log = logging.getLogger(__name__)

FILE = "pytorch_lora_weights.safetensors"
ABOUT = "multigen"  # the one entry of the header: several are written in random order
FORMAT = "multigen lora 1"
_DOWN, _UP, _ALPHA = "lora_A.weight", "lora_B.weight", "alpha"
# What older files call them, and what is no part of the backbone.
_OLD = {"lora.down.weight": _DOWN, "lora.up.weight": _UP, "lora_down.weight": _DOWN, "lora_up.weight": _UP}
_TEXT = ("text_encoder.", "text_encoder_2.", "lora_te")


@runtime_checkable
class Published(Protocol):
    """A backbone whose layers others know by another name: how it begins in files, and how it begins in the module."""

    published: tuple[str, str]


class Pair(NamedTuple):
    """The change of one layer, `scale` (up down): down [r, in, *k], up [out, r, *1]."""

    down: Tensor
    up: Tensor
    scale: float = 1.0

    def delta(self) -> Tensor:
        """[out, in * k] in fp32."""
        return self.scale * (self.up.float().flatten(1) @ self.down.float().flatten(1))


@dataclass(frozen=True)
class Adapter:
    """What one file holds: a pair for each layer, and what its header says of the base that it was made for."""

    pairs: Mapping[str, Pair]
    about: Mapping[str, Any]
    where: str

    @property
    def base(self) -> str:
        return str(self.about.get("base") or "a base that it does not name")


class Mix:
    """A backbone's weights with LoRAs added to them. The base's own are kept, so that they come back bit for bit."""

    def __init__(self, backbone: nn.Module) -> None:
        self.weights = {f"backbone.{n}": p for n, p in backbone.named_parameters()}
        self._base: dict[str, Tensor] = {}
        self._changes: Sequence[tuple[Mapping[str, Pair], float]] = ()

    @torch.no_grad()
    def set(self, changes: Sequence[tuple[Mapping[str, Pair], float]]) -> None:
        """These changes (`deltas`), each so many times, and no others."""
        for name, weight in self._base.items():
            self.weights[name].copy_(weight)
        self._changes = changes = [(pairs, times) for pairs, times in changes if times]
        self._base = {name: self.weights[name].clone() for pairs, _ in changes for name in pairs}
        for pairs, times in changes:
            for name, pair in pairs.items():
                weight = self.weights[name]
                weight.add_(pair.delta().to(weight).view_as(weight), alpha=times)

    @contextmanager
    def bare(self) -> Iterator[None]:
        """The base's own weights stand in the backbone inside the block."""
        changes = self._changes
        self.set(())
        try:
            yield
        finally:
            self.set(changes)


def begins(backbone: object) -> tuple[str, str]:
    """How the names of the layers of a backbone, or of its class, begin in files, and in `Model.state_dict`."""
    if isinstance(backbone, Published):
        outside, inside = backbone.published
        return outside, f"backbone.{inside}"
    return "backbone.", "backbone."


def deltas(adapter: Adapter, backbone: nn.Module, recipe: str) -> dict[str, Pair]:
    """The pair of each weight of `Model.state_dict`. MultigenError lists the first layers that are not this model's."""
    outside, inside = begins(backbone)
    weights = {f"backbone.{n}": p for n, p in backbone.named_parameters()}
    found: dict[str, Pair] = {}
    rows: list[str] = []
    for layer, pair in adapter.pairs.items():
        name = f"{inside}{layer.removeprefix(outside)}.weight"
        weight = weights.get(name) if layer.startswith(outside) else None
        if weight is None:
            rows.append(f"{layer}: there is no such layer")
        elif (shape := (pair.up.shape[0], *pair.down.shape[1:])) != tuple(weight.shape):
            rows.append(f"{layer} is for weights {list(shape)}, here {list(weight.shape)}")
        else:
            found[name] = pair
    if rows:
        more = f"; and {len(rows) - 3} more" if len(rows) > 3 else ""
        raise MultigenError(
            f"{adapter.where}: this LoRA is for another network than {recipe}: {'; '.join(rows[:3])}{more}. "
            f"It was made for {adapter.base}."
        )
    return found


def check_weight(weight: float, where: str) -> float:
    """The weight of a LoRA; MultigenError unless it is a finite number."""
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight):
        raise MultigenError(
            f"{where}: {weight!r} is not allowed. Allowed: a finite number; 0 is off, 1 as trained."
        )
    return float(weight)


def write(path: Path, adapter: Adapter) -> Path:
    """Write the file, atomically; the same adapter is the same bytes."""
    tensors = {}
    for layer, pair in adapter.pairs.items():
        tensors[f"{layer}.{_DOWN}"], tensors[f"{layer}.{_UP}"] = pair.down, pair.up * pair.scale
    about = {**adapter.about, "format": FORMAT}
    with atomic(path) as temporary:
        save_tensors(temporary, tensors, {ABOUT: json.dumps(about, sort_keys=True)})
    return path


def header(path: Path) -> dict[str, str]:
    """The header of a safetensors file, {} where it has none. MultigenError if it is no such file."""
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise MultigenError(f"{path}: not a readable safetensors file ({error})") from error


def read(path: Path) -> Adapter:
    """A LoRA from its file. MultigenError if it is none, is pickled, or is of a kind that is not a plain LoRA."""
    tensors = load_tensors(path)
    found = header(path)
    try:
        about = json.loads(found.get(ABOUT, "{}"))
        theirs = json.loads(found.get("lora_adapter_metadata", "{}"))
    except ValueError as error:
        raise MultigenError(f"{path}: its header is damaged ({error})") from error
    if not (isinstance(about, dict) and isinstance(theirs, dict)):
        raise MultigenError(f"{path}: its header is damaged (no JSON objects)")
    return Adapter(_pairs(tensors, theirs, str(path)), about, str(path))


def is_lora(path: Path) -> bool:
    """Whether the names in a safetensors file are those of a LoRA."""
    try:
        with safe_open(path, "pt") as file:
            return any(k.endswith((_DOWN, *_OLD)) for k in file.keys())  # noqa: SIM118
    except (SafetensorError, OSError):
        return False


def _pairs(tensors: Mapping[str, Tensor], theirs: Mapping[str, Any], where: str) -> dict[str, Pair]:
    heard = {_split(k)[0] for k in tensors if k.startswith(_TEXT)}
    tensors = {k: v for k, v in tensors.items() if not k.startswith(_TEXT)}
    if heard and tensors:
        log.warning(
            "%s: %d layers of a text encoder are left out: LoRAs change the backbone alone here, so that prompts are "
            "heard as the base hears them, and media may look a little less as this LoRA was trained to make them",
            where, len(heard),
        )  # fmt: skip
    if any(k.startswith("lora_unet_") for k in tensors):
        tensors = _converted(tensors, where)
    layers: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        layer, part = _split(key)
        if part is None:
            raise MultigenError(
                f"{where}: {key} is no part of a LoRA in diffusers' format (<layer>.lora_A.weight, .lora_B.weight)"
            )
        layers.setdefault(layer, {})[part] = tensor
    if not layers:
        only = (
            f", only one of a text encoder ({len(heard)} layers), which stays as it is here" if heard else ""
        )
        raise MultigenError(f"{where}: it holds no LoRA of a backbone{only}")
    return {layer: _pair(layer, parts, theirs, where) for layer, parts in sorted(layers.items())}


def _split(key: str) -> tuple[str, str | None]:
    """(layer, what of it), of a key in any of the spellings: lora_A, lora.down, processor.to_q_lora.down."""
    key = re.sub(r"\.(to_q|to_k|to_v|to_out)_lora\.", r".\1.lora.", key.replace(".processor.", "."))
    key = key.replace(".to_out.lora.", ".to_out.0.lora.").replace(".lora.down.weight.alpha", ".alpha")
    for ending, part in {_DOWN: _DOWN, _UP: _UP, _ALPHA: _ALPHA, **_OLD}.items():
        if key.endswith(f".{ending}"):
            layer = key.removesuffix(f".{ending}")
            if layer.endswith(".lora"):  # what an .alpha stands beside
                layer = layer.removesuffix(".lora")
            return layer, part
    return key, None


def _pair(layer: str, parts: Mapping[str, Tensor], theirs: Mapping[str, Any], where: str) -> Pair:
    down, up, alpha = (parts.get(k) for k in (_DOWN, _UP, _ALPHA))
    if down is None or up is None:
        raise MultigenError(f"{where}: {layer}: {_UP if up is None else _DOWN} is missing")
    if down.ndim < 2 or up.ndim < 2 or down.shape[0] != up.shape[1] or math.prod(up.shape[2:]) != 1:
        raise MultigenError(
            f"{where}: {layer}: {list(up.shape)} and {list(down.shape)} do not make a change of a layer"
        )
    if not (down.isfinite().all() and up.isfinite().all()):
        raise MultigenError(f"{where}: {layer}: holds numbers that are not finite")
    rank = down.shape[0]
    if alpha is not None:
        return Pair(down, up, float(alpha) / rank)
    prefix = layer.partition(".")[0]
    given = theirs.get(f"{prefix}.alpha_pattern", {})
    own = next((v for k, v in given.items() if layer.endswith(k)), None) if isinstance(given, dict) else None
    strength = own if own is not None else theirs.get(f"{prefix}.lora_alpha")
    return Pair(down, up, float(strength) / rank if isinstance(strength, int | float) else 1.0)


def _converted(tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Files of other trainers (kohya's names) as diffusers itself reads them."""
    from multigen.storage.diffusers_folder import imported

    try:
        mixin = imported("diffusers").loaders.StableDiffusionLoraLoaderMixin
        state, alphas = mixin.lora_state_dict(dict(tensors))
    except MultigenError:
        raise
    except Exception as error:  # whatever the library makes of a stranger's names
        raise MultigenError(f"{where}: diffusers cannot read it ({error})") from error
    return {**state, **{k: torch.tensor(float(v)) for k, v in (alphas or {}).items()}}
