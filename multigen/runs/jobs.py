"""What `multigen run` and `multigen train` do with a run folder: train where needed, make the media, report."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from multigen.device import choose_device
from multigen.errors import MultigenError
from multigen.modalities.media import Media
from multigen.model.build import build_dataset
from multigen.model.compatibility import check_combination
from multigen.model.model import Model
from multigen.model.source import RECIPE, is_finished, is_trained, named, of_run
from multigen.progress import Progress
from multigen.recipe.dump import to_yaml
from multigen.recipe.load import load_recipe
from multigen.recipe.paths import absolute
from multigen.recipe.schema import Recipe
from multigen.runs import resume
from multigen.runs.folders import run_folder
from multigen.runs.media import Start, make_media
from multigen.runs.reconstructions import copies
from multigen.runs.report import report
from multigen.runs.trainer import train_here
from multigen.storage.files import write_text
from multigen.storage.lock import locked
from multigen.training import checkpoint as checkpoints
from multigen.training import launch, ranks

log = logging.getLogger(__name__)

Bad = dict[str, str]  # media that could not be read, each with the reason


def run(
    recipe: Recipe,
    *,
    out: Path | None = None,
    device: str | None = None,
    quiet: bool = False,
    force: bool = False,
) -> Path:
    """Make the media that a recipe describes; the run folder.

    It uses the weights that the recipe names, unless the folder holds a training of its own. With `weights` null it
    trains first where nothing is trained yet.
    """
    folder, recipe = _begin(recipe, out, device)
    with _joined(recipe, folder, device) as device:
        bad: Bad = {}
        if recipe.weights is not None and not is_trained(folder):
            if not ranks.leads():
                return folder
            model = _with_weights(recipe, folder, device)
        else:
            recipe, bad = _trained(recipe, folder, device, quiet, force)
            if not ranks.leads():
                return folder
            model = _final(recipe, folder, device)
        start, total = _described(model)
        make_media(model, folder, start, total=total, quiet=quiet)
        report(model, folder, bad)
    return folder


def train(
    recipe: Recipe,
    *,
    out: Path | None = None,
    device: str | None = None,
    quiet: bool = False,
    force: bool = False,
) -> Path:
    """Train a recipe to its end, continuing where its run folder stands; the run folder.

    The weights that a recipe names are for `run`; a training starts from `train.init`.
    """
    folder, recipe = _begin(dataclasses.replace(recipe, weights=None), out, device)
    with _joined(recipe, folder, device) as device:
        if is_finished(folder) and checkpoints.newest(folder / "checkpoints") is None:
            raise MultigenError(
                f"{folder}: it holds weights but no checkpoint to continue from. Train them further in a new folder: "
                f"train.init={folder} --out another"
            )
        recipe, bad = _trained(recipe, folder, device, quiet, force)
        if not ranks.leads():
            return folder
        report(
            _final(recipe, folder, device),
            folder,
            bad,
            f"{recipe.name} is trained; its run folder is {folder}",
        )
    return folder


def _begin(recipe: Recipe, out: Path | None, device: str | None) -> tuple[Path, Recipe]:
    """The run folder, and the recipe with absolute paths. MultigenError for a device that is not available."""
    choose_device(device)
    return run_folder(recipe, out), absolute(recipe)


@contextmanager
def _joined(recipe: Recipe, folder: Path, device: str | None) -> Iterator[str | None]:
    """Inside the block this process is a rank of the training, where there are several, and the folder is locked."""
    with ranks.joined(device, recipe.train) as device:
        if not ranks.leads():
            yield device
            return
        with locked(folder):
            yield device


def _described(model: Model) -> tuple[Start, int]:
    """How to make the media that the recipe describes, and how many they are."""
    recipe, n = model.recipe, model.recipe.sample.n
    if recipe.trains == "codec":
        dataset = build_dataset(recipe, model.modality)
        return lambda _: copies(model, dataset, n, recipe.seed), 2 * n
    prompts = recipe.sample.prompts

    def start(progress: Progress) -> Iterable[Media]:
        batcher = model.batcher(prompts, n=n, on_progress=lambda _: progress.called())
        progress.expect(batcher.calls, len(batcher.jobs))
        return batcher.in_order()

    return start, n * len(prompts)


def _final(recipe: Recipe, folder: Path, device: str | None) -> Model:
    """The trained model; from now on its recipe is the folder's."""
    model = Model.of(of_run(recipe, folder), recipe, device=device)
    write_text(folder / RECIPE, to_yaml(recipe))
    return model


def _with_weights(recipe: Recipe, folder: Path, device: str | None) -> Model:
    """The model with the weights that its recipe names."""
    check_combination(recipe)
    found = named(recipe, recipe.name)
    model = Model.of(found, found.recipe, device=device)
    log.info("%s: uses the weights %s (weights=null trains)", recipe.name, recipe.weights)
    write_text(folder / RECIPE, to_yaml(found.recipe))
    return model


def _trained(
    recipe: Recipe, folder: Path, device: str | None, quiet: bool, force: bool
) -> tuple[Recipe, Bad]:
    """Train in `folder` as far as the recipe asks. The resolved recipe, and the media that could not be read."""
    newest = resume.newest(folder, force)
    finished = is_finished(folder)
    if newest is None and not finished:
        return _train(recipe, folder, None, device, quiet, force)
    recipe = resume.same_run(recipe, folder, force)
    if newest is None:
        # Weights that somebody passed on without their checkpoints, or all of these are broken.
        before = load_recipe(str(folder / RECIPE))
        if before.train != recipe.train:
            log.warning("%s: no checkpoint to continue from; its weights are used as they are", folder)
        return dataclasses.replace(recipe, train=before.train), {}
    state = checkpoints.load(newest)
    if finished and resume.complete(recipe, state):
        return recipe, dict(state.state.get("bad", {}))
    return _train(recipe, folder, state, device, quiet, force)


def _train(
    recipe: Recipe,
    folder: Path,
    state: checkpoints.Checkpoint | None,
    device: str | None,
    quiet: bool,
    force: bool,
) -> tuple[Recipe, Bad]:
    """Train in this process, or in those that the recipe asks for."""
    if not launch.launches(recipe):
        return train_here(recipe, folder, state, device=device, quiet=quiet)
    return launch.torchrun(recipe, folder, device=device, quiet=quiet, force=force)
