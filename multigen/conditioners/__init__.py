"""Conditioners turn prompts and labels into `Cond`; the protocol is in `multigen.core.conditioning`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from multigen.conditioners.states import States
from multigen.errors import MultigenError
from multigen.storage.disk_cache import DiskCache

_TOLD = 60  # characters of a prompt that a warning repeats


@runtime_checkable
class Worded(Protocol):
    """A conditioner whose tokens can be named."""

    def words(self, prompt: str) -> list[str]:
        """The prompt as the tokens whose states the network attends to."""
        ...


@runtime_checkable
class Remembering(Protocol):
    """A conditioner whose encoder never changes, so that what it makes of texts can be kept on disk."""

    def remember(self, cache: DiskCache | None) -> States | None:
        """Look there first from now on, and keep there what is new; None: no longer."""
        ...


def column(batch: Mapping[str, Any], name: str, conditioner: str) -> Sequence[Any]:
    """batch[name], or a MultigenError that says which conditioner wants it and what the items have instead."""
    if name not in batch:
        have = ", ".join(sorted(batch)) or "nothing"
        raise MultigenError(
            f"conditioner {conditioner}: the data's items have no {name!r} (they have {have})"
        )
    return batch[name]


def warn_of_length(prompt: str, tokens: int) -> None:
    """Say, once for each prompt, that its end is ignored."""
    told = prompt if len(prompt) <= _TOLD else prompt[:_TOLD].rstrip() + " ..."
    warnings.warn(f"prompt of over {tokens} tokens, its end is ignored: {told!r}", stacklevel=1)
