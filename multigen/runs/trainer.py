"""The training of a recipe in this process: model, data, task and trainer put together."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch

from multigen.codecs.kl_vae import KLVAE
from multigen.datasets import Dataset, found_by
from multigen.device import choose_precision, describe
from multigen.errors import RecipeError
from multigen.modalities.media import Media
from multigen.model.build import build_dataset, check_captions, resolve
from multigen.model.compatibility import check_combination
from multigen.model.diffusers import check_training
from multigen.model.knowledge import write_knowledge
from multigen.model.model import Model
from multigen.model.source import base_weights
from multigen.model.stages import trained
from multigen.model.teacher import build_distillation
from multigen.model.tuned import adaptation, unfinish
from multigen.recipe.schema import Recipe
from multigen.runs import rerun, resume
from multigen.runs.duplicates import deduplicated
from multigen.runs.initial import freeze, initialize, readable
from multigen.runs.learner import model_of
from multigen.runs.previews import write_previews
from multigen.runs.prior import class_media
from multigen.runs.reconstructions import copies, enlargements, followed
from multigen.runs.replay import replayed, replays_itself
from multigen.runs.trained import write_trained
from multigen.storage.files import write_text
from multigen.training import boards, ranks
from multigen.training import log as training_log
from multigen.training import sizes as training_sizes
from multigen.training.adapting import Adaptation
from multigen.training.autoencoding import Autoencoding
from multigen.training.batch_size import find_batch
from multigen.training.captions import caption_summary
from multigen.training.checkpoint import Checkpoint
from multigen.training.coding import build_critic
from multigen.training.diffusion import Diffusion
from multigen.training.sharding import check_sharding
from multigen.training.sizes import Sizes
from multigen.training.task import Task
from multigen.training.trainer import Trainer
from multigen.training.vocoding import Vocoding

log = logging.getLogger(__name__)


def train_here(
    recipe: Recipe, folder: Path, state: Checkpoint | None, *, device: str | None, quiet: bool
) -> tuple[Recipe, dict[str, str]]:
    """Train from a checkpoint's state, or from the start; the resolved recipe, and the media that are unreadable."""
    check_combination(recipe)
    check_training(recipe)
    check_sharding(recipe)
    boards.check(recipe.train)
    adapter = _adapter(recipe)
    # A training that goes on needs its base where that stays, and where it makes media of its own.
    begins = state is None or recipe.train.prior is not None or replays_itself(recipe)
    init = base_weights(recipe) if begins or adapter is not None else None
    with ranks.in_turn():
        dataset = build_dataset(recipe)
    known = resolve(recipe, dataset)
    if known != recipe:  # the data named the classes: now the prompts can be checked too
        check_combination(known)
    recipe = known
    if (found := found_by(dataset)[0]) and ranks.first():
        log.info("%s: %s", recipe.name, found)
    check_captions(recipe, dataset)
    model = model_of(recipe, device)
    _announce(model, dataset, folder)
    dataset = deduplicated(recipe, dataset, model.modality, model.device, folder)
    base = None
    if adapter is not None:
        base = freeze(model, init, adapter)
    elif begins:
        initialize(model, dataset, init)
    _check_items(dataset, adapter)
    prior = class_media(model, folder)
    dataset = replayed(model, dataset, folder, adapter)
    if recipe.train.batch == "auto":
        model.recipe = _with_batch(model, dataset, Beside(adapter, base))
        recipe = dataclasses.replace(recipe, train=model.recipe.train)
    trainer = _build(model, dataset, folder, quiet, Beside(adapter, base, prior))
    trainer.unreadable.note(dataset.bad)
    _begin(trainer, recipe, state)
    trainer.run()
    write_trained(trainer, model, adapter, base)
    if ranks.first():
        samples = trainer.step * recipe.train.batch_size
        write_knowledge(folder, caption_summary(model.conditioner, dataset, recipe.seed, samples=samples))
    return recipe, trainer.unreadable.files


def _begin(trainer: Trainer, recipe: Recipe, state: Checkpoint | None) -> None:
    """Restore the state of a checkpoint, if there is one, and write the recipe and the log so far."""
    folder, rows = trainer.folder, []
    if state is not None:
        trainer.restore(state)
        resume.note_versions(state)
        rows = training_log.read(folder, until=trainer.step)
        log.info("continuing at step %d", trainer.step)
        if (rise := trainer.counters.rise(state.state)) is not None:
            log.warning("%s", rise)
    trainer.check_readable()
    ranks.same_step(trainer.step)  # nothing is written before all have read
    if not ranks.first():
        return
    rerun.write_recipe(folder, recipe)
    write_text(folder / training_log.FILE, "".join(f"{training_log.dumps(r)}\n" for r in rows))
    if state is not None:
        unfinish(folder)  # what it left is in the checkpoint, until training ends anew


def _announce(model: Model, dataset: Dataset, folder: Path) -> None:
    where = describe(model.device, _precision(model))
    facts = f"{model.facts['parameters']} parameters, model space {model.facts['model space']}"
    text = "%s: training on %s; %s; %d items; run folder %s"
    log.info(text, model.recipe.name, where, facts, len(dataset), folder)


def _adapter(recipe: Recipe) -> Adaptation | None:
    """The adapter that learns in place of the weights, if the recipe names one; RecipeError without its package."""
    part = recipe.train.adapter
    if part is None:
        return None
    adapter = adaptation(recipe)
    adapter.check_installed()
    return adapter


