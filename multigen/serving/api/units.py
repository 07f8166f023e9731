"""Units, by which budgets are counted: a picture of 256x256, so many pixels of frames, or a second of sound."""

from __future__ import annotations

import math

from multigen.generation.plan import Job
from multigen.modalities.audio import Audio
from multigen.model.model import Model

PIXELS = 256 * 256


def units_of(model: Model, job: Job) -> float:
    """Units of one medium; what is larger than the model's own size takes more in proportion."""
    natural = model.modality.shape()
    modality = model.modality
    values = math.prod(natural[1:])
    one = values / (modality.rate if isinstance(modality, Audio) else PIXELS)
    return one * math.prod(job.plan.shape) / math.prod(model.codec.shape(natural))
