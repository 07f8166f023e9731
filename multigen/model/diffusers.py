"""A pipeline in diffusers' format as a recipe: what its folder says, in multigen's words."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from multigen import registry
from multigen.backbones.diffusers import lone_folder
from multigen.errors import RecipeError
from multigen.families import Family, Scheduler, open_family, read_scheduler
from multigen.families.schedulers import Pipeline
from multigen.recipe.load import load_recipe
from multigen.recipe.schema import Recipe
from multigen.registry import Part
from multigen.storage.diffusers_folder import is_id, is_single_file, located
from multigen.storage.hub_id import PREFIX
from multigen.storage.pipeline_place import is_pipeline

log = logging.getLogger(__name__)

RECIPE, MOTION = "image_stable_diffusion", "motion_adapter"


def is_source(source: str) -> bool:
    """Whether a pipeline of diffusers is meant: a folder in its format, a single file, or an id on the hub."""
    path = Path(source).expanduser()
    return is_id(source) or is_pipeline(path) or is_single_file(path)


def recipe_of(source: str, config: str | None = None, motion: str | None = None) -> Recipe:
    """The recipe of a pipeline: the shipped one with this folder's parts, sizes and scheduler.

    config  of a single file: a folder in diffusers' format that says what the file does not
    motion  folder of motion modules, with which a pipeline of pictures makes videos

    MultigenError, with what is allowed, for a folder of another pipeline or with code or pickles in it.
    """
    family = open_family(located(source, config), lone_folder(motion))
    more = {} if config is None else {"config": config}
    moves = {} if motion is None else {"motion": motion}
    family.form()
    base, found = load_recipe(RECIPE), scheduler_of(family)
    conditioner, prompts = _conditioner(family, source, base.sample.prompts)
    return dataclasses.replace(
        base,
        name=_name(source),
        description=f"{family.title} from {source}",
        backbone=Part("diffusers", {"path": source, **more, **moves}),
        codec=_with(family.codec(source), more),
        conditioner=_with(conditioner, more),
        modality=Part(family.modality, family.media()),
        schedule=found.schedule,
        prediction=found.prediction,
        timesteps=found.timesteps,
        sampler=found.sampler,
        guide=family.guide,
        modifiers=found.modifiers,
        masked=family.masked,
        cascade=_cascade(family, source),
        stages=_stages(family, source),
        sample=dataclasses.replace(base.sample, steps=family.steps, prompts=prompts),
        weights=source,
    )


def animated(recipe: Recipe) -> Recipe:
    """The recipe with the motion adapter of its `adapters` in its network, which makes videos then.

    How it is sampled stays. RecipeError for several motion adapters, a weight, and a network that takes none.
    """
    motions = [one for one in recipe.adapters if one.name == MOTION]
    if not motions:
        return recipe
    (motion, *more), network = motions, recipe.network
    if more or motion.weight != 1 or motion.image is not None:
        raise RecipeError(
            f"adapters: {motion.path}: not allowed so. Allowed: one {{name: {MOTION}, path: FOLDER}}, without weight "
            "and image."
        )
    if network.name != "diffusers":
        raise RecipeError(f"adapters: {motion.path}: a {MOTION} goes with a pipeline of Stable Diffusion 1.x")
    moving = recipe_of(str(network.args.get("path")), _config(network), motion.path)
    others = tuple(one for one in recipe.adapters if one.name != MOTION)
    plain = recipe_of(str(network.args.get("path")), _config(network))
    parts: dict[str, Any] = {"schedule": moving.schedule}
    size = recipe.modality.args.get("size")
    if size != plain.modality.args.get("size"):
        parts["modality"] = Part(moving.modality.name, {**moving.modality.args, "size": size})
    else:
        parts["modality"] = moving.modality
    if recipe.modifiers == plain.modifiers:
        parts["modifiers"] = moving.modifiers
    for place in ("codec", "backbone"):
        parts[place] = _kept(getattr(recipe, place), getattr(plain, place), getattr(moving, place))
    return dataclasses.replace(recipe, adapters=others, **parts)


def still(recipe: Recipe) -> Recipe:
    """The recipe of the network of pictures that a motion adapter moves, which is what a training teaches."""
    if recipe.makes == recipe.modality.name:
        return recipe
    pictures = tuple(one for one in recipe.adapters if one.name != MOTION)
    sample = dataclasses.replace(recipe.sample, duration=None, suffix=None)
    return dataclasses.replace(recipe, adapters=pictures, sample=sample)


def _kept(given: Part, usual: Part, new: Part) -> Part:
    """A new part, with the arguments in which the given one differs from the usual."""
    own = {name: value for name, value in given.args.items() if usual.args.get(name) != value}
    return Part(new.name, {**new.args, **own})


def _with(part: Part, more: Mapping[str, str]) -> Part:
    """A part, told of the folder too where its files are the pipeline's."""
    return Part(part.name, {**part.args, **more}) if "path" in part.args else part


