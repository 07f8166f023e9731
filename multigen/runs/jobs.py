"""What `multigen run` and `multigen train` do with a run folder: train where needed, make the media, report."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from multigen.device import choose_device
from multigen.errors import MultigenError
from multigen.generation.request import Request
from multigen.model.build import build_dataset
from multigen.model.compatibility import check_combination
from multigen.model.diffusers import animated
from multigen.model.model import Model
from multigen.model.source import RECIPE, is_finished, is_trained, locate, named, of_run
from multigen.progress import Progress
from multigen.recipe.load import load_recipe
from multigen.recipe.paths import absolute, expanded_path
from multigen.recipe.schema import Recipe
from multigen.recipe.source import shipped
from multigen.runs import rerun, resume
from multigen.runs.asked import asked as describe
from multigen.runs.folders import run_folder
from multigen.runs.media import Made, Start, batched, make_media, set_aside, under_way, write_preview
from multigen.runs.media_set import MediaSet
from multigen.runs.reconstructions import copies
from multigen.runs.report import FILE as REPORT
from multigen.runs.report import report
from multigen.storage.claim import Claim, check_folder, claimed
from multigen.storage.lock import is_free, remove_empty
from multigen.training import checkpoint as checkpoints
from multigen.training import launch, ranks
from multigen.training import log as training_log

log = logging.getLogger(__name__)

Bad = dict[str, str]  # media that could not be read, each with the reason


def run(
    recipe: Recipe,
    *,
    out: Path | None = None,
    device: str | None = None,
    quiet: bool = False,
    force: bool = False,
    resume: bool = False,
) -> Path:
    """Make the media that a recipe describes; the run folder.

    It uses the weights that the recipe names, unless the folder holds a training of its own. With `weights` null it
    trains first where nothing is trained yet. The same recipe goes on with what is there; another one replaces nothing
    (`rerun.choose`).
    """
    recipe = _with_stages(recipe, device, quiet)
    folder, recipe = _begin(recipe, out, device, "run", force, resume)
    with _joined(recipe, folder, device) as (device, claim):
        bad: Bad = {}
        if recipe.weights is not None and not is_trained(folder):
            if claim is None:
                return folder
            recipe, model = _with_weights(recipe, device)
        else:
            recipe, bad = _trained(recipe, folder, device, quiet, force, claim)
            if claim is None:
                return folder
            model = _final(recipe, folder, device)
        _make(recipe, model, claim, bad, quiet=quiet)
    return folder


def train(
    recipe: Recipe,
    *,
    out: Path | None = None,
    device: str | None = None,
    quiet: bool = False,
    force: bool = False,
    resume: bool = False,
) -> Path:
    """Train a recipe to its end, continuing where its run folder stands; the run folder.

    The weights that a recipe names are for `run`; a training starts from `train.init`.
    """
    folder, recipe = _begin(dataclasses.replace(recipe, weights=None), out, device, "train", force, resume)
    with _joined(recipe, folder, device) as (device, claim):
        if is_finished(folder) and checkpoints.newest(folder / "checkpoints") is None:
            raise MultigenError(
                f"{folder}: it holds weights but no checkpoint to continue from. Train them further in a new folder: "
                f"train.init={folder} --out another"
            )
        recipe, bad = _trained(recipe, folder, device, quiet, force, claim)
        if claim is None:
            return folder
        report(
            _final(recipe, folder, device),
            folder,
            bad,
            f"{recipe.name} is trained; its run folder is {folder}",
        )
    return folder


def _with_stages(recipe: Recipe, device: str | None, quiet: bool) -> Recipe:
    """The recipe, its stages trained: those that are recipes and never were, each in its own run folder.

    A stage that was trained here is named by its run folder from then on. MultigenError for one that is not there.
    """
    if "RANK" in os.environ:  # whoever started the ranks has done it
        return recipe
    return dataclasses.replace(
        recipe, stages=tuple(_stage(recipe, one, device, quiet) for one in recipe.stages)
    )


def _stage(recipe: Recipe, source: str, device: str | None, quiet: bool) -> str:
    path = Path(source)
    if path.is_dir() or not (source in shipped() or path.suffix in (".yaml", ".yml")):
        locate(source)
        return source
    stage = load_recipe(source)
    folder = run_folder(stage, None)
    if stage.weights is None and not is_trained(folder):
        log.info("%s: first its stage %s, in %s", recipe.name, source, folder)
        train(_with_stages(stage, device, quiet), device=device, quiet=quiet)
    return str(folder.resolve()) if is_trained(folder) else source


def _begin(
    recipe: Recipe,
    out: Path | None,
    device: str | None,
    command: Literal["run", "train"],
    force: bool,
    resume: bool,
) -> rerun.Place:
    """The run folder, and the recipe with absolute paths. MultigenError for a device that is not available."""
    choose_device(device)
    out = None if out is None else Path(expanded_path(str(out)))
    check_folder(run_folder(recipe, out))
    place = rerun.choose(absolute(recipe), out, command, force=force)
    if resume and not rerun.holds(place.folder):
        raise MultigenError(f"--resume: there is nothing to go on with in {place.folder}")
    return place


@contextmanager
def _joined(recipe: Recipe, folder: Path, device: str | None) -> Iterator[tuple[str | None, Claim | None]]:
    """Inside the block this process is a rank of the training, where there are several; the first claims the folder.

    A folder in which nothing is to keep is removed at the end.
    """
    with ranks.joined(device, recipe.train) as device:
        if not ranks.leads():
            yield device, None
            return
        free = is_free(folder)
        with claimed(folder) as claim:
            try:
                yield device, claim
            finally:
                if free and not rerun.holds(folder):
                    _remove_started(folder)


def _remove_started(folder: Path) -> None:
    """Remove what a training writes before there is something to keep."""
    log_file = folder / training_log.FILE
    if log_file.is_file() and log_file.stat().st_size:
        return
    for path in (folder / RECIPE, log_file):
        path.unlink(missing_ok=True)
    for name in ("checkpoints", "previews", "tensorboard"):
        remove_empty([folder / name])


def _make(recipe: Recipe, model: Model, claim: Claim, bad: Bad, *, quiet: bool) -> None:
    """Make the media that the recipe describes, and the report. Those of other weights are set aside."""
    n = recipe.sample.n
    codec = recipe.trains == "codec"
    requests = [Request(prompt) for prompt in (("",) if codec else recipe.sample.prompts)]
    asked = describe(model, "run", requests, {"n": n, "seed": recipe.seed})
    set_aside(claim.folder, asked)
    total = 2 * n if codec else n * len(requests)
    kept = MediaSet(model, claim, asked, total, begin=lambda: rerun.write_recipe(claim.folder, recipe))
    make_media(kept, model, _copied(model, n) if codec else _described(model, n), quiet=quiet)
    if len(kept.there) < kept.total or not (claim.folder / REPORT).is_file():
        write_preview(kept, model)
        report(model, claim.folder, bad)


def _described(model: Model, n: int) -> Start:
    """Begins to make the media that the recipe describes."""

    def start(progress: Progress, there: frozenset[int]) -> Iterable[Made]:
        batcher = model.batcher(
            model.recipe.sample.prompts, n=n, batch=under_way(model), on_progress=lambda _: progress.called()
        )
        return batched(batcher, progress, there)

    return start


def _copied(model: Model, n: int) -> Start:
    """Begins to copy held-out media through the codec that the recipe trains."""

    def start(progress: Progress, there: frozenset[int]) -> Iterable[Made]:
        dataset = build_dataset(model.recipe, model.modality)
        made = enumerate(copies(model, dataset, n, model.recipe.seed))
        return (Made(place, medium) for place, medium in made if place not in there)

    return start


def _final(recipe: Recipe, folder: Path, device: str | None) -> Model:
    """The trained model; from now on its recipe is the folder's."""
    model = Model.of(of_run(recipe, folder), animated(recipe), device=device)
    rerun.write_recipe(folder, recipe)
    return model


def _with_weights(recipe: Recipe, device: str | None) -> tuple[Recipe, Model]:
    """The recipe with the weights that it names, and its model."""
    found = named(recipe, recipe.name)
    made = animated(found.recipe)
    check_combination(made)
    model = Model.of(found, made, device=device)
    log.info("%s: uses the weights %s (weights=null trains)", recipe.name, recipe.weights)
    return found.recipe, model


def _trained(
    recipe: Recipe, folder: Path, device: str | None, quiet: bool, force: bool, claim: Claim | None
) -> tuple[Recipe, Bad]:
    """Train in `folder` as far as the recipe asks. The resolved recipe, and the media that could not be read."""
    if claim is not None:
        claim.keep()
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
        log.info(
            "%s: its training is complete at step %d; more train.steps or train.minutes train on",
            folder,
            state.state["step"],
        )
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
        # Here, as importing it takes half a second, which sampling would wait for.
        from multigen.runs.trainer import train_here

        return train_here(recipe, folder, state, device=device, quiet=quiet)
    return launch.torchrun(recipe, folder, device=device, quiet=quiet, force=force)
