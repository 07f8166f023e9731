"""What `run` and `train` do: train if needed, make the media, report. One run folder holds it all."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from torch import Tensor

from multigen import registry
from multigen.datasets import Dataset
from multigen.device import choose_device, choose_precision, describe
from multigen.errors import MediaError, MultigenError
from multigen.model.build import build_dataset, resolve
from multigen.model.compatibility import check_combination
from multigen.model.model import Model
from multigen.model.source import RECIPE, base_weights, is_finished, is_trained, named, of_run
from multigen.recipe.dump import to_yaml
from multigen.recipe.load import load_recipe
from multigen.recipe.paths import WEIGHTS, absolute
from multigen.recipe.schema import Recipe
from multigen.runs import resume
from multigen.runs.reconstructions import copies
from multigen.runs.run_folder import Stream, make, report
from multigen.storage.files import atomic, write_text
from multigen.storage.lock import locked
from multigen.storage.lora import FILE as LORA
from multigen.storage.lora import write as write_lora
from multigen.training import boards, launch, ranks
from multigen.training import checkpoint as checkpoints
from multigen.training import log as training_log
from multigen.training import sizes as training_sizes
from multigen.training.adapter import Lora
from multigen.training.sizes import Sizes
from multigen.training.task import Diffusion, Task
from multigen.training.trainer import Trainer
from multigen.training.vocoding import Vocoding

__all__ = ["run", "train"]

log = logging.getLogger(__name__)

# How many training media the codec's statistics are taken from.
FIT_ITEMS = 400


def run(
    recipe: Recipe,
    *,
    out: Path | None = None,
    device: str | None = None,
    quiet: bool = False,
    force: bool = False,
) -> Path:
    """Make the media that the recipe describes; returns the run folder.

    With the weights that the recipe names, unless the folder holds a training of its own; with `weights` null it
    trains first where nothing is trained yet.
    """
    folder, recipe = _begin(recipe, out, device)
    with ranks.joined(device, recipe.train) as device, locked(folder) if ranks.leads() else nullcontext():
        bad: dict[str, str] = {}
        if recipe.weights is not None and not is_trained(folder):
            if not ranks.leads():
                return folder
            model = _with_weights(recipe, folder, device)
        else:
            recipe, bad = _trained(recipe, folder, device, quiet, force)
            if not ranks.leads():
                return folder
            model = _final(recipe, folder, device)
        stream, total = _media(model)
        make(model, folder, stream, total=total, quiet=quiet)
        report(model, folder, bad)
    return folder


def _media(model: Model) -> tuple[Stream, int]:
    """The media that the recipe describes, as they come, and how many."""
    recipe, n = model.recipe, model.recipe.sample.n
    if recipe.trains == "codec":
        dataset = build_dataset(recipe, model.modality)
        return lambda _: copies(model, dataset, n, recipe.seed), 2 * n
    prompts = recipe.sample.prompts
    return lambda on_progress: model.stream(prompts, n=n, on_progress=on_progress), n * len(prompts)


def train(
    recipe: Recipe,
    *,
    out: Path | None = None,
    device: str | None = None,
    quiet: bool = False,
    force: bool = False,
) -> Path:
    """Train the recipe to its end, going on where its run folder stands. Returns the run folder.

    The weights that a recipe names are for `run`: `train.init` is what a training starts from.
    """
    folder, recipe = _begin(dataclasses.replace(recipe, weights=None), out, device)
    with ranks.joined(device, recipe.train) as device, locked(folder) if ranks.leads() else nullcontext():
        if is_finished(folder) and checkpoints.newest(folder / "checkpoints") is None:
            raise MultigenError(
                f"{folder}: there are weights but no checkpoint to go on from. Train further in a new folder: "
                f"train.init={folder} --out another"
            )
        recipe, bad = _trained(recipe, folder, device, quiet, force)
        if not ranks.leads():
            return folder
        report(_final(recipe, folder, device), folder, bad)
    return folder


def _begin(recipe: Recipe, out: Path | None, device: str | None) -> tuple[Path, Recipe]:
    """The run folder and the recipe with absolute paths; what needs no work is refused first."""
    choose_device(device)
    return out or Path("runs") / recipe.name, absolute(recipe)


def _final(recipe: Recipe, folder: Path, device: str | None) -> Model:
    """The trained model; its recipe is the folder's from now on."""
    model = Model.of(of_run(recipe, folder), recipe, device=device)
    write_text(folder / RECIPE, to_yaml(recipe))
    return model


