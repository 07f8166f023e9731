"""Whether a recipe's parts work together, found out before any work: no data are read, no weights are made."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch

from multigen import registry
from multigen.cascades import Link
from multigen.codecs import Codec
from multigen.codecs.kl_vae import KLVAE
from multigen.codecs.pixels import Pixels
from multigen.core.conditioning import Cond, CondSpec
from multigen.core.denoiser import Denoiser
from multigen.errors import RecipeError, errors_at, message
from multigen.generation.guidance import check_guidance
from multigen.model.autoencoders import load_vae
from multigen.model.vocoders import load_vocoder
from multigen.recipe.schema import Recipe
from multigen.registry import Part
from multigen.training import sizes as training_sizes
from multigen.training.autoencoding import build_reconstruction
from multigen.training.coding import build_critic


def check_combination(recipe: Recipe) -> None:
    """RecipeError if the parts cannot work together. Builds what is cheap: no data, no weights."""
    modality, codec, shape = _media(recipe)
    sizes = training_sizes.sizes(recipe.train, modality, codec, recipe.seed)
    _learns(recipe, codec, modality)
    if recipe.trains == "codec":
        build_cascade(recipe, modality, codec)
        return
    network, conditioner, spec = _network(
        recipe, shape, modality, codec, build_cascade(recipe, modality, codec)
    )
    _adapts(recipe, network, conditioner)
    _keeps_prior(recipe, network)
    if sizes is not None:
        training_sizes.check_network(sizes, codec, network, spec)
    schedule = registry.build("schedule", recipe.schedule, where="schedule")
    prediction = registry.build("prediction", recipe.prediction, where="prediction")
    denoiser = Denoiser(network, schedule, prediction)
    check_guidance(recipe, denoiser)
    _trains(recipe, denoiser)


def _media(recipe: Recipe) -> tuple[Any, Any, tuple[int, ...]]:
    """The modality, the codec, and the shape [C, *D] of model space."""
    modality, sample = registry.build("modality", recipe.modality, where="modality"), recipe.sample
    with errors_at("modality", RecipeError):
        natural = modality.shape()
    if recipe.makes != recipe.modality.name:  # what motion modules make is checked with them in the network
        sample = dataclasses.replace(sample, duration=None, suffix=None)
    with errors_at("sample", RecipeError):
        modality.shape(sample.size, sample.duration)
    if sample.suffix is not None and sample.suffix not in modality.writes:
        raise RecipeError(message("sample.suffix", sample.suffix, modality.writes))
    given = {"modality": modality, "load_vocoder": load_vocoder, "load_vae": load_vae}
    codec = registry.build("codec", recipe.codec, where="codec", given=given)
    with errors_at(f"codec ({recipe.codec.name}) and modality ({recipe.modality.name})", RecipeError):
        return modality, codec, codec.shape(natural)


def _trains(recipe: Recipe, denoiser: Denoiser) -> None:
    """The noise level and the objective."""
    level = registry.build("noise_level", recipe.train.noise_level, where="train.noise_level")
    with errors_at(
        f"train.noise_level ({recipe.train.noise_level.name}) and schedule ({recipe.schedule.name})",
        RecipeError,
    ):
        t = level(denoiser.schedule, torch.full((1,), 0.5, dtype=torch.float64))
    objective = registry.build("objective", recipe.train.objective, where="train.objective")
    with errors_at(f"train.objective ({recipe.train.objective.name})", RecipeError):
        objective(denoiser, t)


def cond_spec(recipe: Recipe, spec: CondSpec, codec: Codec, channels: int, cascade: Link | None) -> CondSpec:
    """Widths of all that the network is conditioned on, for samples of `channels`.

    That is what the conditioner gives; if `masked`, a view of what is known (`core.masks`); and what a cascade shows of
    the stage before.
    """
    more = (codec.mask_width + channels if recipe.masked else 0) + (0 if cascade is None else cascade.width)
    return dataclasses.replace(spec, grid=spec.grid + more, shown=more)


def with_channels(
    recipe: Recipe, spec: CondSpec, codec: Codec, cond: Cond, shape: Sequence[int], cascade: Link | None
) -> Cond:
    """A condition with all channels that the network takes, for samples of `shape` [C, *D]; those it lacks are zero.

    spec  of the conditioner
    """
    wanted, rows = cond_spec(recipe, spec, codec, shape[0], cascade).grid, cond.batch_size or 1
    given = 0 if cond.grid is None else cond.grid.shape[1]
    if wanted == given:
        return cond
    device = next((p.device for p in (cond.vector, cond.tokens, cond.grid) if p is not None), None)
    return cond.join_grid(torch.zeros(rows, wanted - given, *shape[1:], device=device))


def build_cascade(recipe: Recipe, modality: Any, codec: Any) -> Link | None:
    """How the network sees the stage before it; None where it is the first."""
    if recipe.cascade is None:
        return None
    if recipe.trains == "codec":
        raise RecipeError("cascade: a recipe that trains its codec has no stage before it; leave it null")
    given = {"modality": modality, "codec": codec}
    return registry.build("cascade", recipe.cascade, where="cascade", given=given)


def _learns(recipe: Recipe, codec: Any, modality: Any) -> None:
    """A recipe trains a backbone or its codec, one of them."""
    is_vae = isinstance(codec, KLVAE)
    if recipe.trains == "codec" and not codec.learns:
        raise RecipeError(
            "backbone: missing. Every recipe needs this part, but for one whose codec learns "
            "(codec.vocoder=neural, or codec.name=kl_vae with codec.weights=null)."
        )
    if recipe.trains == "denoiser" and codec.learns:
        raise RecipeError(
            f"codec ({recipe.codec.name}): it learns in a recipe of its own, without a backbone (as "
            f"{'vae_folder' if is_vae else 'vocoder_music'}); here name its trained weights"
            + (": codec.weights=runs/vae_folder" if is_vae else "")
        )
    if recipe.trains == "denoiser" and recipe.train.critic is not None:
        if recipe.train.distill is None:
            raise RecipeError(
                "train.critic: only a codec that learns and a student (train.distill) play against one; leave it null"
            )
        if not isinstance(codec, Pixels):
            raise RecipeError(
                f"train.critic: it judges media, which the codec {recipe.codec.name} makes without a gradient. Allowed "
                "beside train.distill: codec.name=pixels, or null"
            )
        build_critic(recipe.train.critic, modality)
    if recipe.trains == "codec" and recipe.train.distill is not None:
        raise RecipeError("train.distill: a codec has no teacher; leave it null")
    if recipe.train.reconstruction is not None and not (recipe.trains == "codec" and is_vae):
        raise RecipeError("train.reconstruction: only a VAE that learns takes it; leave it null")
    if recipe.trains == "codec" and recipe.train.critic is not None:
        build_critic(recipe.train.critic, modality)
    if recipe.trains == "codec" and is_vae:
        build_reconstruction(recipe.train.reconstruction, modality)
    if recipe.trains == "codec" and recipe.train.adapter is not None:
        raise RecipeError("train.adapter: only a backbone is adapted; leave it null")
    if recipe.trains == "codec" and recipe.train.prior is not None:
        raise RecipeError("train.prior: a codec makes no media; leave it null")
    if recipe.trains == "codec" and recipe.train.replay is not None and recipe.train.replay.data is None:
        raise RecipeError(
            "train.replay: a codec makes no media of its own; give the former data: train.replay.data={name: ...}"
        )


def _keeps_prior(recipe: Recipe, network: Any) -> None:
    """Media of a class come from a model that has learned already."""
    if recipe.train.prior is not None and recipe.train.init is None and not network.pretrained:
        raise RecipeError(
            "train.init: null is not allowed with train.prior, whose media the model itself makes before the training. "
            "Give what has learned: train.init=NAME (shipped weights, a file or a run folder)."
        )
    if recipe.train.replay is not None and recipe.train.init is None and not network.pretrained:
        raise RecipeError(
            "train.init: null is not allowed with train.replay, which keeps what a trained model knows. Give that: "
            "train.init=NAME (shipped weights, a file or a run folder)."
        )


def _adapts(recipe: Recipe, network: Any, conditioner: Any) -> None:
    """An adapter has layers to stand beside, and weights that something gives."""
    if recipe.train.adapter is None:
        return
    registry.build("adapter", recipe.train.adapter, where="train.adapter").check(network, conditioner)
    if recipe.train.init is None and not network.pretrained:
        raise RecipeError(
            "train.init: null is not allowed with train.adapter, which learns beside the weights of a trained model. "
            "Give that: train.init=NAME (shipped weights, a file or a run folder)."
        )


def _network(
    recipe: Recipe, shape: tuple[int, ...], modality: Any, codec: Codec, cascade: Link | None
) -> tuple[Any, Any, CondSpec]:
    """The backbone on the meta device, the conditioner, and widths of the condition.

    The prompts are tried where the classes are known.
    """
    part = recipe.conditioner
    takes_classes = "classes" in {a.name for a in registry.arguments("conditioner", part.name, "conditioner")}
    unknown = takes_classes and part.args.get("classes") is None
    if unknown:
        part = Part(part.name, {**part.args, "classes": ["?"]})
    given: dict[str, Any] = {"modality": modality}
    conditioner = registry.build("conditioner", part, where="conditioner", given=given)
    unheard = cascade is not None and conditioner.spec == CondSpec()  # prompts are for the stages before
    if not unknown and not unheard:
        with errors_at("sample.prompts", RecipeError):
            conditioner.from_prompts(recipe.sample.prompts)
    spec = cond_spec(recipe, conditioner.spec, codec, shape[0], cascade)
    given |= {"axes": len(shape) - 1, "channels": shape[0], "out_channels": shape[0], "cond": spec}
    with torch.device("meta"):
        network = registry.build("backbone", recipe.network, where="backbone", given=given)
    return network, conditioner, spec
