"""Options that an edit leaves open and that its medium tells: who speaks in a recording goes on speaking."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import torch

from multigen.conditioners import Heard
from multigen.generation.edit import EditPlan
from multigen.generation.original import in_time
from multigen.generation.parts import ModelParts

log = logging.getLogger(__name__)


def heard_in(parts: ModelParts, edit: EditPlan | None, options: Mapping[str, object]) -> Mapping[str, Heard]:
    """What the medium of an edit tells of the options that are open, of those that say so (`Option.heard`).

    It is read from what is kept, or from all of it where nothing is said to be.
    """
    declared = parts.conditioner.declares(parts.recipe.conditioner.args)
    names = {option.name for option in declared if option.heard and options.get(option.name) is None}
    if edit is None or not names:
        return {}
    plain, keep = edit.original.plain, edit.original.source.keep
    if keep is None:
        keep = torch.ones(plain.shape[1:], dtype=torch.bool)
    elif keep.shape != plain.shape[1:]:
        keep = in_time(keep, plain.shape[1])
    told = parts.conditioner.heard(plain, keep)
    return {name: one for name, one in told.items() if name in names}


class Hearing:
    """What goes on as it was heard, of one prompt after the other: without what a prompt settles itself.

    The log says what that is, once while the same is heard.
    """

    def __init__(self, parts: ModelParts) -> None:
        self._parts = parts
        self._said: Mapping[str, Heard] = {}

    def __call__(self, prompt: str, heard: Mapping[str, Heard]) -> Mapping[str, Heard]:
        """What of `heard_in` holds for a prompt; the same mapping where all of it does."""
        settled = self._parts.conditioner.settles(prompt) if heard else frozenset()
        found = {name: one for name, one in heard.items() if name not in settled} if settled else heard
        if found and found is not self._said:
            self._said = found
            for name, one in found.items():
                self._say(name, one)
        return found

    def _say(self, name: str, one: Heard) -> None:
        if one.known:
            log.info("%s: %s, as in what is kept", name, one.value)
        else:
            log.warning(
                "%s: what is kept is unlike all that %s knows; the nearest, %s, goes on",
                name, self._parts.recipe.name, one.value,
            )  # fmt: skip
