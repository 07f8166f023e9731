"""What samplers declare about themselves, as data that a caller looks up."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from multigen.core.samplers.steps import Trajectory

S = TypeVar("S", bound=Callable[..., Trajectory])
_KEY = "sampler_traits"


@dataclass(frozen=True)
class SamplerTraits:
    """Facts about a sampler.

    one_sample     it chooses its times by the sample, so each of its trajectories holds one sample; two in one
                   trajectory would depend on each other. Driven together, their calls still merge
    deterministic  name of the sampler, with its default arguments, that walks the same steps without fresh noise;
                   None: the sampler draws none, or has no such counterpart
    """

    one_sample: bool = False
    deterministic: str | None = None


def one_sample(sampler: S) -> S:
    """Decorator: declare that each trajectory of the sampler holds one sample."""
    vars(sampler)[_KEY] = replace(sampler_traits(sampler), one_sample=True)
    return sampler


def stochastic(*, deterministic: str) -> Callable[[S], S]:
    """Decorator: declare that the sampler draws fresh noise, and name its deterministic counterpart."""

    def declare(sampler: S) -> S:
        vars(sampler)[_KEY] = replace(sampler_traits(sampler), deterministic=deterministic)
        return sampler

    return declare


def sampler_traits(sampler: Callable[..., Any]) -> SamplerTraits:
    """Look up what a sampler declares; the defaults if it declares nothing.

    `sampler` is what `registry.lookup` or `registry.build` returns: a function, or one with bound arguments.
    """
    while isinstance(sampler, functools.partial):
        sampler = sampler.func
    return vars(sampler).get(_KEY, SamplerTraits())
