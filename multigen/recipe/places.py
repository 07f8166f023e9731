"""Where parts are in a recipe, and of which kind they are."""

from __future__ import annotations

from collections.abc import Mapping

# Dotted key of a part -> its kind.
PLACES: Mapping[str, str] = {
    "modality": "modality",
    "data": "dataset",
    "codec": "codec",
    "backbone": "backbone",
    "schedule": "schedule",
    "prediction": "prediction",
    "conditioner": "conditioner",
    "timesteps": "timesteps",
    "sampler": "sampler",
    "guide": "guide",
    "cascade": "cascade",
    "sample.cache": "cache",
    "train.noise_level": "noise_level",
    "train.objective": "objective",
    "train.reconstruction": "reconstruction",
    "train.critic": "critic",
    "train.adapter": "adapter",
    "train.replay.data": "dataset",
    "train.distill.method": "distillation",
    "train.dedup_feature": "feature",
    "evaluate.feature": "feature",
    "evaluate.other": "dataset",
    "evaluate.groups.judge": "feature",
}
# Dotted key of a list of parts -> their kind.
LISTS: Mapping[str, str] = {"evaluate.metrics": "metric", "modifiers": "modifier", "safety.filters": "filter"}
# Parts that may be written as their name alone.
SHORT = frozenset({"sample.cache"})
