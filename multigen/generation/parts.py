"""The parts of a model that generating needs, and what they make of prompts and media."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from multigen.codecs import Codec
from multigen.conditioners import Conditioner
from multigen.core.conditioning import Cond
from multigen.core.denoiser import Denoiser
from multigen.errors import MultigenError, errors_at
from multigen.modalities import Modality
from multigen.modalities.guard import guarded
from multigen.modalities.media import Media
from multigen.recipe.schema import Recipe


class ModelParts(Protocol):
    """What `plan` and the batcher know of a model."""

    recipe: Recipe
    device: torch.device
    modality: Modality
    codec: Codec
    conditioner: Conditioner
    load_denoiser: Callable[[str], Denoiser]  # from a run folder, a weights file or a shipped name

    @property
    def denoiser(self) -> Denoiser:
        """MultigenError if the recipe trains a codec and has none."""
        ...


def check_prompt(parts: ModelParts, prompt: str) -> None:
    """MultigenError if the conditioner cannot take the prompt."""
    with errors_at("prompt"):
        parts.conditioner.from_prompts([prompt])


@torch.no_grad()
def encode_prompts(parts: ModelParts, *prompts: str) -> Cond:
    """The condition of a batch of prompts. MultigenError if the conditioner cannot take one."""
    with errors_at("prompt"):
        return parts.conditioner(parts.conditioner.from_prompts(prompts)).to(parts.device)


def words(parts: ModelParts, prompt: str) -> list[str]:
    """The prompt as the tokens that the network attends to; empty where the conditioner has none."""
    return parts.conditioner.words(prompt)


@torch.no_grad()
def decode(parts: ModelParts, x: Tensor, prompt: str, seed: int) -> Media:
    """A sample [C, *D] of model space as a medium. What the codec draws, such as phases, is keyed by `seed`."""
    media = parts.codec.decode(x[None], seed=seed)[0].float().cpu()
    return Media(media, parts.modality, prompt, seed)


def read_medium(parts: ModelParts, media: Media | Tensor | str | Path) -> Tensor:
    """A medium [C, *D] at the model's own channels, rate and frame rate. MediaError names a file's fault.

    MultigenError for values that are not finite.
    """
    if isinstance(media, str | Path):
        media = guarded(Path(media), parts.modality.read, Path(media))
    tensor = media.tensor if isinstance(media, Media) else media
    if not bool(torch.isfinite(tensor).all()):
        raise MultigenError("the medium: some values are not finite (NaN or infinity)")
    natural = parts.modality.shape()
    if tensor.ndim != len(natural):
        raise MultigenError(
            f"the medium: shape {tuple(tensor.shape)} is not allowed; {parts.modality.name} has {len(natural)} axes"
        )
    if tensor.shape[0] != natural[0]:
        tensor = parts.modality.fit(tensor, (natural[0], *tensor.shape[1:]))
    return tensor.float()
