"""What is asked: a `Wish` as a user has it, and the `Ask` that it becomes for a model, checked and in model space."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch
from torch import Tensor

from multigen.codecs import Codec
from multigen.generation.masking import Source, spliced
from multigen.generation.operators import Operator
from multigen.generation.trace import Note
from multigen.recipe.schema import Recipe

if TYPE_CHECKING:
    from multigen.generation.generate import Maker

Job = tuple[str, int]  # prompt and seed of one medium


@dataclass(frozen=True)
class Wish:
    """One medium of many that are made side by side; None: as the recipe has it.

    `seed`: None is the recipe's plus the place among the wishes. `overrides` change how it is sampled, as
    "sampler.name=ddim" does on the command line. `long`: what is larger than the model's own is made in windows;
    `wrap`: its last axis is a circle. `edit`: what it is made from, such as a `Change`; None: noise alone.
    """

    prompt: str = ""
    seed: int | None = None
    steps: int | None = None
    scale: float | None = None
    negative: str | None = None
    size: int | tuple[int, int] | None = None
    duration: float | None = None
    overrides: tuple[str, ...] = ()
    long: bool = False
    wrap: bool = False
    edit: Begins | None = None


class Begins(Protocol):
    """Something else than noise that media are made from: `Change`, `Restoration`, or what a user wrote of them."""

    def start(self, model: Maker, wish: Wish) -> Start:
        """MultigenError for what does not fit the model, before any network call."""
        ...


class Start(NamedTuple):
    """What a medium begins with: its shape [C, *D], the sizes of its windows in model space, and what is known."""

    shape: tuple[int, ...]
    window: tuple[int, ...] | None = None
    edit: Edit | None = None
    known: Known | None = None


@dataclass(frozen=True, eq=False)
class Edit:
    """An edit begins with its source; within `seam` what is kept of it fades into what is made (`editing.spliced`).

    `strength`: share of the way back to noise. `resample`: how often each step is taken. `invert`: the noise is found
    that leads to the source under this prompt, in place of a random one.
    """

    source: Source
    seam: int
    codec: Codec
    device: torch.device
    strength: float = 1.0
    resample: int = 1
    invert: str | None = None

    @cached_property
    def x0(self) -> Tensor:
        """The source in model space, [1, C, *D]. Encoded when it is first asked for: a codec may be a network."""
        with torch.no_grad():
            return self.codec.encode(self.source.media[None].to(self.device))

    @cached_property
    def keep(self) -> Tensor | None:
        """What of x0 stays, bool [*D]."""
        return None if self.source.keep is None else self.codec.keeps(self.source.keep).to(self.device)

    def finished(self, made: Tensor) -> Tensor:
        """The decoded medium [C, *D], with what is kept as it was."""
        return spliced(made, self.source, self.seam)


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of a medium that is restored: what `operator` gives of it, [1, ...], and how exactly."""

    operator: Operator
    values: Tensor
    noise: float


@dataclass(frozen=True)
class Blend:
    """How far a medium lies on the way from its own prompt and seed (0) to others (1)."""

    prompt: str
    seed: int
    share: float


@dataclass(frozen=True, eq=False)
class Ask:
    """What the media of a request have in common. `shape` [C, *D] in model space.

    `recipe`: its sampler, timesteps, guide and modifiers. `window`: sizes of the windows in which larger media are
    made; `wrap`: the last axis is a circle.
    """

    recipe: Recipe
    shape: tuple[int, ...]
    steps: int
    scale: float | None = None
    negative: str | None = None
    edit: Edit | None = None
    known: Known | None = None
    blend: Blend | None = None
    window: tuple[int, ...] | None = None
    wrap: bool = False
    note: Note | None = None  # hears of every answered query (`modifiers.noted`)

    @property
    def length(self) -> float:
        """About how many steps are taken, those on the way to an inversion's noise, of two queries each, with them."""
        edit, passes = self.edit, self.recipe.sample.polish.passes
        if edit is None:
            return self.steps + passes
        return self.steps * edit.strength * (edit.resample + 2 * (edit.invert is not None)) + passes


Asked = tuple[Job, Ask]  # one medium of a request
