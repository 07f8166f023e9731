"""Loading: a trained model from a run folder, a weights file, shipped weights or a recipe that was run here."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from multigen import registry
from multigen.errors import MultigenError, RecipeError, message
from multigen.model import stable_diffusion
from multigen.model.model import Model
from multigen.recipe.load import load_recipe, override_recipe, parse_recipe
from multigen.recipe.manifest import recipe_changes
from multigen.recipe.paths import WEIGHTS as WEIGHTS
from multigen.recipe.paths import public
from multigen.recipe.paths import shipped_weights as shipped_weights
from multigen.recipe.schema import Recipe
from multigen.registry import Part
from multigen.storage import lora
from multigen.storage.tensors import load_tensors
from multigen.training import checkpoint as checkpoints
from multigen.training.post_hoc import reconstructed

RECIPE = "recipe.yaml"
# Parts of a recipe that shape what is trained; the rest is about sampling.
TRAINED = ("modality", "data", "codec", "conditioner", "backbone", "schedule", "prediction", "masked")
# Arguments of the codec that say how media are decoded; whoever samples may change them.
DECODING = ("codec.vocoder", "codec.iterations")


class Found(NamedTuple):
    """What stands at a source: the recipe, the weights, and how messages call it.

    `tensors` is None where the recipe's parts bring their weights with them, as those of a foreign pipeline do.
    `adapter` is what a training added to them, where they are its frozen base.
    """

    recipe: Recipe
    tensors: dict[str, Tensor] | None
    where: str
    adapter: lora.Adapter | None = None


def load(source: str | Path, *, loras: Mapping[str, float] | None = None, device: str | None = None) -> Model:
    """A trained model from a run folder, a weights file, a recipe (by path or name), or Stable Diffusion.

    That is a folder in diffusers' format, or the id (owner/name) of one on the hub. Of a recipe that was run here,
    what its run trained; else the weights that the recipe names. Weights are safetensors only. `loras`: LoRA files or
    run folders, each with its weight (`Model.adapt`). MultigenError if there is nothing, or nothing trained, at
    `source`.
    """
    found = find(source)
    model = build(found, found.recipe, device=device)
    if loras is not None:
        model.adapt(loras)
    return model


def build(found: Found, recipe: Recipe, *, device: str | None = None) -> Model:
    """The model of a recipe, which may differ from the found one in how it samples, with the found weights."""
    model = Model(recipe, device=device)
    if found.tensors is not None:
        model.load_weights(found.tensors, found.where)
    model.own = found.adapter
    model.set_loras(recipe.loras)
    return model


def export(
    source: str | Path, file: Path, *, half: bool = False, merge: bool = False, ema: float | None = None
) -> Path:
    """Write what stands at a source to one safetensors file, for others: its recipe keeps no path of this machine.

    Of a LoRA's run that is the LoRA; with `merge` its base with it, as a model like any other. `half` as in
    `Model.save`. `ema`: not the weights that stand there but the average of this length (sigma_rel) over the training
    of a run folder that kept snapshots. MultigenError as in `load`, and where there are no snapshots.
    """
    found = find(source)
    if merge and found.adapter is None and not found.recipe.loras:
        raise MultigenError(f"{source}: there is no LoRA to merge; leave --merge away")
    if found.adapter is not None and ema is not None:
        raise MultigenError("--ema: a LoRA's run keeps no snapshots of whole weights; leave it away")
    if found.adapter is not None and not merge:
        if half:
            raise MultigenError("--half: a LoRA is small; it goes with --merge")
        if file.suffix != ".safetensors":
            raise MultigenError(f"{file}: weights are saved as .safetensors")
        return lora.write(file, found.adapter)
    if found.tensors is None and found.adapter is None:
        raise MultigenError(
            f"{source}: nothing was trained here; pass on {found.where} itself, which any tool reads"
        )
    if ema is not None:
        found = _averaged(found, ema)
    model = build(found, found.recipe, device="cpu")
    model.recipe = public(model.recipe)
    return model.save(file, half=half)


def _averaged(found: Found, sigma: float) -> Found:
    """What was found in a run folder, its parameters those of another average; statistics of the codec stay."""
    run = Path(found.where)
    if not (run / RECIPE).is_file() or not is_trained(run):
        raise MultigenError(
            f"--ema: {found.where} is no run folder that was trained in; only those keep snapshots"
        )
    tensors, step = reconstructed(run, sigma)
    assert found.tensors is not None
    rows = [f"{k} is not expected" for k in tensors if k not in found.tensors]
    if rows:
        raise MultigenError(f"{run}: the snapshots are of another model: {'; '.join(rows[:5])}")
    return Found(found.recipe, {**found.tensors, **tensors}, f"{run} (sigma_rel {sigma:g} at step {step})")


def find(source: str | Path) -> Found:
    """Recipe and weights at a source, as `load` takes it."""
    path = Path(source).expanduser()
    if stable_diffusion.is_source(str(source)) and not (path / RECIPE).is_file():
        return Found(stable_diffusion.recipe_of(str(source)), None, str(source))
    if path.suffix == ".safetensors" or (path.is_file() and path.suffix not in (".yaml", ".yml")):
        return _in_file(path)
    if path.is_dir():
        if not (path / RECIPE).is_file():
            raise MultigenError(f"{path}: not a run folder: it has no {RECIPE}")
        return in_run(path)
    recipe = load_recipe(str(source))
    folder = Path("runs") / recipe.name
    if not (folder / RECIPE).is_file():
        if recipe.weights is not None:
            return named(recipe, str(source))
        raise MultigenError(
            f"{source}: nothing is trained for this recipe yet: there is no run folder {folder}. "
            f"Train it with: multigen train {source}"
        )
    return in_run(folder)


def find_weights(source: str | Path) -> Found:
    """As `find`, and by shipped name, or in one checkpoint of a run (its averaged weights)."""
    path = shipped_weights().get(str(source)) or Path(source).expanduser()
    if (path / "ema.safetensors").is_file():
        recipe = load_recipe(str(path.parent.parent / RECIPE))
        if recipe.train.adapter is not None:
            return Found(recipe, base_weights(recipe), str(path), _in_checkpoint(recipe, path))
        return Found(recipe, load_tensors(path / "ema.safetensors"), str(path))
    return find(path)


def read_lora(source: str) -> lora.Adapter:
    """A LoRA from its file, or from the run folder that trained it. MultigenError if there is none."""
    path = Path(source).expanduser()
    if not path.is_dir():
        return lora.read(path)
    if (path / lora.FILE).is_file():
        return lora.read(path / lora.FILE)
    if (path / RECIPE).is_file() and (adapter := in_run(path).adapter) is not None:
        return adapter
    raise MultigenError(
        f"{source}: there is no LoRA in this folder: no {lora.FILE}, and no run that trained one"
    )


def in_run(folder: Path) -> Found:
    """Recipe and averaged weights of a run folder."""
    recipe = load_recipe(str(folder / RECIPE))
    if recipe.weights is not None and not is_trained(folder):
        return named(recipe, str(folder))
    return of_run(recipe, folder)


def of_run(recipe: Recipe, folder: Path) -> Found:
    """What a recipe's training left in its run folder: averaged weights, or its base's and what it added to them."""
    if recipe.train.adapter is None:
        return Found(recipe, run_weights(folder), str(folder))
    if (folder / lora.FILE).is_file():
        adapter = lora.read(folder / lora.FILE)
    else:
        adapter = _in_checkpoint(recipe, _newest(folder))
    return Found(recipe, base_weights(recipe), str(folder), adapter)


def base_weights(recipe: Recipe) -> dict[str, Tensor] | None:
    """What an adapter stands beside; None where the backbone brings it."""
    return None if recipe.train.init is None else read_weights(recipe.train.init)


def _in_checkpoint(recipe: Recipe, path: Path) -> lora.Adapter:
    """The averaged adapter of a checkpoint."""
    assert recipe.train.adapter is not None
    part = registry.build("adapter", recipe.train.adapter, where="train.adapter")
    state = checkpoints.load(path)
    backbone = registry.find("backbone", recipe.network.name)
    return part.adapter(state.tensors["ema"], backbone, recipe, state.state.get("base"))


def is_finished(folder: Path) -> bool:
    """Whether a training has left its final weights in a run folder."""
    return any((folder / name).is_file() for name in (WEIGHTS, lora.FILE))


def is_trained(folder: Path) -> bool:
    """Whether a training has left weights in a run folder."""
    return is_finished(folder) or checkpoints.newest(folder / "checkpoints") is not None


def run_weights(folder: Path) -> dict[str, Tensor]:
    """The weights of a run folder: the final ones, or the average in the newest checkpoint that verifies.

    A training may go on there meanwhile, in another process.
    """
    if (folder / lora.FILE).is_file() and not (folder / WEIGHTS).is_file():
        raise MultigenError(
            f"{folder}: it holds a LoRA, no whole model. Write both as one: multigen export {folder} FILE --merge"
        )
    for last in (False, False, True):
        path = folder / WEIGHTS
        if not path.is_file():
            path = _newest(folder) / "ema.safetensors"
        try:
            return load_tensors(path)
        except MultigenError:
            if last or path.is_file():  # else the training has dropped it for a newer one
                raise
    raise AssertionError


def _newest(folder: Path) -> Path:
    """The newest checkpoint of a run folder that verifies."""
    newest = checkpoints.newest(folder / "checkpoints")
    if newest is None:
        raise MultigenError(f"{folder}: no weights yet; train with: multigen train {folder}")
    return newest


def named(recipe: Recipe, where: str) -> Found:
    """A recipe with the weights it names. RecipeError where they were trained as another model or on other data."""
    source, shipped = str(recipe.weights), shipped_weights()
    path = shipped.get(source) or Path(source).expanduser()
    if stable_diffusion.is_source(source):
        return Found(stable_diffusion.checked(recipe, source), None, source)
    if not path.exists():
        raise RecipeError(
            message("weights", source, shipped, hint="Or a weights file, a run folder, or null.")
        )
    trained = in_run(path) if path.is_dir() else _in_file(path)
    rows = [
        f"{key}: {old!r} there, {new!r} here"
        for key, old, new in recipe_changes(decoding_aside(trained.recipe), decoding_aside(recipe))
        if key.partition(".")[0] in TRAINED and key != "conditioner.classes"
    ]
    if rows:
        raise RecipeError(
            f"{where}: weights {source} were trained with other settings ({'; '.join(rows[:6])}). "
            "Leave these as they are, or train: weights=null"
        )
    recipe = dataclasses.replace(recipe, conditioner=trained.recipe.conditioner)
    return trained._replace(recipe=recipe, where=source)


def decoding_aside(recipe: Recipe) -> Recipe:
    """The recipe without what its codec does only after sampling; a vocoder that it trains itself stays."""
    if recipe.trains == "codec":
        return recipe
    args = {k: v for k, v in recipe.codec.args.items() if f"codec.{k}" not in DECODING}
    return dataclasses.replace(recipe, codec=Part(recipe.codec.name, args))


def sampling_recipe(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """A recipe under sampling overrides; RecipeError if one would change what was trained."""
    changed = override_recipe(recipe, overrides)
    for key in (*TRAINED, "train", "weights"):
        if getattr(decoding_aside(changed), key) != getattr(decoding_aside(recipe), key):
            raise RecipeError(
                f"{key}: this belongs to the training of {recipe.name}; when sampling, override only "
                f"sampler, timesteps, guide, sample, evaluate, loras, seed, {', '.join(DECODING)}"
            )
    return changed


def read_weights(source: str | Path) -> dict[str, Tensor]:
    """Weights from a safetensors file, a run folder or by their shipped name, for `train.init`."""
    path = shipped_weights().get(str(source)) or Path(source).expanduser()
    return run_weights(path) if path.is_dir() else load_tensors(path)


def _in_file(path: Path) -> Found:
    tensors = load_tensors(path)
    header = lora.header(path)
    if "recipe" not in header and lora.is_lora(path):
        adapter = lora.read(path)
        raise MultigenError(
            f"{path}: a LoRA is no model by itself; it was made for {adapter.base}. "
            f"Add it to that: multigen sample SOURCE 'loras=[{{path: {path}, weight: 1}}]'"
        )
    if "recipe" not in header:
        raise MultigenError(f"{path}: no recipe in its header; use the run folder, or train.init={path}")
    return Found(parse_recipe(header["recipe"], f"{path} (header)"), tensors, str(path))
