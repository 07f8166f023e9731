"""The weights of a model's modules together: their names, their hash, their file."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from multigen.codecs import Codec
from multigen.conditioners import added
from multigen.conditioners.knowledge import Knowledge
from multigen.core.backbone import Backbone
from multigen.errors import MultigenError
from multigen.recipe.dump import to_yaml
from multigen.recipe.schema import Recipe
from multigen.registry import Part
from multigen.storage import int8
from multigen.storage.files import atomic
from multigen.storage.tensors import mismatches, save_tensors

_STAGE, _RECIPE = "stage", "recipe"  # of the tensors of stages, stage0.recipe


@runtime_checkable
class WarmStart(Protocol):
    """A backbone that can start from the weights of a related one."""

    def inherit(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The state of its own that the former state makes."""
        ...


def state_of(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """All that was learned or measured: backbone.*, conditioner.*, codec.*"""
    return {f"{k}.{n}": t for k, module in modules.items() for n, t in module.state_dict().items()}


def load_state(modules: Mapping[str, nn.Module], tensors: Mapping[str, Tensor], where: str) -> None:
    """Set the weights; MultigenError lists the first mismatches if they are another model's."""
    backbone = modules.get("backbone")
    if isinstance(backbone, Backbone) and backbone.fixed:
        raise MultigenError(f"{where}: the network's weights cannot be changed: {backbone.fixed}")
    if isinstance(backbone, Backbone) and backbone.joined:
        tensors = inherited(backbone, dict(tensors))
    tensors = {**added(modules), **tensors}
    if rows := mismatches(state_of(modules), dict(tensors)):
        raise MultigenError(f"{where}: {'; '.join(rows)}")
    for name, module in modules.items():
        module.load_state_dict(
            {k[len(name) + 1 :]: v for k, v in tensors.items() if k.startswith(f"{name}.")}
        )


def base_of(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """What a LoRA is learned beside: all weights but those that were put into the network, such as motion modules."""
    tensors, backbone = state_of(modules), modules.get("backbone")
    if not (isinstance(backbone, Backbone) and backbone.joined):
        return tensors
    return {name: tensor for name, tensor in tensors.items() if backbone.joined not in name}


def inherited(backbone: nn.Module | None, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of a former model as those of one with this backbone, which may be a `WarmStart`."""
    if not isinstance(backbone, WarmStart):
        return tensors
    prefix = "backbone."
    old = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    rest = {k: v for k, v in tensors.items() if not k.startswith(prefix)}
    return {**{prefix + k: v for k, v in backbone.inherit(old).items()}, **rest}


def hash_of(tensors: Mapping[str, Tensor]) -> str:
    """sha256 over the sorted tensors' names and bytes, first 16 hex digits."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


class KnownHash:
    """`hash_of` tensors, computed again only where they were changed or replaced since.

    least  bytes from which on it is worth a thread
    """

    def __init__(self, least: int = 1 << 28) -> None:
        self._least = least
        self._stamp: object = None
        self._hash = ""
        self._begun: tuple[object, Future[str]] | None = None

    def begin(self, tensors: Mapping[str, Tensor]) -> None:
        """Compute it beside what follows, such as the sampling of a medium whose file will name it: 1 s for 0.5 GB."""
        stamp = _stamp(tensors)
        known = stamp is None or stamp == self._stamp or (self._begun is not None and self._begun[0] == stamp)
        if known or sum(tensor.nbytes for tensor in tensors.values()) < self._least:
            return
        pool = ThreadPoolExecutor(1, thread_name_prefix="hash")
        self._begun = stamp, pool.submit(hash_of, dict(tensors))
        pool.shutdown(wait=False)

    def of(self, tensors: Mapping[str, Tensor]) -> str:
        """The hash."""
        stamp = _stamp(tensors)
        if stamp is None:
            return hash_of(tensors)
        begun, self._begun = self._begun, None
        if self._stamp != stamp:
            # What was changed meanwhile has another stamp, and is read again.
            found = begun[1].result() if begun is not None and begun[0] == stamp else hash_of(tensors)
            self._stamp, self._hash = stamp, found
        return self._hash


def _stamp(tensors: Mapping[str, Tensor]) -> object:
    """What differs where a tensor was changed or replaced; None for kinds that have no memory of their own.

    None, too, for tensors that were made in inference mode: nothing tells of a change of theirs.
    """
    if any(tensor.is_inference() for tensor in tensors.values()):
        return None
    try:
        return [(n, t.data_ptr(), t._version) for n, t in tensors.items()]
    except RuntimeError:
        return None


# What weights may be held as, by the names of `backbone.dtype`.
_KINDS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def comparable(tensors: Mapping[str, Tensor]) -> list[str]:
    """The dtypes in which the numbers are known: those that no tensor is rounded further than, or otherwise."""
    held = {tensor.dtype for tensor in tensors.values()} & {torch.bfloat16, torch.float16}
    return [name for name, dtype in _KINDS.items() if held <= {dtype}]


def hash_as(tensors: Mapping[str, Tensor], kind: str) -> str:
    """`hash_of` the tensors in a dtype that is `comparable`."""
    dtype = _KINDS[kind]
    return hash_of({n: t.to(dtype) if t.is_floating_point() else t for n, t in tensors.items()})


def base_hashes(tensors: Mapping[str, Tensor], *, pretrained: bool) -> dict[str, str]:
    """The hashes by which the base of an adapter is known again, by dtype.

    pretrained  it may be held in another dtype when the adapter is used; otherwise there is fp32 alone
    """
    return {kind: hash_as(tensors, kind) for kind in (comparable(tensors) if pretrained else ("fp32",))}


def standalone(recipe: Recipe, codec: Codec) -> Recipe:
    """The recipe that a weights file carries: its codec is built for the weights in the file alone."""
    part = recipe.codec
    return dataclasses.replace(recipe, codec=Part(part.name, codec.standalone(part.args)))


class Stored(NamedTuple):
    """What a file holds of one model: its weights, and the recipe that they were trained by."""

    tensors: Mapping[str, Tensor]
    recipe: Recipe


def stored(
    tensors: Mapping[str, Tensor], knowledge: Knowledge | None, recipe: Recipe, codec: Codec
) -> Stored:
    """A model's weights with what they were told, and the recipe that goes with them alone."""
    knows = {} if knowledge is None else knowledge.tensors()
    return Stored({**tensors, **knows}, standalone(recipe, codec))


def save_weights(
    path: Path, model: Stored, *, half: bool, stages: Sequence[Stored] = (), small: bool = False
) -> Path:
    """Write one safetensors file with the recipe in its header; `half`: numbers as float16; `small`: in 8 bits.

    Stages of a cascade that come before have their tensors as stage0.*, and among them their recipe as YAML in bytes.
    MultigenError for another suffix, and if a weight is beyond float16's range.
    """
    if path.suffix != ".safetensors":
        raise MultigenError(f"{path}: weights are saved as .safetensors")
    with atomic(path) as temporary:
        tensors = _tensors(model, half, small)
        for number, stage in enumerate(stages):
            recipe = torch.tensor(list(_text(stage.recipe).encode()), dtype=torch.uint8)
            rows = {**_tensors(stage, half, small), _RECIPE: recipe}
            tensors |= {f"{_STAGE}{number}.{k}": v for k, v in rows.items()}
        # One entry alone: safetensors writes several in random order, and equal weights shall be equal bytes.
        save_tensors(temporary, tensors, {"recipe": _text(model.recipe)})
    return path


def split(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[tuple[dict[str, Tensor], str]]]:
    """What a file holds: the model's tensors, and those of each stage before it with the text of its recipe.

    ValueError for a stage without a recipe.
    """
    own: dict[str, Tensor] = {}
    stages: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        head, _, rest = name.partition(".")
        number = head.removeprefix(_STAGE)
        if head != number and number.isdecimal():
            stages.setdefault(int(number), {})[rest] = tensor
        else:
            own[name] = tensor
    found = []
    for number in sorted(stages):
        recipe = stages[number].pop(_RECIPE, None)
        if recipe is None or recipe.dtype != torch.uint8:
            raise ValueError(f"{_STAGE}{number} has no recipe")
        found.append((stages[number], bytes(recipe.tolist()).decode()))
    return own, found


def _tensors(model: Stored, half: bool, small: bool) -> dict[str, Tensor]:
    """What is written of a model: as it is, as float16, and its large weights in 8 bits."""
    chosen = [k for k, v in model.tensors.items() if small and not _exact(k) and int8.packable(v)]
    try:
        tensors = int8.packed(model.tensors, chosen)
    except ValueError as error:
        raise MultigenError(str(error)) from error
    return (
        {k: v if k in chosen or k.endswith(int8.SCALE) else _halved(k, v) for k, v in tensors.items()}
        if half
        else tensors
    )


def _text(recipe: Recipe) -> str:
    train = dataclasses.replace(recipe.train, adapter=None)
    return to_yaml(dataclasses.replace(recipe, fast=False, loras=(), train=train))


def _halved(name: str, tensor: Tensor) -> Tensor:
    if _exact(name) or not tensor.is_floating_point():
        return tensor
    half = tensor.half()
    if not half.isfinite().all():
        raise MultigenError(f"{name}: holds numbers beyond float16's range; save without half")
    return half


def _exact(name: str) -> bool:
    """Whether numbers stay as they are: a codec's statistics are few and exact; what it learned are weights."""
    return name.startswith("codec.") and not name.startswith(("codec.vocoder.", "codec.network."))
