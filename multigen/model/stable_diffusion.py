"""A Stable Diffusion pipeline in diffusers' format as a recipe: its scheduler's configuration in multigen's words."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from multigen import registry
from multigen.errors import MultigenError, RecipeError, message
from multigen.recipe.load import load_recipe
from multigen.recipe.schema import Recipe
from multigen.registry import Part
from multigen.storage.diffusers_folder import (
    SCHEDULER,
    check_pipeline,
    component,
    entry,
    is_id,
    is_pipeline,
    located,
    read_json,
    vae_factor,
)

RECIPE = "image_stable_diffusion"
PREDICTIONS = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}
# The sampler that a scheduler's class is; `ddim` for others.
SAMPLERS = {
    "DPMSolverMultistepScheduler": "dpmpp_2m",
    "EulerDiscreteScheduler": "euler",
    "EulerAncestralDiscreteScheduler": "euler_ancestral",
    "HeunDiscreteScheduler": "heun",
    "DDPMScheduler": "ddpm",
    "UniPCMultistepScheduler": "unipc",
}
# Schedulers that take their steps from the table, `leading` unless they say otherwise; the rest are `linspace`.
LEADING = ("DDIMScheduler", "DDPMScheduler", "PNDMScheduler")


def is_source(source: str) -> bool:
    """Whether a Stable Diffusion pipeline is meant: a folder in diffusers' format, or an id on the hub."""
    return is_id(source) or is_pipeline(Path(source).expanduser())


def recipe_of(source: str) -> Recipe:
    """The recipe of a pipeline: the shipped one with this folder's parts, sizes and scheduler.

    MultigenError, with what is allowed, for a folder of another pipeline or with code or pickles in it.
    """
    folder = located(source)
    check_pipeline(folder)
    base = load_recipe(RECIPE)
    config = read_json(folder / SCHEDULER / "scheduler_config.json")
    where = f"{folder / SCHEDULER}"
    return dataclasses.replace(
        base,
        name=_name(source),
        description=f"Stable Diffusion from {source}",
        backbone=Part("diffusers", {"path": source}),
        codec=Part("vae", {"path": source}),
        conditioner=Part("clip", {"path": source}),
        modality=Part("image", {"size": _size(folder)}),
        schedule=schedule(config, where),
        prediction=prediction(config, where),
        timesteps=timesteps(config),
        sampler=Part(SAMPLERS.get(str(config.get("_class_name")), "ddim")),
        weights=source,
    )


def checked(recipe: Recipe, source: str) -> Recipe:
    """The recipe, whose `weights` are a pipeline. RecipeError where its parts are not that pipeline's."""
    theirs = recipe_of(source)
    for place in ("backbone", "codec", "conditioner"):
        part, own = getattr(recipe, place), getattr(theirs, place)
        path = None if part is None else part.args.get("path")
        if (
            part is None
            or part.name != own.name
            or not isinstance(path, str)
            or located(path) != located(source)
        ):
            given = "null" if part is None else f"{part.name} of {path}"
            raise RecipeError(
                f"{place}: {given} does not go with weights {source}. Allowed: name={own.name} path={source}. "
                "To train another: weights=null"
            )
    if recipe.prediction.name != theirs.prediction.name:
        given, right = recipe.prediction.name, theirs.prediction.name
        raise RecipeError(
            f"prediction: {given!r} is not what {source} was trained with: prediction.name={right}"
        )
    ts = torch.linspace(0.001, 1, 100, dtype=torch.float64)
    mine, own = (registry.build("schedule", r.schedule, where="schedule") for r in (recipe, theirs))
    if mine.shift == 1 and not torch.allclose(mine.log_snr(ts), own.log_snr(ts), rtol=0, atol=1e-3):
        said = ", ".join(f"{k}={v}" for k, v in theirs.schedule.args.items() if k != "alphas_cumprod")
        raise RecipeError(
            f"schedule: not what {source} was trained with: schedule.name={theirs.schedule.name} {said}".rstrip()
        )
    return recipe


# --- the scheduler's configuration ------------------------------------------------------------------------------


def schedule(config: Mapping[str, Any], where: str = SCHEDULER) -> Part:
    """The table of betas; of `trained_betas` the products themselves."""
    zero = {"zero_terminal_snr": True} if config.get("rescale_betas_zero_snr") else {}
    betas = config.get("trained_betas")
    if betas is not None:
        if not isinstance(betas, list) or not all(isinstance(b, int | float) for b in betas):
            raise MultigenError(f"{where}: trained_betas is no list of numbers")
        products = torch.cumprod(1 - torch.tensor(betas, dtype=torch.float64), 0)
        return Part("discrete", {"alphas_cumprod": products.tolist(), **zero})
    name = config.get("beta_schedule", "linear")
    if name not in ("linear", "scaled_linear"):
        raise MultigenError(
            message(f"{where}: beta_schedule", name, ["linear", "scaled_linear"], "Or trained_betas.")
        )
    args = {
        "beta_start": config.get("beta_start", 0.0001),
        "beta_end": config.get("beta_end", 0.02),
        "steps": config.get("num_train_timesteps", 1000),
    }
    return Part(name, {**args, **zero})


def prediction(config: Mapping[str, Any], where: str = SCHEDULER) -> Part:
    """What the network outputs."""
    given = config.get("prediction_type", "epsilon")
    if given not in PREDICTIONS:
        raise MultigenError(message(f"{where}: prediction_type", given, PREDICTIONS))
    return Part(PREDICTIONS[given])


def timesteps(config: Mapping[str, Any]) -> Part:
    """The grid. `leading` begins at index 1, to which the pipeline sets every `steps_offset`.

    `linspace`, whose indices are within one of `trailing`'s, becomes that.
    """
    kind = str(config.get("_class_name"))
    if config.get("use_karras_sigmas"):
        return Part("karras")
    if config.get("timestep_spacing", "leading" if kind in LEADING else "linspace") != "leading":
        return Part("trailing")
    to_zero = config.get("set_alpha_to_one", kind != "PNDMScheduler")
    if config.get("final_sigmas_type") == "sigma_min":
        to_zero = False
    return Part("leading", {"offset": 1, "to_zero": to_zero})


def _size(folder: Path) -> list[int] | int:
    """Side, or height and width, in pixels: what the U-Net was trained on."""
    unet = component(folder, "unet")
    sample = entry(unet, folder / "unet", "sample_size", int | tuple[int, int] | None, None) or 64
    factor = vae_factor(folder)
    return sample * factor if isinstance(sample, int) else [side * factor for side in sample]


def _name(source: str) -> str:
    """A recipe's name, which is that of its run folder, from a folder's or a model's."""
    text = re.sub(r"[^\w.-]", "_", Path(source).expanduser().resolve().name)
    return text[:100] if re.match(r"[^\W_]", text) else RECIPE
