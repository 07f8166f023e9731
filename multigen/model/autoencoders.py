"""VAEs of trained models, as the codec `kl_vae` is given them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from multigen import registry
from multigen.codecs.trained_vae import INCLUDED, Layout, VAEWeights
from multigen.errors import RecipeError
from multigen.model.source import find, find_recipe
from multigen.recipe.schema import Recipe
from multigen.storage import diffusers_folder

CODEC = "kl_vae"


def load_vae(source: str) -> VAEWeights:
    """Load a VAE from a weights file or run folder. RecipeError if there is none."""
    path = Path(source).expanduser()
    if not path.exists():
        raise RecipeError(
            f"codec.weights: {source!r}: there is no such file or folder. Allowed: the run folder of a training of a "
            "VAE (recipe vae_folder), a weights file that holds one, or null to train one. A model of its latents "
            "carries it in its own file: RUN/weights.safetensors."
        )
    found = find(path)
    tensors = found.tensors_of("codec.network")
    recipe = found.recipe
    if not tensors or recipe.codec.name != CODEC:
        raise RecipeError(
            f"codec.weights: {found.where} holds no VAE: the codec of its recipe, {recipe.name}, is "
            f"{recipe.codec.name}. Allowed: a model that the recipe vae_folder trained, or one like it."
        )
    modality = registry.build("modality", recipe.modality, where="modality")
    shape = modality.shape()
    rate = modality.shape(duration=1.0)[1] if len(shape) == 2 else None
    return VAEWeights(tensors, layout_of(recipe), shape[0], len(shape) - 1, rate, str(found.where))


def size_multiple(recipe: Recipe) -> int:
    """What divides width and height of what a model makes: a VAE's factor, or that of unshuffled pixels."""
    codec = recipe.codec
    if codec.name == CODEC:
        return layout_of(recipe).factor
    if codec.name == "vae":
        folder = diffusers_folder.located(codec.args.get("path"), codec.args.get("config"))
        factor = diffusers_folder.vae_factor(folder)
        return factor * codec.args.get("multiple", 1)
    found = codec.args.get("unshuffle", 1)
    return found if isinstance(found, int) else 1


def layout_of(recipe: Recipe) -> Layout:
    """The layout of the VAE of a recipe. RecipeError for one that takes it from elsewhere, and that is gone."""
    args = recipe.codec.args
    source = args.get("weights")
    if source not in (None, INCLUDED):
        return layout_of(find_recipe(str(source)))
    known = {f.name for f in dataclasses.fields(Layout)}
    given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in args.items() if k in known}
    return Layout(**given)
