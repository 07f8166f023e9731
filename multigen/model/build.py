"""Building the parts that a recipe names: its dataset, and the modules of its model."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import torch

from multigen import registry
from multigen.cascades import Link
from multigen.codecs import Codec
from multigen.conditioners import Conditioner
from multigen.core.backbone import Backbone
from multigen.core.denoiser import Denoiser
from multigen.datasets import Dataset, found_by
from multigen.device import describe
from multigen.errors import RecipeError
from multigen.modalities import Modality
from multigen.model.autoencoders import load_vae
from multigen.model.checked import sampling_precision
from multigen.model.compatibility import build_cascade, cond_spec
from multigen.model.vocoders import load_vocoder
from multigen.recipe.schema import Recipe
from multigen.registry import Part
from multigen.storage.diffusers_folder import Turns

FOREIGN = "diffusers"  # the backbone of networks that come from a pipeline


class Built(NamedTuple):
    """The parts of a model, their weights random; no denoiser where the recipe trains a codec.

    cascade  how the network sees the stage before it; None where it is the first
    turns    in which its networks are on the device, with those of the stages before it; None: all stay
    """

    modality: Modality
    codec: Codec
    conditioner: Conditioner
    denoiser: Denoiser | None
    cascade: Link | None = None
    turns: Turns | None = None


def build_parts(recipe: Recipe, device: torch.device | None = None, turns: Turns | None = None) -> Built:
    """The parts of a recipe, drawn from its seed. RecipeError where they do not go together.

    device  where they will work, for networks that come and go; None: the CPU
    turns   which networks of a later stage take, too; None: there is none that does
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        modality: Modality = registry.build("modality", recipe.modality, where="modality")
        given: dict[str, Any] = {"modality": modality, "load_vocoder": load_vocoder, "load_vae": load_vae}
        given |= _memory(recipe, device or torch.device("cpu"), turns)
        codec: Codec = registry.build("codec", recipe.codec, where="codec", given=given)
        conditioner: Conditioner = registry.build(
            "conditioner", recipe.conditioner, where="conditioner", given=given
        )
        try:
            shape = codec.shape(modality.shape())
        except ValueError as error:
            raise RecipeError(f"codec ({recipe.codec.name}): {error}") from error
        given |= {"axes": len(shape) - 1, "channels": shape[0], "out_channels": shape[0]}
        cascade = build_cascade(recipe, modality, codec)
        given |= {"cond": cond_spec(recipe, conditioner.spec, codec, shape[0], cascade)}
        denoiser = (
            None
            if recipe.trains == "codec"
            else _denoiser(recipe, given, sampling_precision(recipe, device or torch.device("cpu")))
        )
    return Built(modality, codec, conditioner, denoiser, cascade, given.get("turns"))


def facts_of(built: Built, device: torch.device) -> dict[str, str]:
    """Device, number of parameters and shape of model space, for logs and reports."""
    denoiser, codec = built.denoiser, built.codec
    count = sum(p.numel() for p in (codec if denoiser is None else denoiser).parameters())
    return {
        "device": describe(device, None if denoiser is None else denoiser.precision),
        "parameters": f"{count / 1e6:.2f} M",
        "model space": " x ".join(map(str, codec.shape(built.modality.shape()))),
    }


def _memory(recipe: Recipe, device: torch.device, turns: Turns | None) -> dict[str, Any]:
    """How networks share the device. RecipeError for a recipe whose network cannot leave it."""
    if recipe.sample.offload is None:
        return {}
    if recipe.backbone is None or recipe.backbone.name != FOREIGN:
        raise RecipeError(
            f"sample.offload: {recipe.sample.offload} is not allowed. Allowed: null; it goes with networks of "
            f"diffusers (backbone.name={FOREIGN})"
        )
    return {"turns": turns or Turns(), "streamed": device if recipe.sample.offload == "sequential" else None}


def _denoiser(recipe: Recipe, given: dict[str, Any], precision: torch.dtype | None) -> Denoiser:
    try:
        backbone: Backbone = registry.build("backbone", recipe.network, where="backbone", given=given)
    except (RuntimeError, MemoryError) as error:  # torch's way to say that there is not that much memory
        reason = str(error).splitlines()[0]
        raise RecipeError(f"backbone ({recipe.network.name}): cannot be built here ({reason})") from error
    schedule = registry.build("schedule", recipe.schedule, where="schedule")
    prediction = registry.build("prediction", recipe.prediction, where="prediction")
    return Denoiser(backbone, schedule, prediction, precision=precision)


def build_dataset(recipe: Recipe, modality: Modality | None = None) -> Dataset:
    """The recipe's dataset, for its modality."""
    modality = modality or registry.build("modality", recipe.modality, where="modality")
    return registry.build("dataset", recipe.data, where="data", given={"modality": modality})


def _follows_text(recipe: Recipe) -> bool:
    kind = registry.lookup("conditioner", recipe.conditioner.name)
    return isinstance(kind, type) and issubclass(kind, Conditioner) and kind.text


# A file with its caption, for messages; pictures are the rest.
_EXAMPLES = {"audio": ("a.mp3", "calm piano"), "video": ("a.mp4", "a red apple moving left")}


def check_captions(recipe: Recipe, dataset: Dataset) -> None:
    """RecipeError if the network shall follow captions, and no medium has one.

    `data.captions=none` says that media without captions are meant.
    """
    if recipe.trains == "codec" or not _follows_text(recipe):
        return
    if found_by(dataset)[1] != 0 or recipe.data.args.get("captions") == "none":
        return
    if recipe.data.name == "shards":
        hint = (
            "Pack them with their captions, or learn them as they are: conditioner.name=none guide.name=plain"
        )
    else:
        file, text = _EXAMPLES.get(recipe.modality.name, ("a.jpg", "a red apple"))
        hint = (
            f'Give them: a.txt beside {file}, or metadata.jsonl ({{"file_name": "{file}", "text": "{text}"}} a line), '
            "or metadata.csv, or data.captions=name (the names of the files). Or learn them as they are: "
            "data.captions=none"
        )
    raise RecipeError(
        f"data.captions: none of the media has a caption, and the conditioner {recipe.conditioner.name} follows "
        f"captions. {hint}"
    )


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
