"""Ways to sample with the same weights, judged on the same prompts and seeds by the evaluator's own metrics.

Pairs make small sets say something: each way's media share their start with those of the base, so that what differs
between them is the way alone. Differences carry the standard error of the paired difference.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import multigen
from multigen.evaluation import distances
from multigen.evaluation.compare import other_set
from multigen.evaluation.evaluate import build_parts
from multigen.evaluation.features import extract
from multigen.evaluation.paired import excess_scale
from multigen.evaluation.sets import MediaSet, draw_targets, pools_of, prompt_of, real_set
from multigen.generation.request import Request
from multigen.model.build import build_dataset


@dataclass(frozen=True)
class Way:
    """How media are sampled: overrides of the recipe, a number of steps and a cache."""

    title: str
    steps: int | None = None
    overrides: tuple[str, ...] = ()
    cache: Mapping[str, Any] | str = "off"


@dataclass(frozen=True, eq=False)
class Made:
    """What a way made: media, their features [n, K, width], values of each metric [n], seconds and calls."""

    way: Way
    media: list[Tensor]
    features: Tensor
    values: Mapping[str, Tensor]
    seconds: float
    calls: int


@dataclass(frozen=True)
class Verdict:
    """A way beside the base.

    metrics   value, difference from the base and the difference's standard error, by metric
    kernel    excess of the kernel distance to real media: 0 like real ones, 1 like another kind; likewise
    apart     root mean square difference from the base's media, of full scale
    """

    way: Way
    metrics: Mapping[str, tuple[float, float, float]]
    kernel: tuple[float, float, float]
    apart: float
    seconds: float
    calls: int

    @property
    def equal(self) -> bool:
        """Whether it is as good as the base: no difference to the worse beyond two standard errors, nor a large one."""
        worse, error = self.kernel[1:]
        if worse > max(2 * error, 0.05):
            return False
        return all(diff >= -max(2 * error, 0.02) for _, diff, error in self.metrics.values())


class Judge:
    """Judges ways to sample with shipped weights, on `n` media of prompts that the dataset draws."""

    def __init__(self, name: str, n: int, *, seed: int = 0, batch: int = 16) -> None:
        self.model = multigen.load(name)
        self.n, self.seed, self.batch = n, seed, batch
        dataset = build_dataset(self.model.recipe, self.model.modality)
        self.feature, self.metrics = build_parts(self.model, dataset)
        # Metrics that look at all media at once, such as a classifier trained on them, have no pairs.
        self.metrics = {k: m for k, m in self.metrics.items() if k != "trained_on_samples"}
        pool = pools_of(dataset)[0]
        self.targets = draw_targets(dataset, pool, n, seed=seed)
        size = max(n, REAL[self.model.recipe.modality.name])
        a, b = (real_set(dataset, pool, size, self.model.codec, seed=seed, part=part) for part in ("a", "b"))
        self.real, self.same, self.far = (self._features(s) for s in (a, b, other_set(self.model, size)))
        near = distances.kernel(self.real, self.same).value
        self.near, self.scale = near, excess_scale(near, distances.kernel(self.real, self.far).value, size)

    def make(self, way: Way) -> Made:
        """Sample as a way says, with seeds `seed`, `seed` + 1 ..."""
        prompts = [prompt_of(self.model, target) for target in self.targets]
        requests = [
            Request(p, seed=self.seed + k, steps=way.steps, overrides=way.overrides, cache=way.cache)
            for k, p in enumerate(prompts)
        ]
        start = time.process_time()  # others may use the machine, too
        batcher = self.model.batcher(requests, batch=self.batch)
        calls = batcher.calls or 0
        media = [medium.tensor.clamp(-1, 1) for medium in batcher.in_order()]
        seconds = (time.process_time() - start) / len(media)
        made = MediaSet(way.title, media, list(self.targets))
        values = {k: torch.tensor(m(media, made.targets).values) for k, m in self.metrics.items()}
        return Made(way, media, self._features(made), values, seconds, calls // len(media))

    def compare(self, made: Made, base: Made) -> Verdict:
        """A way beside the base, pair by pair."""
        metrics = {}
        for name, values in made.values.items():
            sign = -1.0 if self.metrics[name].better == "lower" else 1.0
            metrics[name] = (float(values.nanmean()), *_paired(sign * (values - base.values[name])))
        excess = (float(distances.kernel(self.real, made.features).value) - self.near) / self.scale
        rise = distances.kernel_rise(self.real, base.features, made.features)
        apart = torch.stack([(a - b).square().mean() for a, b in zip(made.media, base.media, strict=True)])
        return Verdict(
            made.way,
            metrics,
            (excess, rise.value / self.scale, rise.error / self.scale),
            float(apart.mean().sqrt()) / 2,
            made.seconds,
            made.calls,
        )

    def _features(self, media: MediaSet) -> Tensor:
        return extract(self.feature, media.media, device=self.model.device)


def _paired(differences: Tensor) -> tuple[float, float]:
    """Mean difference and its standard error; what is not known counts for nothing."""
    known = differences[~differences.isnan()]
    if len(known) < 2:
        return math.nan, math.nan
    return float(known.mean()), float(known.std() / len(known) ** 0.5)


def line(verdict: Verdict) -> str:
    """A verdict in one line."""
    parts = [f"{verdict.way.title:44} calls {verdict.calls:3} {verdict.seconds:6.3f} s"]
    parts += [f"{k} {v:.3f} ({d:+.3f} ± {e:.3f})" for k, (v, d, e) in verdict.metrics.items()]
    v, d, e = verdict.kernel
    return "  ".join([*parts, f"kernel {v:.3f} ({d:+.3f} ± {e:.3f})  apart {verdict.apart:.3f}"])


def row(verdict: Verdict, base: Verdict | None = None) -> tuple[str, ...]:
    """A verdict as a row of a card's table, with its speed beside a base: `header` names the columns."""
    cells = [f"{v:.3f} ({d:+.3f} ± {e:.3f})" for v, d, e in (*verdict.metrics.values(), verdict.kernel)]
    speed = () if base is None else (f"{base.seconds / verdict.seconds:.2f}",)
    return (verdict.way.title, str(verdict.calls), *speed, *cells)


def header(verdict: Verdict, *, speed: bool = False) -> tuple[str, ...]:
    """The columns of `row`."""
    return (
        "way",
        "calls",
        *(("times as fast",) if speed else ()),
        *verdict.metrics,
        "excess kernel distance",
    )


COUNTS = {"image": 48, "video": 16, "audio": 12}  # media a way, by modality
REAL = {
    "image": 64,
    "video": 32,
    "audio": 24,
}  # real media, at least: features of a clip are those of its frames
