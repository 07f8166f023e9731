"""The overrides of a sweep: which are fixed, which vary, and the combinations that they give."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from hydra.core.override_parser.types import Glob, Override

from multigen import registry
from multigen.errors import RecipeError, message
from multigen.recipe.overrides import COMMAND_LINE, as_hydra_reads, check_override_key, parse_text
from multigen.recipe.places import PLACES
from multigen.recipe.safety import check_text


def sort(overrides: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Fixed overrides, those that vary, and those for Hydra itself."""
    fixed, varying, hydra = [], [], []
    for text in overrides:
        override = parse_text(text)
        if override.is_hydra_override():
            hydra.append(text)
        elif override.is_sweep_override():
            at = f"{COMMAND_LINE}: {text}"
            check_text(text, at)
            check_override_key(override.key_or_group, override.package, at)
            varying.append(_globbed(as_hydra_reads(text), override))
        else:
            fixed.append(text)
    return fixed, varying, hydra


def _globbed(text: str, override: Override) -> str:
    """sampler.name=glob(d*) as a choice among the registered names; other overrides unchanged."""
    glob = override.value()
    if not isinstance(glob, Glob):
        return text
    place, _, last = override.key_or_group.rpartition(".")
    if place not in PLACES or last != "name":
        raise RecipeError(
            f"{COMMAND_LINE}: {text}: glob() chooses among the names of parts: sampler.name=glob(*)."
        )
    chosen = glob.filter(registry.names(PLACES[place]))
    if not chosen:
        raise RecipeError(
            message(f"{COMMAND_LINE}: {text}", text.partition("=")[2], registry.names(PLACES[place]))
        )
    return f"{override.get_key_element()}=choice({','.join(chosen)})"


def combinations(varying: Sequence[str]) -> Iterator[list[str]]:
    """The overrides of every job of the grid. Intervals, from which only a sweeper can draw, are left out."""
    lists = []
    for override in map(parse_text, varying):
        if override.is_discrete_sweep():
            key = override.get_key_element()
            lists.append([f"{key}={value}" for value in override.sweep_string_iterator()])
    yield from (list(job) for job in itertools.product(*lists))
