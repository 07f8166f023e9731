"""Sections of a recipe about the media that are made, and what stands beside the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from multigen.registry import Part

# Metadata of a field that came later: it is not written where it is empty or says its default, so that recipes of
# before, and their hashes, stay as they were.
UNSAID_EMPTY = "unsaid_empty"


@dataclass(frozen=True)
class WeightedLora:
    """A LoRA and its weight."""

    path: str  # its file, or the run folder that trained it
    weight: float = 1.0  # 0: none of it; 1: as it was trained


@dataclass(frozen=True)
class WeightedAdapter:
    """What stands beside a model when media are made: weights that lead it by a picture, a new word, or motion."""

    path: str  # the file of an IP-Adapter or of a word, the run folder that trained it, or the folder of another
    # The picture: edges, depth, a pose ..., as a ControlNet wants it, or an image prompt; null: requests give theirs
    image: str | None = field(default=None, metadata={UNSAID_EMPTY: True})
    name: Literal["controlnet", "ip_adapter", "textual_inversion", "motion_adapter"] = (
        "controlnet"  # its kind
    )
    weight: float = 1.0  # of what leads. 0: none of it; 1: as it was trained
    # Folder of an IP-Adapter's image encoder; null: `image_encoder` beside its file
    encoder: str | None = field(default=None, metadata={UNSAID_EMPTY: True})
    # Of a textual inversion: the word as it stands in prompts; null: as its file names it
    token: str | None = field(default=None, metadata={UNSAID_EMPTY: True})

    @property
    def leads(self) -> bool:
        """Whether it leads the network by a picture."""
        return self.name not in ("textual_inversion", "motion_adapter")


@dataclass(frozen=True)
class Safety:
    """What looks at prompts and finished media, and what is done with what it finds."""

    # Filters and their actions, such as [words, {name: nsfw, threshold: 0.8, action: blur}]
    filters: tuple[Part, ...] = field(default=(), metadata={UNSAID_EMPTY: True})
    # Whether the `safety_checker` of a Stable Diffusion folder looks at its pictures; null: where there is one
    checker: Literal["off"] | None = field(default=None, metadata={UNSAID_EMPTY: True})
    # File with a JSON line for each finding, without the prompt or the medium; null: none
    log: str | None = field(default=None, metadata={UNSAID_EMPTY: True})


@dataclass(frozen=True)
class Provenance:
    """What the files of media say of how they were made."""

    # `auto`: sign them where the extra `provenance` is installed; `on`: refuse to work without; `off`: plain metadata
    sign: Literal["auto", "on", "off"] = "auto"
    # Recipe, prompt and seed go into the file, too: `multigen run FILE` makes it again
    embed_recipe: bool = False


@dataclass(frozen=True)
class Shrunk:
    """How weights were made smaller; `multigen shrink` writes it."""

    by: str  # what was done, such as `prune 0.3, int8`
    source: str  # the recipe of the weights that they were made from
    weights_hash: str  # of those
    # What was measured beside them on equal seeds, such as {media: 64, excess_rise: 0.02}
    measured: Mapping[str, Any] = field(default_factory=dict, metadata={UNSAID_EMPTY: True})