def _with_weights(recipe: Recipe, folder: Path, device: str | None) -> Model:
    """The model with the weights that its recipe names."""
    check_combination(recipe)
    found = named(recipe, recipe.name)
    model = Model.of(found, found.recipe, device=device)
    log.info("%s: with the weights %s; weights=null trains anew", recipe.name, recipe.weights)
    write_text(folder / RECIPE, to_yaml(found.recipe))
    return model


# --- training ---------------------------------------------------------------------------------------------------


def _trained(
    recipe: Recipe, folder: Path, device: str | None, quiet: bool, force: bool
) -> tuple[Recipe, dict[str, str]]:
    """Train in `folder` as far as the recipe asks. The resolved recipe, and the media that could not be read."""
    newest = resume.newest(folder, force)
    finished = is_finished(folder)
    if newest is None and not finished:
        return _teach(recipe, folder, None, device, quiet, force)
    recipe = resume.same_run(recipe, folder, force)
    if newest is None:
        # Weights that somebody passed on without their checkpoints, or all of these are broken.
        before = load_recipe(str(folder / RECIPE))
        if before.train != recipe.train:
            log.warning("%s: no checkpoint to go on from; its weights are used as they are", folder)
        return dataclasses.replace(recipe, train=before.train), {}
    state = checkpoints.load(newest)
    if finished and resume.complete(recipe, state):
        return recipe, dict(state.state.get("bad", {}))
    return _teach(recipe, folder, state, device, quiet, force)


def _teach(
    recipe: Recipe,
    folder: Path,
    state: checkpoints.Checkpoint | None,
    device: str | None,
    quiet: bool,
    force: bool,
) -> tuple[Recipe, dict[str, str]]:
    """Train here, or in the processes that the recipe asks for."""
    if not launch.launches(recipe):
        return _train(recipe, folder, state, device, quiet)
    return launch.torchrun(recipe, folder, device=device, quiet=quiet, force=force)


def _train(
    recipe: Recipe, folder: Path, state: checkpoints.Checkpoint | None, device: str | None, quiet: bool
) -> tuple[Recipe, dict[str, str]]:
    """Train from a checkpoint's state or from the start."""
    check_combination(recipe)
    boards.check(recipe.train)
    adapter = _adapter(recipe)
    init = base_weights(recipe) if state is None or adapter is not None else None
    with ranks.in_turn():
        dataset = build_dataset(recipe)
    known = resolve(recipe, dataset)
    if known != recipe:  # the data named the classes: now the prompts can be checked too
        check_combination(known)
    recipe = known
    model = Model(recipe, device=device)
    _announce(model, dataset, folder)
    base = None
    if adapter is not None:
        base = _freeze(model, init, adapter)
    elif state is None:
        _start(model, dataset, init)
    trainer = _trainer(model, dataset, folder, quiet, base)
    trainer.unreadable.note(dataset.bad)
    rows = []
    if state is not None:
        trainer.restore(state)
        resume.note_versions(state)
        rows = training_log.read(folder, until=trainer.step)
        log.info("going on from step %d", trainer.step)
    trainer.check_readable()
    ranks.same_step(trainer.step)  # nothing is written before all have read
    if ranks.first():
        write_text(folder / RECIPE, to_yaml(recipe))
        write_text(folder / training_log.FILE, "".join(f"{training_log.dumps(r)}\n" for r in rows))
        if state is not None:
            for name in (WEIGHTS, LORA):  # they are in the checkpoint, until training ends anew
                (folder / name).unlink(missing_ok=True)
    trainer.run()
    if ranks.first():
        with trainer.ema.applied():
            if adapter is None:
                model.save(folder / WEIGHTS)
            else:
                tensors = {n: p.detach() for n, p in trainer.parameters.items()}
                write_lora(folder / LORA, adapter.adapter(tensors, model.denoiser.backbone, recipe, base))
    return recipe, trainer.unreadable.files


