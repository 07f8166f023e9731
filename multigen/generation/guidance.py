"""Guidance: a recipe's guide with its modifiers around it, built for one batch of conditions."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from multigen import registry
from multigen.core.conditioning import Cond
from multigen.core.denoiser import Denoiser
from multigen.core.guides import Guide
from multigen.errors import RecipeError, refused
from multigen.registry import Part


def guided(
    guide: Part,
    modifiers: Sequence[Part],
    *,
    cond: Cond,
    null: Cond,
    denoiser: Denoiser,
    encode: Callable[[str], Cond],
    load: Callable[[str], Denoiser],
) -> Guide:
    """The guide that the parts make, the first modifier innermost. RecipeError where one refuses its arguments.

    Each part takes what it needs, by the names of its positional parameters: `cond` and `null` (conditions),
    `denoiser`, `encode` (a prompt's condition), `load` (another denoiser from its weights); a modifier `guide`, the
    one inside.
    """
    known: dict[str, Any] = {"cond": cond, "null": null, "denoiser": denoiser, "encode": encode, "load": load}
    made: Guide = _made("guide", guide, "guide", known)
    for number, part in enumerate(modifiers):
        made = _made("modifier", part, f"modifiers.{number}", {**known, "guide": made})
    return made


def _made(kind: str, part: Part, where: str, known: Mapping[str, Any]) -> Guide:
    function = registry.build(kind, part, where=where)
    parameters = inspect.signature(registry.find(kind, part.name)).parameters.values()
    names = [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]
    if missing := [name for name in names if name not in known]:
        raise TypeError(f"{kind} {part.name} takes {missing[0]!r}; there are {', '.join(known)}")
    with refused(f"{where} ({part.name})", RecipeError):
        return function(*(known[name] for name in names))
