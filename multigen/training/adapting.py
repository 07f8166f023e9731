"""Adaptations: what learns beside the frozen weights of a base model, in place of them (`train.adapter`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from multigen.conditioners import Conditioner
from multigen.core.backbone import Backbone
from multigen.core.conditioning import Cond
from multigen.core.upload import upload
from multigen.errors import RecipeError
from multigen.recipe.schema import Recipe
from multigen.storage.lora import Adapter
from multigen.storage.words import Words


class Learned(NamedTuple):
    """What a training has made.

    tensors    what learned, by its names in a checkpoint
    recipe     of the training
    published  `Backbone.published` of its network
    base       hashes of the weights beside which it learned, by dtype
    """

    tensors: Mapping[str, Tensor]
    recipe: Recipe
    published: tuple[str, str]
    base: Mapping[str, str] | None


class Made(NamedTuple):
    """What sampling needs of an adaptation, beside its base.

    adapter  a LoRA
    words    a new word
    """

    adapter: Adapter | None = None
    words: Words | None = None


class Adaptation(ABC):
    """Something that learns beside a frozen model.

    place   file or folder in the run folder that holds it
    items   columns of the data that it needs, beside media and captions
    """

    place: ClassVar[str]
    items: ClassVar[tuple[str, ...]] = ()

    def check_installed(self) -> None:  # noqa: B027
        """Raise RecipeError if a package that it needs is not installed."""

    @abstractmethod
    def check(self, backbone: Backbone, conditioner: Conditioner) -> None:
        """Raise RecipeError if it does not go with a model, whose backbone may be on the meta device."""

    @abstractmethod
    def inject(self, backbone: Backbone, conditioner: Conditioner, seed: int) -> None:
        """Put it into a model whose weights are frozen, changing nothing at first; its draws are keyed by the seed."""

    @abstractmethod
    def made(self, learned: Learned) -> Made:
        """Return what was learned so far, as it is sampled with."""

    @abstractmethod
    def read(self, folder: Path) -> Made:
        """Return what a finished training left in its run folder."""

    @abstractmethod
    def write(self, folder: Path, learned: Learned, backbone: Backbone) -> None:
        """Write what was learned into the run folder."""

    def caption(self, text: str) -> str:
        """Return a caption as this training reads it. By default as it is."""
        return text


def recaptioned(given: Mapping[str, list[Any]], adapter: Adaptation | None) -> Mapping[str, list[Any]]:
    """Return the columns of a batch with the captions that an adaptation reads."""
    if adapter is None or "text" not in given:
        return given
    return {**given, "text": [adapter.caption(text) for text in given["text"]]}


def led(cond: Cond, given: Mapping[str, list[Any]], adapter: Adaptation | None, device: torch.device) -> Cond:
    """Return a condition with the columns of its batch that an adaptation is led by, as `Cond.extra`."""
    for name in () if adapter is None else adapter.items:
        if name in given:
            cond = cond.with_extra(name, upload(torch.stack(given[name]), device))
    return cond


def base_name(recipe: Recipe) -> str:
    """Return the name of an adaptation's base for files: the last part of its path, so that no path is written."""
    source = recipe.train.init
    if source is None and recipe.trains == "denoiser":
        source = recipe.network.args.get("path")
    return Path(str(source)).name


def refused(where: str, why: str) -> RecipeError:
    """Say why an adaptation does not go with a model."""
    return RecipeError(f"train.adapter{where}: {why}")