def _check_items(dataset: Dataset, adapter: Adaptation | None) -> None:
    """RecipeError if the data lack what an adapter learns from."""
    first = None if adapter is None else next(readable(dataset, dataset.split()[0]), None)
    lacks = [name for name in adapter.items if first is not None and name not in first] if adapter else []
    if lacks:
        raise RecipeError(
            f"train.adapter: it learns from pairs, and the data's items have no {lacks[0]!r}. Allowed: data.name=pairs "
            "data.path=./pictures data.controls=./edges"
        )


def _with_batch(model: Model, dataset: Dataset, beside: Beside) -> Recipe:
    """The recipe with the size of the batch that is found for it here; the run folder keeps it."""
    recipe = model.recipe
    sizes = training_sizes.sizes(recipe.train, model.modality, model.codec, recipe.seed)
    task = build_task(model, dataset, beside, sizes)
    size = find_batch(task, dataset, recipe.seed, model.device, sizes)
    return dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, batch=size))


def _precision(model: Model) -> torch.dtype | None:
    """The autocast dtype of the training. A vocoder computes sounds: in full precision."""
    wanted = model.recipe.train.precision
    if model.recipe.trains == "codec" and not isinstance(model.codec, KLVAE):
        return None
    # On CPUs a VAE, of few channels at large sizes, takes half as long again in bf16 (measured with AVX-512 BF16).
    if model.recipe.trains == "codec" and wanted == "auto" and model.device.type == "cpu":
        return None
    found = choose_precision(wanted, model.device)
    # `auto` measures: where one rank finds fp32 faster, all compute in it.
    return None if ranks.largest(float(found is None))[0] else found


class Beside(NamedTuple):
    """What a training has beside a model and its data.

    adapter  what learns in place of the weights; base: hashes of those
    prior    media of a class that the model has made
    """

    adapter: Adaptation | None = None
    base: Mapping[str, str] | None = None
    prior: Dataset | None = None


def _build(model: Model, dataset: Dataset, folder: Path, quiet: bool, beside: Beside) -> Trainer:
    recipe = model.recipe
    sizes = training_sizes.sizes(recipe.train, model.modality, model.codec, recipe.seed)
    return Trainer(
        task=build_task(model, dataset, beside, sizes),
        dataset=dataset,
        settings=recipe.train,
        seed=recipe.seed,
        folder=folder,
        device=model.device,
        sizes=sizes,
        # The ranks that share a network would have to make previews together.
        preview=None if recipe.launch.fsdp else lambda step: _preview(model, dataset, folder, step),
        origin=resume.origin(recipe),
        sharded=model.denoiser.backbone if recipe.launch.fsdp else None,
        quiet=quiet,
    )


def _preview(model: Model, dataset: Dataset, folder: Path, step: int) -> list[Media]:
    """Write what the model makes at this step: a picture of all, and each medium that sounds or moves."""
    recipe, prompts = model.recipe, model.recipe.sample.prompts
    if recipe.trains == "codec":
        made = list(copies(model, dataset, 4, recipe.seed))
    elif model.cascade is not None:
        made = list(enlargements(model, dataset, 4, recipe.seed))
    else:
        if recipe.train.adapter is not None:
            first = next(readable(dataset, dataset.split()[0]), None)
            model.denoiser.backbone.show(None if first is None else first.get("control"))
        made = list(followed(model, dataset, 4, recipe.seed))
        if not made:
            made = list(model.generate(prompts[:4], n=max(8 // max(len(prompts), 1), 1), seed=recipe.seed))
    write_previews(made, folder, step)
    return made


def build_task(
    model: Model, dataset: Dataset, beside: Beside | None = None, sizes: Sizes | None = None
) -> Task:
    """What the recipe trains: a denoiser, or its codec."""
    recipe, device, beside = model.recipe, model.device, beside or Beside()
    if recipe.trains == "codec":
        return _build_coding(model, dataset)
    if model.denoiser.backbone.begins:
        raise RecipeError(
            f"{recipe.name}: its network begins with a picture, and such networks are not trained"
        )
    return Diffusion(
        denoiser=model.denoiser,
        conditioner=model.conditioner,
        codec=model.codec,
        dataset=dataset,
        settings=recipe.train,
        seed=recipe.seed,
        device=device,
        precision=_precision(model),
        base=beside.base,
        masked=recipe.masked,
        cascade=trained(model.cascade),
        sizes=sizes,
        adapter=beside.adapter,
        prior=beside.prior,
        distilled=build_distillation(model),
        critic=None
        if recipe.train.critic is None
        else build_critic(recipe.train.critic, model.modality, recipe.seed),
    )


def _build_coding(model: Model, dataset: Dataset) -> Task:
    """The task of a recipe that trains its codec: a VAE, or a vocoder."""
    recipe = model.recipe
    if isinstance(model.codec, KLVAE):
        return Autoencoding(
            codec=model.codec,
            modality=model.modality,
            dataset=dataset,
            settings=recipe.train,
            seed=recipe.seed,
            device=model.device,
            precision=_precision(model),
        )
    return Vocoding(
        codec=model.codec,
        modality=model.modality,
        dataset=dataset,
        settings=recipe.train,
        seed=recipe.seed,
        device=model.device,
    )
