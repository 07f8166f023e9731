"""What a family of pipelines declares."""

from __future__ import annotations

import dataclasses
import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from multigen import registry
from multigen.core.backbone import NoiseLevel
from multigen.core.conditioning import Cond, CondSpec
from multigen.errors import MultigenError, message
from multigen.registry import Given, Part
from multigen.storage import diffusers_folder
from multigen.storage.diffusers_folder import Component, Frozen
from multigen.storage.pipeline_place import INDEX, stage_of

# Pipelines of pictures whose networks take motion modules.
MOVED = ("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline")
CLIP_TOKENIZER = Component("transformers", ("CLIPTokenizer", "CLIPTokenizerFast"))
T5_TOKENIZER = Component("transformers", ("T5Tokenizer", "T5TokenizerFast"))


class Form(NamedTuple):
    """What a network takes: axes of x, channels of x, and widths of its conditions."""

    axes: int
    channels: int
    cond: CondSpec


@dataclass(frozen=True)
class Stream:
    """A text encoder with its tokenizer, and what of it the network hears.

    tokenizer, encoder  sub-folders
    layer   of the hidden states, counted as transformers does; None: the last one, with the final norm
    pooled  the encoder's output that sums up the prompt, if it is used
    length  tokens of a prompt; None: as many as the encoder has positions
    chunks  longer prompts are encoded in pieces of that length, one after another; False: they are cut
    masked  the encoder hides the padding from itself
    """

    tokenizer: str
    encoder: str
    layer: int | None = None
    pooled: str | None = None
    length: int | None = None
    chunks: bool = False
    masked: bool = False


class States(NamedTuple):
    """What a stream makes of B prompts.

    tokens  [B, L, K]
    there   [B, L], False beyond the chunks of a prompt that has fewer of them than others
    words   [B, L], False for padding too
    pooled  [B, P]
    """

    tokens: Tensor
    there: Tensor
    words: Tensor
    pooled: Tensor | None


