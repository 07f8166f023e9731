"""Model: the parts of a recipe put together, and the Python API: generate, save, load."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from multigen import registry
from multigen.codecs import Codec
from multigen.core.backbone import Backbone
from multigen.core.denoiser import Denoiser
from multigen.datasets import Dataset
from multigen.device import choose_device, choose_precision, describe
from multigen.errors import MultigenError, RecipeError
from multigen.generation.edit import Editor
from multigen.modalities import Modality
from multigen.model.compatibility import cond_spec
from multigen.recipe.schema import Recipe, WeightedLora
from multigen.registry import Part
from multigen.storage.lora import Adapter, Mix, check_weight, deltas
from multigen.training import checkpoint as checkpoints

log = logging.getLogger(__name__)


def resolve(recipe: Recipe, dataset: Dataset) -> Recipe:
    """The recipe with what only the dataset knows filled in: the names of the classes.

    RecipeError if there are none, or if the recipe names others or in another order.
    """
    part = recipe.conditioner
    if "classes" not in {a.name for a in registry.arguments("conditioner", part.name, "conditioner")}:
        return recipe
    if not dataset.classes:
        raise RecipeError(
            f"conditioner: the dataset {recipe.data.name} has no labels; put the files into one sub-folder a class, or "
            "condition on text (conditioner.name=text)"
        )
    given = part.args.get("classes")
    if given is not None and list(given) != list(dataset.classes):
        raise RecipeError(
            f"conditioner.classes: {list(given)} is not allowed. Allowed: the classes of the data in their order, "
            f"{list(dataset.classes)}, or null. A run that was trained on others goes on with those alone."
        )
    args = {**part.args, "classes": list(dataset.classes)}
    return dataclasses.replace(recipe, conditioner=Part(part.name, args))


def build_dataset(recipe: Recipe, modality: Modality | None = None) -> Dataset:
    """The recipe's dataset, for its modality."""
    modality = modality or registry.build("modality", recipe.modality, where="modality")
    return registry.build("dataset", recipe.data, where="data", given={"modality": modality})


