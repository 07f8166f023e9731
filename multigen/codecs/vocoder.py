"""Vocoders turn mel spectrograms into sound: Griffin-Lim, a network to be trained, or trained weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from torch import Tensor, nn

from multigen.codecs.griffin_lim import GriffinLim
from multigen.codecs.mel_settings import MelSettings
from multigen.codecs.neural_vocoder import NeuralVocoder
from multigen.errors import RecipeError, message

GRIFFIN_LIM, NEURAL = "griffin_lim", "neural"
UNTRAINED = (GRIFFIN_LIM, NEURAL)


class Vocoder(Protocol):
    """Mel magnitudes to sound."""

    def __call__(self, mel: Tensor, *, seeds: Sequence[int]) -> Tensor:
        """[B, bins, T] linear mel magnitudes >= 0 -> [B, 1, T * hop]. Row k is keyed by seeds[k]."""
        ...


@dataclass(frozen=True)
class VocoderWeights:
    """A trained neural vocoder, as the codec is given it.

    tensors   the state of a `NeuralVocoder`
    settings  of the mel spectrograms that it was trained on
    width     of its network
    blocks    of its network
    where     what error messages call it
    """

    tensors: Mapping[str, Tensor]
    settings: MelSettings
    width: int
    blocks: int
    where: str


# Loads weights by shipped name, file or run folder. RecipeError if there are none.
LoadVocoder: TypeAlias = Callable[[str], VocoderWeights]


def no_weights(source: str) -> VocoderWeights:
    """Refuse every source: the loader of a codec that is built without one."""
    raise RecipeError(message("codec.vocoder", source, UNTRAINED))


def build_vocoder(
    source: str,
    settings: MelSettings,
    filters: Tensor,
    load: LoadVocoder,
    *,
    iterations: int,
    width: int,
    blocks: int,
) -> GriffinLim | NeuralVocoder:
    """Build the vocoder of a codec.

    source         griffin_lim, neural (to be trained), or weights that `load` finds
    filters        [fft // 2 + 1, bins], scaled as the codec scales its magnitudes
    iterations     of Griffin-Lim
    width, blocks  of a neural vocoder to be trained

    RecipeError if there are no such weights, or if they were trained on other mel settings.
    """
    fft, hop, floor = settings.fft, settings.hop, settings.floor
    if source == GRIFFIN_LIM:
        return GriffinLim(filters, fft=fft, hop=hop, iterations=iterations)
    if source == NEURAL:
        return NeuralVocoder(filters, fft=fft, hop=hop, floor=floor, width=width, blocks=blocks)
    trained = load(source)
    if rows := settings.differences(trained.settings):
        raise RecipeError(
            f"codec.vocoder: {trained.where} was trained on other mel spectrograms ({'; '.join(rows)}). Make these "
            f"equal, or use codec.vocoder={GRIFFIN_LIM}"
        )
    width, blocks = trained.width, trained.blocks
    found = NeuralVocoder(filters, fft=fft, hop=hop, floor=floor, width=width, blocks=blocks)
    found.load_state_dict(dict(trained.tensors))
    return found.eval().requires_grad_(False)


def exclude_vocoder(codec: nn.Module) -> None:
    """Leave a vocoder that was trained elsewhere out of what `codec` saves and loads."""

    def drop(module: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
        for key in [k for k in state if k.startswith(f"{prefix}vocoder.")]:
            del state[key]

    def keep(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
        own = module.get_submodule("vocoder").state_dict()
        state.update({f"{prefix}vocoder.{k}": v for k, v in own.items()})

    codec.register_state_dict_post_hook(drop)
    codec.register_load_state_dict_pre_hook(keep)
