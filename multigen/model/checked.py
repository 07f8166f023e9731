"""What a check of weights in half precision found: data beside them, which `sample.precision=auto` reads.

`python -m benchmarks.refresh NAME --only precision` makes it: the same media, seed by seed, in fp32 and in bf16.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from multigen.device import choose_precision
from multigen.errors import reason
from multigen.recipe.schema import Recipe
from multigen.storage.measured import FILE, UNREADABLE

log = logging.getLogger(__name__)

STAGE = "precision"  # of `measured.json`


@dataclass(frozen=True)
class Checked:
    """How media in bf16 compare with those in fp32 of the same seeds.

    media       how many of each
    kernel      excess of the kernel distance from real media in fp32 and in bf16
    error       standard error of their difference
    skills      name -> a task metric's skill in fp32 and in bf16
    difference  root mean square difference of the samples, of full scale
    """

    media: int
    kernel: tuple[float, float]
    error: float
    skills: Mapping[str, tuple[float, float]]
    difference: float

    @property
    def as_good(self) -> bool:
        """Whether bf16 is no worse: the kernel distance within the standard error, metrics within 0.02."""
        near = all(half >= full - 0.02 for full, half in self.skills.values())
        return near and self.kernel[1] <= self.kernel[0] + self.error


def checked_of(measured: Mapping[str, Any]) -> Checked | None:
    """Return what was found of weights, of all that was measured of them; None where it was not.

    What no check writes is warned of, and counts as nothing found.
    """
    found = measured.get(STAGE)
    if found is None:
        return None
    try:
        skills = {str(name): (float(a), float(b)) for name, (a, b) in found["skills"].items()}
        full, half = found["kernel"]
        kernel = (float(full), float(half))
        return Checked(int(found["media"]), kernel, float(found["error"]), skills, float(found["difference"]))
    except UNREADABLE as error:
        log.warning("%s: %s: ignored, as it is not what a check writes (%s)", FILE, STAGE, reason(error))
        return None


def sampling_precision(
    recipe: Recipe, device: torch.device, checked: Checked | None = None
) -> torch.dtype | None:
    """Return the dtype to sample in, None for fp32.

    `auto` takes bf16 only for weights that were found as good in it, and as they were then: without LoRAs.
    """
    wanted = recipe.sample.precision
    if wanted == "auto" and (checked is None or not checked.as_good or recipe.loras):
        return None
    return choose_precision(wanted, device)