def _conditioner(family: Family, source: str, usual: tuple[str, ...]) -> tuple[Part, tuple[str, ...]]:
    """What the family follows, and prompts for it."""
    if family.streams:
        return Part("diffusers", {"path": source}), usual
    if family.numbers:
        return Part("diffusers", {"path": source}), ("",)
    if family.classes:
        return Part("class_index", {"classes": family.classes}), ("0",)
    return Part("none"), ("",)


def _stages(family: Family, source: str) -> tuple[str, ...]:
    """The networks of its folder that come before it; of a stage itself, those beside it."""
    if not family.stages:
        return ()
    whole = source.rstrip("/")
    if not is_id(source):
        whole = str(Path(source).expanduser().resolve())
    if located(source) != family.folder:
        whole = whole.rpartition("/")[0]
    return tuple(f"{whole}/{stage}" for stage in family.stages)


def _cascade(family: Family, source: str) -> Part | None:
    """How the family takes what the stage before made."""
    part = family.cascade
    return Part(part.name, {"path": source}) if part is not None and part.name == "embedding" else part


def scheduler_of(family: Family) -> Scheduler:
    """What the scheduler of a family's folder says."""
    pipeline = Pipeline(family.own_sigmas, family.patch, family.scheduler_folder)
    found = read_scheduler(family.folder, family.scheduler, pipeline)
    return found if family.grid is None else found._replace(timesteps=family.grid)


def checked(recipe: Recipe, source: str) -> Recipe:
    """The recipe, whose `weights` are a pipeline. RecipeError where its parts are not that pipeline's."""
    theirs = recipe_of(source, _config(recipe.network), recipe.network.args.get("motion"))
    grid = ", ".join(
        [f"name: {theirs.timesteps.name}", *(f"{k}: {v}" for k, v in theirs.timesteps.args.items())]
    )
    rest = f" timesteps={{{grid}}} guide.name={theirs.guide.name}"
    for place in ("backbone", "codec", "conditioner"):
        part, own = getattr(recipe, place), getattr(theirs, place)
        if part is None or not _same(place, part, own):
            given = "null" if part is None else f"{part.name} of {part.args.get('path')}"
            right = " ".join([f"name={own.name}", *(f"{k}={v}" for k, v in own.args.items())])
            raise RecipeError(
                f"{place}: {given} does not go with weights {source}. Allowed: {right}. "
                "To train another: weights=null"
            )
    if recipe.masked != theirs.masked:
        raise RecipeError(f"masked: not what {source} was trained with: masked={str(theirs.masked).lower()}")
    if recipe.prediction.name != theirs.prediction.name:
        given, right = recipe.prediction.name, theirs.prediction.name
        raise RecipeError(
            f"prediction: {given!r} is not what {source} was trained with: prediction.name={right}" + rest
        )
    ts = torch.linspace(0.001, 1, 100, dtype=torch.float64)
    mine, own = (registry.build("schedule", r.schedule, where="schedule") for r in (recipe, theirs))
    near = mine.family == own.family and (
        own.family == "flow" or torch.allclose(mine.log_snr(ts), own.log_snr(ts), rtol=0, atol=1e-3)
    )
    if mine.shift == 1 and not near:
        said = ", ".join(f"{k}: {v}" for k, v in theirs.schedule.args.items() if k != "alphas_cumprod")
        raise RecipeError(
            f"schedule: not what {source} was trained with: schedule={{name: {theirs.schedule.name}, {said}}}{rest}"
        )
    return recipe


def check_training(recipe: Recipe) -> None:
    """Warn where the network of a pipeline is to learn otherwise than it has: it would have to learn anew.

    RecipeError where it stays as it is, beside an adapter.
    """
    source = None if recipe.trains == "codec" else recipe.network.args.get("path")
    if recipe.trains == "codec" or recipe.network.name != "diffusers" or not isinstance(source, str):
        return
    try:
        checked(recipe, source)
    except RecipeError as error:
        if recipe.train.adapter is not None:
            raise
        log.warning("%s. It is trained so all the same.", error)


def _same(place: str, part: Part, own: Part) -> bool:
    """Whether two parts are one thing, their paths one folder."""
    if registry.lookup(place, part.name) is not registry.lookup(place, own.name):
        return False
    path, there = part.args.get("path"), own.args.get("path")
    return path == there or (
        isinstance(path, str)
        and isinstance(there, str)
        and located(path, _config(part)) == located(there, _config(own))
    )


def _config(part: Part) -> str | None:
    """The folder that says what the single file of a part does not."""
    found = part.args.get("config")
    return found if isinstance(found, str) else None


def _name(source: str) -> str:
    """A recipe's name, which is that of its run folder, from a folder's or a model's."""
    path = Path(source.removeprefix(PREFIX)) if is_id(source) else Path(source).expanduser().resolve()
    text = re.sub(r"[^\w.-]", "_", path.name.removesuffix(".safetensors"))
    return text[:100] if re.match(r"[^\W_]", text) else RECIPE
