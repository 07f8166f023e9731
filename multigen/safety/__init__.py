"""Filters (kind "filter"): what looks at a prompt or a finished medium before anybody sees it, and what is done then.

`multigen.safety.guard` holds the filters of a model. A filter is a part of a recipe, so that users bring their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from multigen.errors import MultigenError

if TYPE_CHECKING:
    from torch import Tensor

Action = Literal["block", "blur", "flag"]
PROMPT = "prompt"  # what a filter reads, beside the names of modalities


@dataclass(frozen=True)
class Finding:
    """What a filter found: never the content itself.

    label      what it is, such as a topic
    score      how sure the filter is, from 0 to 1
    threshold  from which on it counts
    """

    label: str
    score: float = 1.0
    threshold: float = 0.0


class Filter(Protocol):
    """Looks at what it reads; built through the registry, with its action and thresholds as arguments.

    reads   "prompt", and the names of the modalities whose media it looks at: "image", "video", "audio"
    action  what is done with a finding: `block` refuses the request, `blur` makes pictures unrecognisable and sounds
            silent, `flag` notes it beside the medium
    """

    reads: tuple[str, ...]
    action: Action

    def look(self, content: str | Tensor) -> Finding | None:
        """What is found in a prompt, or in a medium [C, *D] in [-1, 1]; None: nothing."""
        ...


class Blocked(MultigenError):
    """A filter refused a prompt or a medium."""