class Model(Editor):
    """Everything that a recipe names, built: modality, codec, conditioner and denoiser, on one device.

    `weights` are random until `load_weights`, `multigen.load` or training sets them.
    """

    def __init__(self, recipe: Recipe, *, device: str | None = None) -> None:
        self.recipe = recipe
        self.device = choose_device(device)
        precision = choose_precision(recipe.sample.precision, self.device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            self.modality: Modality = registry.build("modality", recipe.modality, where="modality")
            given: dict[str, Any] = {"modality": self.modality}
            self.codec: Codec = registry.build("codec", recipe.codec, where="codec", given=given)
            self.conditioner: Any = registry.build(
                "conditioner", recipe.conditioner, where="conditioner", given=given
            )
            try:
                shape = self.codec.shape(self.modality.shape())
            except ValueError as error:
                raise RecipeError(f"codec ({recipe.codec.name}): {error}") from error
            given |= {"axes": len(shape) - 1, "channels": shape[0], "out_channels": shape[0]}
            given |= {"cond": cond_spec(recipe, self.conditioner.spec, shape[0])}
            self._denoiser = None if recipe.backbone is None else _denoiser(recipe, given, precision)
        self.learned: dict[str, nn.Module] = {"conditioner": self.conditioner, "codec": self.codec}
        if self._denoiser is not None:
            self.learned["backbone"] = self._denoiser.backbone
            self._denoiser.to(self.device)
        for module in self.learned.values():
            module.to(self.device).eval()
        self.own: Adapter | None = None  # what the model's own training added to its base
        self._mix: Mix | None = None

    @property
    def denoiser(self) -> Denoiser:
        """MultigenError if the recipe trains a codec and has none."""
        if self._denoiser is None:
            raise MultigenError(
                f"{self.recipe.name}: this recipe trains its codec; it has no backbone and generates nothing"
            )
        return self._denoiser

    @property
    def facts(self) -> dict[str, str]:
        """What a reader of a log wants to know of the model."""
        generates = self._denoiser is not None
        count = sum(p.numel() for p in (self.denoiser if generates else self.codec).parameters())
        return {
            "device": describe(self.device, self.denoiser.precision if generates else None),
            "parameters": f"{count / 1e6:.2f} M",
            "model space": " x ".join(map(str, self.codec.shape(self.modality.shape()))),
        }

    # --- weights ----------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Tensor]:
        """All that was learned or measured: backbone.*, conditioner.*, codec.*"""
        return {f"{k}.{n}": t for k, module in self.learned.items() for n, t in module.state_dict().items()}

    def load_weights(self, tensors: dict[str, Tensor], where: str) -> None:
        """Set the weights; MultigenError lists the first mismatches if they are another model's."""
        expected = self.state_dict()
        rows = checkpoints.mismatches(expected, tensors)
        if rows:
            raise MultigenError(
                f"{where}: these weights are of another model than recipe {self.recipe.name}: {'; '.join(rows)}"
            )
        self._mix = None
        for name, module in self.learned.items():
            module.load_state_dict(
                {k[len(name) + 1 :]: v for k, v in tensors.items() if k.startswith(f"{name}.")}
            )

    def start_from(self, tensors: dict[str, Tensor], where: str) -> None:
        """Set the weights to those of a former model, for training: of an image model also in a video model.

        The backbone adapts the former state to its own (`Backbone.inherit`). MultigenError as in `load_weights`.
        """
        if self._denoiser is not None:
            backbone = self._denoiser.backbone
            prefix = "backbone."
            old = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            rest = {k: v for k, v in tensors.items() if not k.startswith(prefix)}
            tensors = {**{prefix + k: v for k, v in backbone.inherit(old).items()}, **rest}
        self.load_weights(tensors, where)

    def adapt(self, loras: Mapping[str, float]) -> None:
        """From now on sample with these LoRAs, each so many times, and no others; {}: without.

        A LoRA is a file or a run folder; what the model's own training added stays. MultigenError names what is no
        LoRA, and the first layers of one that is for another network.
        """
        self.set_loras([WeightedLora(str(path), weight) for path, weight in loras.items()])

    def set_loras(self, loras: Sequence[WeightedLora]) -> None:
        """As `adapt`, as a recipe lists them."""
        from multigen.model.load import read_lora

        rows = []
        for row in loras:
            try:
                adapter = read_lora(row.path)
            except MultigenError as error:
                raise MultigenError(f"loras: {error}") from error
            rows.append((row.path, adapter, check_weight(row.weight, f"loras: {row.path}")))
        self.recipe = dataclasses.replace(self.recipe, loras=tuple(loras))
        if self.own is not None:
            rows = [("", self.own, 1.0), *rows]
        if not rows and self._mix is None:
            return
        backbone = self.denoiser.backbone
        changes = [(deltas(adapter, backbone, self.recipe.name), weight) for _, adapter, weight in rows]
        self._mix = self._mix or Mix(backbone)
        self._mix.set(())
        for _, adapter, _ in rows:
            self._check_base(adapter)
        self._mix.set(changes)

    def _check_base(self, adapter: Adapter) -> None:
        """A warning where a LoRA was trained on other weights of the same network."""
        wanted, have = adapter.about.get("base_hash"), self.weights_hash()
        if wanted is not None and wanted != have:
            log.warning("%s was trained on other weights (%s, %s) than these (%s)", adapter.where, adapter.base,
                        wanted, have)  # fmt: skip

    @contextmanager
    def bare(self) -> Iterator[None]:
        """Inside the block the model is its base, without any LoRA."""
        if self._mix is None:
            yield
            return
        with self._mix.bare():
            yield

    def weights_hash(self) -> str:
        """sha256 over the sorted tensors' names and bytes, first 16 hex digits."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()[:16]

    def save(self, path: str | Path, *, half: bool = False) -> Path:
        """Write one safetensors file that `multigen.load` reads: weights, and the recipe in its header.

        `half` halves its size: the backbone's and conditioner's numbers as float16, the codec's statistics as they
        are. LoRAs are part of the weights from then on. MultigenError if a weight is beyond float16's range.
        """
        from multigen.recipe.schema import to_yaml
        from multigen.storage.files import atomic

        path = Path(path)
        if path.suffix != ".safetensors":
            raise MultigenError(f"{path}: weights are saved as .safetensors")
        with atomic(path) as temporary:
            # One entry alone: safetensors writes several in random order, and equal weights shall be equal bytes.
            tensors = {k: _halved(k, v) for k, v in self.state_dict().items()} if half else self.state_dict()
            recipe = dataclasses.replace(
                self.recipe, loras=(), train=dataclasses.replace(self.recipe.train, adapter=None)
            )
            checkpoints.save_tensors(temporary, tensors, {"recipe": to_yaml(recipe)})
        return path


def _denoiser(recipe: Recipe, given: dict[str, Any], precision: torch.dtype | None) -> Denoiser:
    assert recipe.backbone is not None
    try:
        backbone: Backbone = registry.build("backbone", recipe.backbone, where="backbone", given=given)
    except (RuntimeError, MemoryError) as error:  # torch's way to say that there is not that much memory
        reason = str(error).splitlines()[0]
        raise RecipeError(f"backbone ({recipe.backbone.name}): cannot be built here ({reason})") from error
    schedule = registry.build("schedule", recipe.schedule, where="schedule")
    prediction = registry.build("prediction", recipe.prediction, where="prediction")
    return Denoiser(backbone, schedule, prediction, precision=precision)


def _halved(name: str, tensor: Tensor) -> Tensor:
    # A codec's statistics are few and exact; what it learned are weights like others.
    if (
        name.startswith("codec.") and not name.startswith("codec.vocoder.")
    ) or not tensor.is_floating_point():
        return tensor
    half = tensor.half()
    if not half.isfinite().all():
        raise MultigenError(f"{name}: holds numbers beyond float16's range; save without half")
    return half
