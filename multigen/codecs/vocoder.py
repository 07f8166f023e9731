"""Vocoders: mel spectrograms to sound. Which one, by name or from trained weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from multigen.codecs.griffin_lim import GriffinLim
from multigen.codecs.neural_vocoder import NeuralVocoder
from multigen.errors import RecipeError, message

GRIFFIN_LIM, NEURAL = "griffin_lim", "neural"
# Arguments of the mel codec that a vocoder hears; they must be those of its training.
HEARD = ("rate", "fft", "hop", "bins", "components", "low", "high", "floor")
_PREFIX = "codec.vocoder."


class Vocoder(Protocol):
    """Mel magnitudes to sound."""

    def __call__(self, mel: Tensor, *, seeds: Sequence[int]) -> Tensor:
        """[B, bins, frames] of linear mel magnitudes >= 0 -> [B, 1, frames * hop]; row k is keyed by seeds[k]."""
        ...


def vocoder(
    source: str, filters: Tensor, heard: Mapping[str, Any], *, iterations: int, width: int, blocks: int
) -> GriffinLim | NeuralVocoder:
    """ "griffin_lim", "neural" (to be trained), or a trained one from weights by shipped name, file or run folder.

    `heard` are the codec's settings of the names HEARD. RecipeError if there are no such weights, or if they were
    trained on other settings.
    """
    fft, hop, floor = heard["fft"], heard["hop"], heard["floor"]
    if source == GRIFFIN_LIM:
        return GriffinLim(filters, fft=fft, hop=hop, iterations=iterations)
    if source == NEURAL:
        return NeuralVocoder(filters, fft=fft, hop=hop, floor=floor, width=width, blocks=blocks)
    return _trained(source, filters, heard)


def _trained(source: str, filters: Tensor, heard: Mapping[str, Any]) -> NeuralVocoder:
    from multigen import registry  # they import codecs
    from multigen.model import source as loading
    from multigen.recipe.paths import shipped_weights

    shipped = {name: path for name, path in shipped_weights().items() if name.startswith("vocoder")}
    path = shipped.get(source) or Path(source).expanduser()
    if not path.exists():
        hint = "Or weights of a vocoder: a file or a run folder."
        raise RecipeError(message("codec.vocoder", source, [GRIFFIN_LIM, NEURAL, *shipped], hint=hint))
    recipe, tensors, where, *_ = loading.find(path)
    tensors = {k.removeprefix(_PREFIX): v for k, v in (tensors or {}).items() if k.startswith(_PREFIX)}
    if not tensors:
        raise RecipeError(f"codec.vocoder: {where} holds no vocoder: its recipe, {recipe.name}, trains none")
    defaults = {a.name: a.default for a in registry.arguments("codec", recipe.codec.name)}
    args = {**defaults, **recipe.codec.args, "rate": recipe.modality.args.get("rate")}
    rate = registry.build("modality", recipe.modality, where="modality").shape(duration=1.0)[1]
    args |= {"rate": rate, "high": rate / 2 if args["high"] is None else args["high"]}
    rows = [f"{k}: {args[k]} there, {heard[k]} here" for k in HEARD if args[k] != heard[k]]
    if rows:
        raise RecipeError(
            f"codec.vocoder: {where} was trained on other mel spectrograms ({'; '.join(rows)}). Make these equal, or "
            f"take codec.vocoder={GRIFFIN_LIM}"
        )
    found = NeuralVocoder(
        filters,
        fft=heard["fft"],
        hop=heard["hop"],
        floor=heard["floor"],
        width=args["width"],
        blocks=args["blocks"],
    )
    found.load_state_dict(tensors)
    return found.eval().requires_grad_(False)


def hide(codec: nn.Module) -> None:
    """A vocoder that was trained elsewhere is no part of what `codec` saves and loads."""

    def drop(module: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
        for key in [k for k in state if k.startswith(f"{prefix}vocoder.")]:
            del state[key]

    def keep(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
        own = module.get_submodule("vocoder").state_dict()
        state.update({f"{prefix}vocoder.{k}": v for k, v in own.items()})

    codec.register_state_dict_post_hook(drop)
    codec.register_load_state_dict_pre_hook(keep)