class Family(ABC):
    """A pipeline's folder, taken apart.

    title       for people
    components  sub-folder -> what may stand there; the scheduler is read by `read_scheduler`
    network     sub-folder of the network
    modality    of its media
    c_noise     how the network takes the noise level (`Backbone.c_noise`)
    steps       in how many steps its media are usually made
    own_sigmas  the pipeline spaces its sigmas evenly from 1 to 1/steps before they are shifted
    controlled  its network takes ControlNets
    sees_known  as `Backbone.sees_known`
    prompted    its network takes image prompts, IP-Adapters
    stages      sub-folders of the networks that come before it, each a stage of its own
    scheduler_folder  sub-folder of the scheduler
    grid        the timesteps that the pipeline walks in place of the scheduler's own; None: those
    lone_frames  the network is shown frames of a video that no latent holds alone
    patch       side of the squares of model space that are one token, for a shift by the number of tokens

    `numbers` stand in `Cond.extra`, by name; a recipe changes them with `conditioner.numbers`. An instance is one
    folder. MultigenError for parts that are missing or not allowed.
    """

    title: ClassVar[str]
    components: ClassVar[Mapping[str, Component]]
    network: ClassVar[str] = "unet"
    modality: ClassVar[str] = "image"
    c_noise: ClassVar[NoiseLevel] = "index"
    steps: ClassVar[int] = 50
    own_sigmas: ClassVar[bool] = False
    controlled: ClassVar[bool] = False
    sees_known: bool = False
    prompted: ClassVar[bool] = False
    patch: ClassVar[int] = 1
    stages: ClassVar[tuple[str, ...]] = ()
    grid: ClassVar[Part | None] = None
    lone_frames: ClassVar[bool] = False
    scheduler_folder: ClassVar[str] = diffusers_folder.SCHEDULER

    def __init__(self, *, folder: Given[Path]) -> None:
        self.folder = folder
        self.listed = {
            name: diffusers_folder.listed(folder, name, part) for name, part in self.components.items()
        }
        for name, kind in self.listed.items():
            if kind is not None and name != self.network:
                diffusers_folder.component(folder, name, self.components[name])
        self.config = diffusers_folder.component(folder, self.network, self.components[self.network])

    @property
    def streams(self) -> tuple[Stream, ...]:
        """Its text encoders; none: it follows no prompt."""
        return ()

    @property
    def classes(self) -> int:
        """How many classes it follows in place of prompts; 0: none."""
        return 0

    @property
    def cascade(self) -> Part | None:
        """How it takes what the stage before made; None: it is the first."""
        return None

    @property
    def numbers(self) -> Mapping[str, tuple[float, ...]]:
        """What the network is told beside the prompt, with the usual values."""
        return {}

    @property
    def scheduler(self) -> Mapping[str, Any]:
        """Entries of the scheduler's configuration that the pipeline sets itself."""
        return {}

    @property
    def zero_null(self) -> bool:
        """Whether the unconditional condition is zeros; else it is the empty prompt."""
        return False

    def measures(
        self, media: tuple[int, ...], numbers: Mapping[str, tuple[float, ...]]
    ) -> Mapping[str, tuple[float, ...]]:
        """Return those of the `numbers` that follow from a medium [C, *D] that is made, where they are not set."""
        return {}

    def known_noise(self, numbers: Mapping[str, tuple[float, ...]]) -> float:
        """Return the standard deviation of the noise on the pictures that it is shown, of media in [-1, 1]."""
        return 0.0

    def look(self, media: Tensor, keep: Tensor) -> Mapping[str, Tensor]:
        """Return what the network hears of a medium [C, *D] of which `keep` [*D] is known, name -> [1, ...]."""
        return {}

    def null(self, cond: Cond) -> Cond:
        """Make the unconditional condition of that of the empty prompt: the same, or zeros where `zero_null`."""
        if not self.zero_null:
            return cond
        vector, tokens = (None if p is None else torch.zeros_like(p) for p in (cond.vector, cond.tokens))
        return dataclasses.replace(cond, vector=vector, tokens=tokens)

    def opposed(self, cond: Cond) -> Cond:
        """Make the condition that guidance leads away from of a negative prompt's or an unconditional one."""
        return cond

    @property
    def guide(self) -> Part:
        """How it is usually guided."""
        return Part("plain")

    @property
    def closes(self) -> tuple[int, ...]:
        """As `Backbone.closes`: U-Nets know no places of pictures, transformers do."""
        kinds = self.components[self.network].classes
        return (-1, -2) if self.modality != "audio" and all(kind.startswith("UNet") for kind in kinds) else ()

    @property
    def masked(self) -> bool:
        """Whether the network has channels for a mask and what is known."""
        return False

    @property
    def begins(self) -> bool:
        """Whether it makes what begins with a picture, and cannot do without one."""
        return False

    @property
    def distilled(self) -> bool:
        """Whether the network takes the guidance scale as an input, `Cond.extra["guidance"]`."""
        return "guidance" in self.numbers

    @abstractmethod
    def form(self) -> Form:
        """Return what the network takes."""

    @abstractmethod
    def call(self, network: Any, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        """Call diffusers' network: x [B, C, *D], c_noise [B] -> F [B, C, *D], and what it says of the variance."""

    def load(self, make: Callable[[Path, str, Component], nn.Module]) -> nn.Module:
        """Load the network: `make(folder, sub-folder, what may stand there)` reads its weights, or leaves them out."""
        return make(self.folder, self.network, self.components[self.network])

    def encoder(self, stream: Stream) -> nn.Module:
        """Load the text encoder of a stream: token numbers and their mask -> states, by transformers' names."""
        return diffusers_folder.network(self.folder, stream.encoder, self.components[stream.encoder])

    def spec(self, blank: Sequence[States]) -> CondSpec:
        """Return the widths of the condition of states that say nothing."""
        cond = self.cond(blank)
        return CondSpec(
            vector=0 if cond.vector is None else cond.vector.shape[1],
            tokens=0 if cond.tokens is None else cond.tokens.shape[2],
        )

    def cond(self, states: Sequence[States]) -> Cond:
        """Make the condition of what the streams give. By default the tokens of the only one, padding heard."""
        (only,) = states
        return Cond(tokens=only.tokens, mask=only.there)

    def shared(self, cond: Cond) -> Hashable:
        """As `Backbone.shared`."""
        return None

    def check_shape(self, shape: tuple[int, ...]) -> None:  # noqa: B027
        """As `Backbone.check_shape`."""

    @abstractmethod
    def media(self) -> Mapping[str, Any]:
        """Return the modality's arguments: the size of the media that the network was trained on."""

    def codec(self, source: str) -> Part:
        """Return the codec, whose files stand at `source`. By default its VAE."""
        return Part("vae", {"path": source})

    @property
    def others(self) -> Mapping[str, Frozen]:
        """Networks that take the place of the network at times, by their sub-folders. By default none."""
        return {}

    @functools.cached_property
    def learned_variance(self) -> bool:
        """Whether the network says how much noise its steps add, and the scheduler heeds it."""
        place = self.folder / self.scheduler_folder / "scheduler_config.json"
        heeded = place.is_file() and diffusers_folder.read_json(place).get("variance_type") == "learned_range"
        return heeded and self.config.get("out_channels") == 2 * self.form().channels

    def entry(self, key: str, annotation: Any, default: Any) -> Any:
        """Return a value of the network's configuration. MultigenError if it is of another type."""
        return diffusers_folder.entry(self.config, self.folder / self.network, key, annotation, default)

    def index(self, key: str, default: Any) -> Any:
        """Return an entry of the pipeline's index."""
        return diffusers_folder.read_json(self.folder / INDEX).get(key, default)

    def part(self, name: str) -> Frozen:
        """Return the frozen network of one of its parts."""
        load = functools.partial(diffusers_folder.network, self.folder, name, self.components[name])
        return Frozen(load)

    @functools.cached_property
    def factor(self) -> int:
        """Pixels of a latent along each side."""
        return diffusers_folder.vae_factor(self.folder)


def count_tokens(cond: Cond) -> int:
    """How many tokens the rows of a condition have, padding included."""
    return 0 if cond.tokens is None else cond.tokens.shape[1]


def open_family(folder: Path, motion: Path | None = None) -> Family:
    """Take a pipeline's folder apart. MultigenError for a class of pipeline that is not known, with the nearest.

    motion  folder of motion modules for a network of pictures, which makes videos then
    """
    whole, stage = stage_of(folder)
    kind = "/".join([diffusers_folder.pipeline_class(whole), *([stage] if stage else [])])
    if motion is not None:
        if kind not in MOVED:
            raise MultigenError(message(f"{folder}: a pipeline with a motion adapter", kind, MOVED))
        return registry.lookup("family", "AnimateDiffPipeline")(folder=folder, motion=motion)
    known = registry.names("family")
    if kind not in known:
        raise MultigenError(message(f"{folder}: its pipeline", kind, known))
    return registry.lookup("family", kind)(folder=whole)
