"""The guard of a model: its filters, asked about each prompt before anything is made, and each finished medium."""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from torch import Tensor

from multigen import registry
from multigen.errors import MultigenError, RecipeError, reason
from multigen.modalities.flag import Flag
from multigen.modalities.media import Media
from multigen.recipe.schema import Recipe
from multigen.recipe.sections import Safety
from multigen.registry import Part
from multigen.safety import PROMPT, Blocked, Filter, Finding
from multigen.safety.pictures import blurred

log = logging.getLogger(__name__)
# What servers that others reach look for, by what a model makes.
STANDARD = (Part("words"), Part("nsfw"))
_SEEN = ("image", "video")


class Guard:
    """The filters of a recipe's `safety`; they are built, with what they import, when something is first looked at.

    model  its name, for the log
    """

    def __init__(self, safety: Safety, model: str) -> None:
        self.safety, self.model = safety, model

    @functools.cached_property
    def filters(self) -> list[tuple[str, Filter]]:
        """Their names and themselves. RecipeError for one that cannot be built, or a log that has no folder."""
        if self.safety.log is not None and not (folder := Path(self.safety.log).expanduser().parent).is_dir():
            raise RecipeError(f"safety.log: {self.safety.log}: there is no folder {folder}")
        return [
            (part.name, registry.build("filter", part, where=f"safety.filters.{k}"))
            for k, part in enumerate(self.safety.filters)
        ]

    @property
    def is_on(self) -> bool:
        """Whether there is any filter."""
        return bool(self.safety.filters)

    def reads(self, kind: str) -> bool:
        """Whether any filter looks at a modality, or at prompts."""
        return self.is_on and any(kind in one.reads for _, one in self.filters)

    def check_prompt(self, texts: Iterable[str]) -> None:
        """Blocked for a text that a filter refuses. Others are noted with the medium that is made of it."""
        for text in texts:
            for name, one, finding in self._found(PROMPT, text):
                if one.action == "block":
                    self._note(PROMPT, name, one, finding)
                    raise Blocked(f"prompt: refused by the filter {name} ({finding.label})")

    def check(self, medium: Media, asked: Iterable[str] = ()) -> Media:
        """The medium with what was found in it and its texts, blurred where a filter says so; Blocked if refused.

        asked  the texts that it was made of beside its prompt
        """
        if not self.is_on:
            return medium
        texts = dict.fromkeys((medium.prompt, *asked))
        rows = [(PROMPT, row) for text in texts for row in self._found(PROMPT, text)]
        kind = medium.modality.name
        rows += [(kind, row) for row in self._found(kind, medium.tensor)]
        for what, (name, one, finding) in rows:
            self._note(what, name, one, finding)
            if one.action == "block":
                score = (
                    "" if finding.score >= 1 else f" {finding.score:.2f}, allowed below {finding.threshold:g}"
                )
                raise Blocked(f"what was made is refused by the filter {name} ({finding.label}{score})")
        flags = tuple(
            dict.fromkeys(Flag(n, f.label, round(f.score, 4), one.action) for _, (n, one, f) in rows)
        )
        if any(flag.action == "blur" for flag in flags):
            medium = medium.with_tensor(blurred(medium.tensor))
        return dataclasses.replace(medium, flags=flags)

    def passes(self, medium: Media) -> bool:
        """Whether nothing is found in a preview that would be blocked or blurred; nothing is noted."""
        found = self._found(medium.modality.name, medium.tensor) if self.is_on else []
        return all(one.action == "flag" for _, one, _ in found)

    def _found(self, kind: str, content: str | Tensor) -> list[tuple[str, Filter, Finding]]:
        if not self.is_on or (isinstance(content, str) and not content.strip()):
            return []
        asked = [(name, one, one.look(content)) for name, one in self.filters if kind in one.reads]
        return [(name, one, finding) for name, one, finding in asked if finding is not None]

    def _note(self, kind: str, name: str, one: Filter, finding: Finding) -> None:
        """Say what was found, without what it was found in."""
        row = {
            "model": self.model, "looked_at": kind, "filter": name, "label": finding.label,
            "score": round(finding.score, 4), "action": one.action,
        }  # fmt: skip
        log.info("safety: %s", json.dumps(row))
        if self.safety.log is None:
            return
        path = Path(self.safety.log).expanduser()
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"time": round(time.time(), 3), **row}) + "\n")
        except OSError as error:
            raise MultigenError(f"safety.log: {path}: cannot be written ({reason(error)})") from error


def guard_of(recipe: Recipe, own: Sequence[Part] = ()) -> Guard:
    """The guard of a recipe. `own`: filters that came with its weights, of which the recipe says nothing."""
    given = recipe.safety.filters
    if recipe.safety.checker == "off":
        own = ()
    added = [part for part in own if part.name not in {one.name for one in given}]
    return Guard(dataclasses.replace(recipe.safety, filters=(*given, *added)), recipe.name)


def with_standard(guard: Guard, makes: str) -> Guard:
    """A guard that also looks for what servers do not hand out, as far as its own filters do not already."""
    there = {part.name for part in guard.safety.filters}
    wanted = [part for part in STANDARD if part.name != "nsfw" or makes in _SEEN]
    added = [part for part in wanted if part.name not in there]
    return Guard(dataclasses.replace(guard.safety, filters=(*guard.safety.filters, *added)), guard.model)
