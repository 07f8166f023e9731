"""Conditioners turn prompts, labels and other columns of a batch into `Cond`, what a backbone is conditioned on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from multigen.conditioners.disk_states import DiskStates
from multigen.core.conditioning import Cond, CondSpec
from multigen.core.hosts import Host
from multigen.errors import MultigenError
from multigen.modalities import Modality
from multigen.modalities.media import Media
from multigen.options import Option
from multigen.prompts.left_out import without_each
from multigen.storage.disk_cache import DiskCache
from multigen.storage.words import Words

_NO_WORDS = "this model learns no new words. Allowed: pipelines in diffusers' format that follow prompts."


class Extent(NamedTuple):
    """How large a medium is: pixels, the side or (height, width), and seconds; None where nothing is said."""

    size: int | tuple[int, int] | None = None
    duration: float | None = None


class Heard(NamedTuple):
    """The value of an option that a medium tells, and whether it is one of those that the model knows.

    Of others it is the nearest.
    """

    value: Any
    known: bool = True


class Impure(NamedTuple):
    """A medium that conditions, and the noise (sigma/alpha) by which it is purified first."""

    medium: Media
    level: float


class Conditioner(nn.Module, ABC):
    """Conditions of a batch. What a conditioner learns is trained, averaged and saved with the backbone.

    spec  widths of what it gives
    text  whether it follows the media's captions
    known_noise  standard deviation of the noise on what a network with mask channels is shown, of media in [-1, 1]
    added  names of tensors of its state that weights of earlier versions lack, and that then stay as they are
    """

    spec: CondSpec
    text: bool = False
    known_noise: float = 0.0
    added: frozenset[str] = frozenset()

    @abstractmethod
    def forward(self, batch: Mapping[str, Any]) -> Cond:
        """Return the conditions of a batch: columns of a dataset's items ("text", "label", ...), each of length B."""

    @abstractmethod
    def null(self, batch_size: int) -> Cond:
        """Return the unconditional condition, [B, ...]: that of the empty prompt."""

    def fit(self, items: Iterable[Mapping[str, Any]]) -> None:
        """Set statistics from training items, as a codec does. Conditioners without statistics do not read them."""

    @abstractmethod
    def from_prompts(self, prompts: Sequence[str]) -> Mapping[str, Any]:
        """Turn a user's prompts into a batch for `forward`. MultigenError for a prompt that it cannot take."""

    @classmethod
    def declares(cls, args: Mapping[str, Any]) -> tuple[Option, ...]:
        """Return what a request may say beside its prompt, as a modality's `options` do; `args`: those of the recipe.

        For conditioners of multigen `multigen.options.CONDITIONERS` says the same without importing them.
        """
        return ()

    def opened(self, options: Mapping[str, Any], media: tuple[int, ...] | None = None) -> Mapping[str, Any]:
        """Return a request's options with what they name read, so that a file is read once for all of its media.

        media  shape [C, *D] of what is made, when it is known: what was read may then be kept at that size

        The other members take options in both forms. By default the options as they are. MultigenError for a file that
        cannot be read.
        """
        return options

    def asked(self, prompts: Sequence[str], options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a batch for `forward` of prompts under a request's options: a value for each that `declares` names.

        By default the prompts' own. MultigenError for a prompt or a value that it cannot take.
        """
        return self.from_prompts(prompts)

    def prompt_for(self, caption: str, label: int | None) -> str:
        """Return the prompt that asks for an item of a dataset, of a caption and, in a dataset of classes, a label.

        By default the caption, of conditioners that follow captions; others are asked for nothing in words.
        """
        return caption if self.text else ""

    def extent(self, prompt: str, options: Mapping[str, Any]) -> Extent | None:
        """Return how large a prompt's medium is where neither request nor recipe says it; None: the modality's own.

        A sentence takes as long as it is spoken, a sound for a video as long as that.
        """
        return None

    def writes(self, modality: Modality, options: Mapping[str, Any]) -> Modality:
        """Return the modality with which what is made under these options is written: by default the model's own.

        A sound that was made for a video can go into one file with it.
        """
        return modality

    def impure(self, options: Mapping[str, Any]) -> Impure | None:
        """Return the medium among a request's options that is to be purified before it conditions; None: none is.

        MultigenError where options that say so do not go together.
        """
        return None

    def with_pure(self, options: Mapping[str, Any], pure: Media) -> Mapping[str, Any]:
        """Return the options with what became of the medium of `impure` in its place."""
        raise NotImplementedError(
            f"{type(self).__name__}: it says what is impure, but not where the pure goes"
        )

    def along(
        self,
        batch: Mapping[str, Any],
        media: tuple[int, ...],
        size: Sequence[int],
        made: Tensor | None = None,
    ) -> Tensor | None:
        """Return what runs along media [C, *D] of a batch, in places *size of model space.

        made  bool [*size], where an edit makes a medium anew; all False where no place is made alone, as in a circle;
              None: the medium is made whole

        [B, spec.grid, *size], zero where nothing is said; None for a conditioner without `spec.grid`.
        """
        return None

    def beside(
        self,
        batch: Mapping[str, Any],
        media: tuple[int, ...],
        size: Sequence[int],
        made: Tensor | None = None,
    ) -> Cond:
        """Return the conditions of a batch together with what runs along its media."""
        along = self.along(batch, media, size, made)
        return self(batch) if along is None else self(batch).with_grid(along)

    def measures(self, media: tuple[int, ...]) -> Mapping[str, Tensor]:
        """Return what the network is told of a medium [C, *D] that is made, `Cond.extra`: name -> [1, ...]."""
        return {}

    def look(self, media: Tensor, keep: Tensor) -> Mapping[str, Tensor]:
        """Return what the network hears of a medium [C, *D] of which `keep` [*D] is known, `Cond.extra`.

        name -> [1, ...]; by default nothing.
        """
        return {}

    def heard(self, media: Tensor, keep: Tensor) -> Mapping[str, Heard]:
        """Return what a medium [C, *D] of the model's modality tells of the options that `Option.heard` marks.

        keep  bool [*D], where it is read: what an edit keeps, of which options that its request leaves open are taken

        By default nothing.
        """
        return {}

    def settles(self, prompt: str) -> frozenset[str]:
        """Return the names of those options that `heard` may tell and that a prompt says itself, which goes first.

        By default none.
        """
        return frozenset()

    def opposed(self, cond: Cond) -> Cond:
        """Return the condition of prompts as what guidance leads away from. By default it stays as it is."""
        return cond

    def words(self, prompt: str) -> list[str]:
        """Split a prompt into the tokens that the backbone attends to; empty if there are none to name."""
        return []

    def left_out(self, prompt: str) -> list[tuple[str, str]]:
        """Return each part of a prompt that means something by itself, and the prompt without it.

        By default the words of a text, or the name of a class as a whole. Nothing for the empty prompt.
        """
        return without_each(prompt) if self.text else [(prompt, "")] if prompt else []

    def hosts(self) -> Sequence[Host]:
        """Return the text encoders whose layers LoRAs change. By default none."""
        return ()

    def unfreeze(self) -> Sequence[Host]:
        """Let gradients reach the text encoders in which LoRAs can learn, and return those. By default none.

        Their parameters become the conditioner's; they stay frozen themselves.
        """
        return ()

    def teach(self, words: Sequence[Words]) -> None:
        """Hear the vectors of these new words in prompts from now on, and of no others.

        MultigenError for a word that is taken or for another encoder, and where no text encoder takes them.
        """
        self.check_words(words)

    def check_words(self, words: Sequence[Words]) -> None:
        """Raise what `teach` would raise, and change nothing."""
        if words:
            raise MultigenError(f"{words[0].where}: {_NO_WORDS}")

    def learn_word(self, token: str, count: int, like: str | None, seed: int) -> None:
        """Let a new word of `count` vectors learn: they become parameters, `new_words.<encoder>` [n, K].

        They begin as the vectors of the text `like`, or drawn from the seed. MultigenError as in `teach`.
        """
        raise MultigenError(f"train.adapter: {_NO_WORDS}")

    def use_cache(self, cache: DiskCache | None) -> DiskStates | None:
        """Keep states of a frozen encoder on disk from now on; None: no longer. Return the store, if there is one."""
        return None


def added(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Return what weights of earlier versions lack (`Conditioner.added`) of a model's modules, as it is."""
    conditioner = modules.get("conditioner")
    if not isinstance(conditioner, Conditioner):
        return {}
    return {f"conditioner.{n}": t for n, t in conditioner.state_dict().items() if n in conditioner.added}
