"""What stands at a source: the recipe and the weights of a run folder, a file, a shipped name or a foreign folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from torch import Tensor

from multigen.conditioners.knowledge import Knowledge
from multigen.errors import MultigenError, RecipeError
from multigen.model import diffusers
from multigen.model import weights as model_weights
from multigen.model.absent import no_run, no_weights, nothing_trained, unknown_weights
from multigen.model.knowledge import knowledge_at, without_knowledge
from multigen.model.tuned import in_checkpoint, tuned, what_is_left
from multigen.model.tuned import is_finished as is_finished
from multigen.recipe.load import load_recipe, parse_recipe
from multigen.recipe.manifest import recipe_changes
from multigen.recipe.paths import RECIPE as RECIPE
from multigen.recipe.paths import WEIGHTS, shipped_weights
from multigen.recipe.sampling import TRAINED, without_decoding
from multigen.recipe.schema import Recipe
from multigen.recipe.sections import Safety
from multigen.storage import lora
from multigen.storage.measured import read_measured
from multigen.storage.tensors import load_tensors, read_header
from multigen.storage.weights_file import check_weights_file
from multigen.storage.words import Words
from multigen.training import checkpoint as checkpoints


class Found(NamedTuple):
    """What stands at a source: the recipe, the weights, and how messages call it.

    `tensors` is None where the recipe's parts bring their weights with them, as those of a foreign pipeline do.
    `adapter` and `words` are what a training added to them, where they are its frozen base; `knowledge`, what they were
    told; `stages`, those before it in a cascade, where they came with the weights; `measured`, what was found of them.
    """

    recipe: Recipe
    tensors: dict[str, Tensor] | None
    where: str
    adapter: lora.Adapter | None = None
    words: Words | None = None
    knowledge: Knowledge | None = None
    stages: tuple[Found, ...] = ()
    measured: Mapping[str, Any] = MappingProxyType({})

    def tensors_of(self, part: str) -> dict[str, Tensor]:
        """The weights of one part, such as codec.vocoder, by their names within it."""
        return {
            k.removeprefix(f"{part}."): v for k, v in (self.tensors or {}).items() if k.startswith(f"{part}.")
        }


class Place(NamedTuple):
    """Where weights stand, and the recipe that they are sampled with; no weight is read.

    `path` is a run folder or a weights file; None where the recipe's parts bring their weights with them. `trained` is
    the recipe that the weights were trained by.
    """

    recipe: Recipe
    path: Path | None
    where: str
    trained: Recipe


def find(source: str | Path, config: str | None = None) -> Found:
    """Recipe and weights at a source, as `load` takes it."""
    return _read(locate(source, config))


def find_recipe(source: str | Path) -> Recipe:
    """The recipe of what `find` finds, without reading the weights; a damaged weights file is refused all the same."""
    return locate(source).recipe


def locate(source: str | Path, config: str | None = None) -> Place:
    """Where the weights of a source stand. MultigenError if there is nothing, or nothing trained."""
    path = Path(source).expanduser()
    if diffusers.is_source(str(source)) and not (path / RECIPE).is_file():
        recipe = diffusers.recipe_of(str(source), config)
        return Place(recipe, None, str(source), recipe)
    if config is not None:
        raise MultigenError(f"config: {config}: it goes with a single file of a pipeline; {source} is none")
    if path.suffix == ".safetensors" or (path.is_file() and path.suffix not in (".yaml", ".yml")):
        return _of_file(path)
    if path.is_dir():
        if not (path / RECIPE).is_file():
            raise no_run(path)
        return _of_folder(path)
    recipe = load_recipe(str(source))
    folder = Path("runs") / recipe.name
    if not (folder / RECIPE).is_file():
        if recipe.weights is not None:
            return _of_recipe(recipe, str(source))
        raise nothing_trained(source, folder)
    return _of_folder(folder)


def _read(place: Place) -> Found:
    """What stands at a place, with its weights."""
    if place.path is None:
        return Found(place.recipe, None, place.where)
    if place.path.is_dir():
        found = of_run(place.trained, place.path)
    else:
        found = _in_file(place.trained, place.path, place.where)
    return found._replace(recipe=place.recipe, where=place.where)


def _in_file(recipe: Recipe, path: Path, where: str) -> Found:
    """What a weights file holds. MultigenError for a damaged one."""
    tensors, before = _split(path)
    stages = tuple(
        Found(
            parse_recipe(text, f"{path} (stage {number})"),
            without_knowledge(rows),
            f"{where} (stage {number})",
        )
        for number, (rows, text) in enumerate(before)
    )
    knows, measured = knowledge_at(path), read_measured(path)
    return Found(recipe, tensors, where, knowledge=knows, stages=stages, measured=measured)


def _split(path: Path) -> tuple[dict[str, Tensor], list[tuple[dict[str, Tensor], str]]]:
    try:
        own, stages = model_weights.split(load_tensors(path))
    except ValueError as error:
        raise MultigenError(f"{path}: {error}") from error
    return without_knowledge(own), stages


def find_weights(source: str | Path) -> Found:
    """As `find`, and by shipped name, or in one checkpoint of a run (its averaged weights)."""
    path = shipped_weights().get(str(source)) or Path(source).expanduser()
    if (path / "ema.safetensors").is_file():
        recipe = load_recipe(str(path.parent.parent / RECIPE))
        if recipe.train.adapter is not None:
            return Found(recipe, base_weights(recipe), str(path), *in_checkpoint(recipe, path))
        return Found(recipe, load_tensors(path / "ema.safetensors"), str(path))
    return find(path)


def read_lora(source: str) -> lora.Adapter:
    """A LoRA from its file, or from the run folder that trained it. MultigenError if there is none."""
    path = Path(source).expanduser()
    if not path.is_dir():
        return lora.read(path)
    if (file := lora.in_folder(path)) is not None:
        return lora.read(file)
    if (path / RECIPE).is_file() and (adapter := in_run(path).adapter) is not None:
        return adapter
    raise MultigenError(
        f"{source}: there is no LoRA in this folder: no {lora.FILE}, and no run that trained one"
    )


def in_run(folder: Path) -> Found:
    """Recipe and averaged weights of a run folder."""
    return _read(_of_folder(folder))


def _of_folder(folder: Path) -> Place:
    recipe = load_recipe(str(folder / RECIPE))
    if recipe.weights is not None and not is_trained(folder):
        return _of_recipe(recipe, str(folder))
    if not is_finished(folder) and not checkpoints.found(folder / "checkpoints"):
        raise no_weights(folder)
    return Place(recipe, folder, str(folder), recipe)


def of_run(recipe: Recipe, folder: Path) -> Found:
    """What a recipe's training left in its run folder: averaged weights, or its base's and what it added to them."""
    if recipe.train.adapter is None:
        found = Found(recipe, run_weights(folder), str(folder), knowledge=knowledge_at(folder))
        return found._replace(measured=read_measured(folder / WEIGHTS))
    made = tuned(recipe, folder, _newest)
    own, base = (
        knowledge_at(folder),
        None if recipe.train.init is None else knowledge_at(_place(recipe.train.init)),
    )
    knows = None if own is None or base is None else base.joined(own)
    return Found(recipe, base_weights(recipe), str(folder), *made, knowledge=knows)


def base_weights(recipe: Recipe) -> dict[str, Tensor] | None:
    """What an adapter stands beside; None where the backbone brings it."""
    return None if recipe.train.init is None else read_weights(recipe.train.init)


def is_trained(folder: Path) -> bool:
    """Whether a training has left weights in a run folder."""
    return is_finished(folder) or checkpoints.newest(folder / "checkpoints") is not None


def run_weights(folder: Path) -> dict[str, Tensor]:
    """The weights of a run folder: the final ones, or the average in the newest checkpoint that verifies.

    A training may go on there meanwhile, in another process.
    """
    if is_finished(folder) and not (folder / WEIGHTS).is_file():
        whole = (
            f" Write both as one: multigen export {folder} FILE --merge"
            if (folder / lora.FILE).is_file()
            else ""
        )
        raise MultigenError(f"{folder}: it holds {what_is_left(folder)}, no whole model.{whole}")
    path = folder / WEIGHTS
    for last in (False, False, True):
        try:
            path = folder / WEIGHTS
            if not path.is_file():
                path = _newest(folder) / "ema.safetensors"
            return load_tensors(path)
        except MultigenError:
            if last or path.is_file():  # else the training has dropped it for a newer one
                raise
    raise AssertionError


def _newest(folder: Path) -> Path:
    """The newest checkpoint of a run folder that verifies."""
    newest = checkpoints.newest(folder / "checkpoints")
    if newest is None:
        raise no_weights(folder)
    return newest


def named(recipe: Recipe, where: str) -> Found:
    """A recipe with the weights it names. RecipeError where they were trained as another model or on other data."""
    return _read(_of_recipe(recipe, where))


def _of_recipe(recipe: Recipe, where: str) -> Place:
    """As `named`."""
    source, shipped = str(recipe.weights), shipped_weights()
    path = shipped.get(source) or Path(source).expanduser()
    if diffusers.is_source(source):
        recipe = diffusers.checked(recipe, source)
        return Place(recipe, None, source, recipe)
    if not path.exists():
        raise unknown_weights("weights", source)
    place = _of_folder(path) if path.is_dir() else _of_file(path)
    rows = [
        f"{key}: {old!r} there, {new!r} here"
        for key, old, new in recipe_changes(without_decoding(place.recipe), without_decoding(recipe))
        if key.partition(".")[0] in TRAINED and key != "conditioner.classes"
    ]
    if rows:
        raise RecipeError(
            f"{where}: weights {source} were trained with other settings ({'; '.join(rows[:6])}). "
            "Leave these as they are, or train: weights=null"
        )
    return place._replace(
        recipe=dataclasses.replace(recipe, conditioner=place.recipe.conditioner, shrunk=place.recipe.shrunk),
        where=source,
    )


def read_weights(source: str | Path) -> dict[str, Tensor]:
    """Weights from a safetensors file, a run folder or by their shipped name, for `train.init`."""
    path = _place(source)
    if (path / RECIPE).is_file() and not is_trained(
        path
    ):  # a run that sampled with weights that its recipe names
        named_weights = load_recipe(str(path / RECIPE)).weights
        if named_weights is not None and not diffusers.is_source(named_weights):
            return read_weights(named_weights)
    return run_weights(path) if path.is_dir() else _split(path)[0]


def _place(source: str | Path) -> Path:
    return shipped_weights().get(str(source)) or Path(source).expanduser()


def _of_file(path: Path) -> Place:
    """A weights file: its recipe is in its header."""
    check_weights_file(path)
    header = read_header(path)
    if "recipe" not in header and lora.is_lora(path):
        adapter = lora.read(path)
        raise MultigenError(
            f"{path}: a LoRA is no model by itself; it was made for {adapter.base}. "
            f"Add it to that: multigen sample SOURCE 'loras=[{{path: {path}, weight: 1}}]'"
        )
    if "recipe" not in header:
        raise MultigenError(f"{path}: no recipe in its header; use the run folder, or train.init={path}")
    # Whoever wrote the file chooses no filters here, and no file that is written to.
    recipe = dataclasses.replace(parse_recipe(header["recipe"], f"{path} (header)"), safety=Safety())
    return Place(recipe, path, str(path), recipe)
