"""Refusals that need no model: what a command names is there, and can be used, before anything is loaded.

Nothing here imports torch, so that a mistake is said in a fraction of a second. What only a model knows is checked
where it is loaded.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from multigen.errors import MultigenError, RecipeError, message
from multigen.generation.part_like import operator_part
from multigen.generation.request import Request
from multigen.modalities.known import KNOWN, check_extent, check_header, check_operator, check_suffix
from multigen.model.absent import no_run, no_weights, nothing_trained, unknown_weights
from multigen.model.targets import ONNX, ONNX_PACKAGES, place, target
from multigen.options import BUILTIN, Option
from multigen.recipe.data_folder import find_folder
from multigen.recipe.declared import builtin_options
from multigen.recipe.load import draft_recipe
from multigen.recipe.paths import RECIPE, WEIGHTS, absolute, expanded_path, shipped_weights
from multigen.recipe.sampling import check_sampling
from multigen.recipe.schema import Recipe
from multigen.storage.claim import check_folder
from multigen.storage.hub_id import is_id
from multigen.storage.packages import check_installed
from multigen.storage.pipeline_place import is_pipeline
from multigen.storage.weights_file import check_weights_file

# Datasets that read a folder of the user's, which `data.path` names.
_OF_FILES = frozenset({"folder", "shards", "mnist", "cifar10", "celeba", "clips"})


def check_source(source: str, overrides: Sequence[str] = ()) -> Recipe | None:
    """The recipe of a trained model, as far as it is known without its parts; None of a foreign or packed one.

    MultigenError if there is no such model, or for overrides that it cannot sample with.
    """
    path = Path(expanded_path(source))
    if is_id(source) or (is_pipeline(path) and not (path / RECIPE).is_file()):
        return None
    if path.suffix == ".safetensors" or (path.is_file() and path.suffix not in (".yaml", ".yml")):
        check_weights_file(path)
        return None
    if path.is_dir() and not (path / RECIPE).is_file():
        raise no_run(path)
    recipe = draft_recipe(source).recipe
    folder = path if path.is_dir() else Path("runs") / recipe.name
    _check_trained(source, recipe, folder)
    if not overrides:
        return recipe
    there = not path.is_dir() and (folder / RECIPE).is_file()  # what its run resolved
    changed = draft_recipe(str(folder) if there else source, overrides).recipe
    check_sampling(draft_recipe(str(folder)).recipe if there else recipe, changed)
    check_suffix(changed.makes, changed.sample.suffix)
    return changed


def check_request(recipe: Recipe | None, request: Request) -> None:
    """MultigenError for what no model of the recipe's modality makes, and for a medium that cannot be opened.

    A recipe that is not known yet, None, and modalities of other packages are checked where they are built.
    """
    if recipe is None or recipe.makes not in KNOWN:
        return
    modality = recipe.makes
    check_extent(modality, size=request.size, duration=request.duration)
    edit = request.edit
    if edit is None:
        return
    if edit.restore is not None:
        check_operator(modality, operator_part(edit.restore).name)
    if edit.mask is not None and not KNOWN[modality].sized:
        raise MultigenError(f"mask: a picture has no place in {modality}; say with keep which spans stay")
    if isinstance(edit.media, str | Path):
        check_header(modality, Path(edit.media), recipe.modality.args)


def _check_trained(source: str, recipe: Recipe, folder: Path) -> None:
    """MultigenError if nothing is trained for a recipe, in its folder or elsewhere."""
    there = (folder / RECIPE).is_file()
    if there and ((folder / WEIGHTS).is_file() or any(folder.glob("*.safetensors"))):
        return
    if there and any((folder / "checkpoints").glob("step-*")):
        return
    if recipe.weights is None and there and draft_recipe(str(folder)).recipe.weights is None:
        raise no_weights(folder)
    if recipe.weights is None and not there:
        raise nothing_trained(source, folder)
    if recipe.weights is not None and not there:
        check_named("weights", recipe.weights)


def check_named(where: str, source: str) -> None:
    """RecipeError if weights that a recipe names are neither shipped nor there."""
    if source not in shipped_weights() and not is_id(source) and not Path(expanded_path(source)).exists():
        raise unknown_weights(where, source)


def check_job(command: Literal["run", "train"], recipe: Recipe, out: Path | None) -> None:
    """MultigenError if a recipe cannot run: its files are not there, or the folder cannot be written to."""
    if recipe.fast and command == "train":
        raise RecipeError(
            "fast: a training makes weights; take it away. Distilling a student: recipes distill_*"
        )
    folder = out or Path("runs") / recipe.name
    check_folder(folder, "--out " + str(out) if out is not None else "")
    check_suffix(recipe.makes, recipe.sample.suffix)
    finished = (folder / WEIGHTS).is_file() and _same_sources(folder, recipe)
    if command == "run" and recipe.weights is not None and not finished:
        check_named("weights", recipe.weights)
        return
    if finished:  # what it was made from is needed no longer
        return
    if recipe.data.name in _OF_FILES:
        path = recipe.data.args.get("path")
        example = f"multigen {command} {recipe.name} data.path=./my_files"
        find_folder(path if isinstance(path, str) else None, example)
    init = recipe.train.init
    if init is not None and init not in shipped_weights() and not Path(init).exists():
        if Path(init).suffix == ".safetensors":
            raise MultigenError(f"{init}: no such file")
        raise RecipeError(
            message("train.init", init, shipped_weights(), hint="Or a weights file or a run folder.")
        )


def _same_sources(folder: Path, recipe: Recipe) -> bool:
    """Whether what a run folder holds was trained from what the recipe names: the same files, the same start."""
    try:
        before = draft_recipe(str(folder)).recipe
    except MultigenError:  # what is there is another matter
        return False
    now = absolute(recipe)
    return (before.data, before.train.init) == (now.data, now.train.init)


def check_media(path: str) -> str:
    """The path of a file of media, its `~` expanded. MultigenError if there is none."""
    path = expanded_path(path)
    if os.path.isdir(path):
        raise MultigenError(f"{path}: is a folder; give a file")
    if not os.path.exists(path):
        raise MultigenError(f"{path}: no such file")
    return path


def check_medium(option: Option, path: str) -> str:
    """The path of a medium that an option names. MultigenError where there is none, or one of another modality."""
    path = check_media(path)
    check_header(option.media, Path(path), {})
    return path


def check_export(source: str, out: Path | None, to: str) -> None:
    """MultigenError if nothing can be exported to a place, which is not written yet."""
    recipe = check_source(source)
    if out is None and recipe is None:
        target(to)  # what it is called after is known when it is open
        return
    path = place(to, "" if recipe is None else recipe.name, out)
    if path.exists():
        raise MultigenError(f"{path}: already exists; give another name")
    check_folder(path.parent, str(path))
    if to == ONNX:
        for package in ONNX_PACKAGES:
            check_installed(package, f"export --to {ONNX}", "onnx")


def check_new_file(path: Path) -> None:
    """MultigenError unless a new weights file can be written at a path."""
    if path.suffix != ".safetensors":
        raise MultigenError(f"{path}: weights are saved as .safetensors")
    if path.exists():
        raise MultigenError(f"{path}: already exists; give another name")
    check_folder(path.parent, str(path))


def request_options(source: str) -> tuple[Option, ...]:
    """The options that the modality of a trained model declares, beside those of every request."""
    recipe = check_source(source)
    if recipe is not None:
        return _options_of(recipe)
    from multigen.model.source import find_recipe
    from multigen.storage.diffusers_folder import is_single_file

    if is_single_file(
        Path(expanded_path(source))
    ):  # whose recipe may need a folder besides; all make pictures
        return BUILTIN["image"]
    return _options_of(find_recipe(source))


def declared_options(recipe: str) -> tuple[Option, ...]:
    """The options that the modality of a recipe declares, trained or not."""
    return _options_of(draft_recipe(recipe).recipe)


def _options_of(recipe: Recipe) -> tuple[Option, ...]:
    known = builtin_options(recipe)
    if known is not None:
        return known
    from multigen.generation.declared import options_of

    return options_of(recipe)
