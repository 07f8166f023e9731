"""The parts of a model that generating needs, and what they make of prompts and media."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

import torch
from torch import Tensor

from multigen.cascades import Link
from multigen.codecs import Codec
from multigen.conditioners import Conditioner
from multigen.conditioners.knowledge import Knowledge, Verdict
from multigen.core.circles import OPEN, Closed
from multigen.core.conditioning import Cond, CondSpec
from multigen.core.denoiser import Denoiser
from multigen.errors import errors_at
from multigen.generation.circles import decode_circle
from multigen.generation.nearness import Nearness
from multigen.modalities import Modality
from multigen.modalities.media import Media
from multigen.recipe.schema import Recipe
from multigen.safety.guard import Guard

_NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})


class ModelParts(Protocol):
    """What `plan` and the batcher know of a model."""

    recipe: Recipe
    device: torch.device
    modality: Modality
    codec: Codec
    conditioner: Conditioner
    knowledge: Knowledge | None  # what the weights were told
    load_denoiser: Callable[[str], Denoiser]  # from a run folder, a weights file or a shipped name
    cascade: Link | None  # how it sees the stage before it; None where it is the first
    measured: Mapping[str, Any]  # of its weights, by what was measured
    pictures: tuple[Tensor | None, ...]  # of its adapters, [3, H, W]; None: requests give theirs
    guard: Guard  # the filters of its prompts and media
    nearness: Nearness | None  # what watches for copies of training items

    @property
    def denoiser(self) -> Denoiser:
        """MultigenError if the recipe trains a codec and has none."""
        ...

    @property
    def former(self) -> ModelParts | None:
        """The stage before it, of a cascade that names one."""
        ...

    def known_hash(self) -> str:
        """The hash of its weights, computed once."""
        ...

    def judge(self, prompt: str) -> Verdict | None:
        """How new a prompt is to the model; None where that is unknown."""
        ...


def check_prompt(parts: ModelParts, prompt: str) -> None:
    """MultigenError if the conditioner cannot take the prompt."""
    with errors_at("prompt"):
        parts.conditioner.from_prompts(_heard(parts, [prompt]))


def warn_of_novelty(parts: ModelParts, prompt: str) -> None:
    """Warn, once for each prompt, of one that is unlike all that the model was trained on."""
    verdict = parts.judge(prompt)
    if verdict is None or not verdict.is_new:
        return
    name, about = parts.recipe.name, parts.knowledge.about if parts.knowledge else ""
    new = f", new words: {', '.join(verdict.new_words)}" if verdict.new_words else ""
    shown = f"{name} knows {about}; nearest" if about else f"{name} knows, as nearest"
    warnings.warn(
        f"{prompt!r} is unlike what {name} was trained on (novelty {verdict.novelty:.2f}{new}), so what comes out may "
        f"show nothing. {shown}: {', '.join(verdict.nearest)}",
        stacklevel=2,
    )


@torch.no_grad()
def encode_prompts(
    parts: ModelParts,
    *prompts: str,
    media: tuple[int, ...] | None = None,
    size: Sequence[int] | None = None,
    options: Mapping[str, Any] = _NO_OPTIONS,
    made: Tensor | None = None,
) -> Cond:
    """The condition of a batch of prompts. MultigenError if the conditioner cannot take one.

    media, size  shape [C, *D] of what is made, and its places in model space; those of the model's own size
    options      values of what the model declares; those that are missing are the declared ones
    made         bool [*size], where an edit makes the medium anew; None: it is made whole
    """
    media = parts.modality.shape() if media is None else media
    size = parts.codec.shape(media)[1:] if size is None else size
    declared = parts.conditioner.declares(parts.recipe.conditioner.args)
    own = {option.name: options.get(option.name, option.default) for option in declared}
    with errors_at("prompt"):
        heard = parts.conditioner.asked(_heard(parts, prompts), own)
        return parts.conditioner.beside(heard, media, size, made).to(parts.device)


def _heard(parts: ModelParts, prompts: Sequence[str]) -> Sequence[str]:
    """The prompts as a model's own network hears them: a stage without a condition leaves them to those before it."""
    alone = parts.cascade is None or parts.conditioner.spec != CondSpec()
    return prompts if alone else [""] * len(prompts)


def words(parts: ModelParts, prompt: str) -> list[str]:
    """The prompt as the tokens that the network attends to; empty where the conditioner has none."""
    return parts.conditioner.words(prompt)


@torch.no_grad()
def decode(parts: ModelParts, x: Tensor, prompt: str, seed: int, closed: Closed = OPEN) -> Media:
    """A sample [C, *D] of model space as a medium. What the codec draws, such as phases, is keyed by `seed`.

    closed  axes whose ends meet: the codec sees it go on there
    """
    codec = parts.codec
    media = decode_circle(codec, x, closed, seed) if closed else codec.decode(x[None], seed=seed)[0]
    return Media(media.float().cpu(), parts.modality, prompt, seed)