def _adapter(recipe: Recipe) -> Lora | None:
    """What learns in place of the weights, where the recipe says so; RecipeError if it cannot here."""
    part = recipe.train.adapter
    if part is None:
        return None
    adapter: Lora = registry.build("adapter", part, where="train.adapter")
    adapter.check_installed()
    return adapter


def _freeze(model: Model, init: dict[str, Tensor] | None, adapter: Lora) -> str:
    """The base's weights, frozen, with the adapter beside them; returns their hash."""
    if init is not None:
        model.load_weights(init, f"train.init ({model.recipe.train.init})")
    base = model.weights_hash()
    for module in model.learned.values():
        module.requires_grad_(False)
    adapter.inject(model.denoiser.backbone, model.recipe.seed)
    return base


def _announce(model: Model, dataset: Dataset, folder: Path) -> None:
    precision = choose_precision(model.recipe.train.precision, model.device)
    # A codec computes sounds, not samples of a network: in full precision.
    where = describe(model.device, None if model.recipe.trains == "codec" else precision)
    facts = f"{model.facts['parameters']} parameters, model space {model.facts['model space']}"
    text = "%s: training on %s; %s; %d items; run folder %s"
    log.info(text, model.recipe.name, where, facts, len(dataset), folder)


def _trainer(model: Model, dataset: Dataset, folder: Path, quiet: bool, base: str | None) -> Trainer:
    recipe = model.recipe

    def preview(step: int) -> None:
        settings = recipe.sample
        if recipe.trains == "codec":
            made = list(copies(model, dataset, 4, recipe.seed))
        else:
            n = max(8 // max(len(settings.prompts), 1), 1)
            made = model.generate(settings.prompts[:4], n=n, seed=recipe.seed)
        path = folder / "previews" / f"step-{step:08d}.png"
        with atomic(path) as temporary:
            model.modality.preview([m.tensor for m in made]).save(temporary)

    sizes = training_sizes.sizes(recipe.train, model.modality, model.codec, recipe.seed)
    return Trainer(
        task=_task(model, dataset, base, sizes),
        dataset=dataset,
        settings=recipe.train,
        seed=recipe.seed,
        folder=folder,
        device=model.device,
        sizes=sizes,
        preview=preview,
        origin=resume.origin(recipe),
        quiet=quiet,
    )


def _task(model: Model, dataset: Dataset, base: str | None, sizes: Sizes | None) -> Task:
    """What the recipe's training teaches."""
    recipe, device = model.recipe, model.device
    if recipe.trains == "codec":
        return Vocoding(
            codec=model.codec, dataset=dataset, settings=recipe.train, seed=recipe.seed, device=device
        )
    return Diffusion(
        denoiser=model.denoiser,
        conditioner=model.conditioner,
        codec=model.codec,
        dataset=dataset,
        settings=recipe.train,
        seed=recipe.seed,
        device=device,
        precision=choose_precision(recipe.train.precision, device),
        base=base,
        masked=recipe.masked,
        sizes=sizes,
    )


def _start(model: Model, dataset: Dataset, init: dict[str, Tensor] | None) -> None:
    """Weights from `train.init`, or the codec's statistics from the training media."""
    if init is not None:
        model.start_from(init, f"train.init ({model.recipe.train.init})")
        return
    indices, _ = dataset.split()
    stride = max(len(indices) // FIT_ITEMS, 1)
    model.codec.fit(_readable(dataset, list(indices)[::stride][:FIT_ITEMS]))


def _readable(dataset: Dataset, indices: Sequence[int]) -> Iterator[Any]:
    for index in indices:
        try:
            yield dataset[index]["media"]
        except MediaError:  # training names it when it meets it
            continue
