"""Traces: what happened on the way to one medium, for people to see."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multigen.core.modifiers import Observed
from multigen.generation.batching import Batcher
from multigen.generation.heat import Row, heat_picture
from multigen.generation.noise_levels import Interval, Sums, intervals, place
from multigen.generation.parts import ModelParts, decode, words
from multigen.generation.plan import jobs
from multigen.generation.prompt_words import Word, grouped, of_words
from multigen.generation.request import Request
from multigen.modalities.media import Media
from multigen.provenance.marking import mark_picture
from multigen.storage.files import write_json

SHOWN = 8  # steps in a picture
LEVELS = 4  # intervals of noise levels, in which attention is summed up
FRAME, HELD = 150, 1500  # ms that a clip shows a query, and the last one


@dataclass
class Trace:
    """Every answered query of one medium's trajectory, and the medium.

    times     t of each query
    x, x0     what the network saw and what the sampler got, each [C, *D] in model space
    guidance  how far guidance moved x0 from the conditional answer, relative to its size (root mean squares)
    levels    intervals of noise levels; `attention` has sums of the maps of each
    attention  sums over queries and blocks of the attention to each token, on the grid of the finest block
    """

    medium: Media | None = None
    times: list[float] = field(default_factory=list)
    x: list[Tensor] = field(default_factory=list)
    x0: list[Tensor] = field(default_factory=list)
    guidance: list[float] = field(default_factory=list)
    levels: Sequence[Interval] = ()
    attention: Sums = field(default_factory=lambda: Sums(1))

    def observe(self, seen: Observed) -> None:
        """Keep one answered query: x0 as the sampler gets it, and the conditional prediction."""
        q, x0, cond = seen.query, seen.x0, seen.cond
        self.times.append(float(q.t))
        self.x.append(q.x[0].detach().cpu())
        self.x0.append(x0[0].detach().cpu())
        if cond is not None:
            size = cond[0].square().mean().sqrt().clamp_min(1e-12)
            self.guidance.append(float((x0[0] - cond[0]).square().mean().sqrt() / size))
        for one in [] if seen.maps is None else seen.maps.found.values():
            self.attention.add(place(self.levels, float(q.t)), one[0])

    @property
    def maps(self) -> Tensor | None:
        """The sum of all attention maps, [L, T, H, W] on the finest block's grid; None where there are none."""
        return self.attention.total()

    def pictures(self, parts: ModelParts) -> dict[str, Any]:
        """Name -> picture: the way (above x_t, below the x0 seen from there), and attention to each word."""
        count = min(SHOWN, len(self.times))
        chosen = torch.linspace(0, len(self.times) - 1, count).round().long().tolist()
        out = {
            name: parts.modality.preview([self._decoded(parts, values[k]) for k in chosen])
            for name, values in (("noisy", self.x), ("clean", self.x0))
        }
        tokens = [] if self.medium is None else words(parts, self.medium.prompt)
        means = self.attention.means()
        if self.medium is not None and means is not None and tokens:
            out["attention"] = attention_picture(self.medium, means, grouped(tokens), self.levels)
        return out

    def frames(self, parts: ModelParts) -> list[Any]:
        """A picture a query, all of one size: x_t and the x0 seen from there, beside or above each other."""
        pairs = zip(self.x, self.x0, strict=True)
        return [parts.modality.preview([self._decoded(parts, one) for one in pair]) for pair in pairs]

    def _decoded(self, parts: ModelParts, x: Tensor) -> Tensor:
        seed = 0 if self.medium is None else self.medium.seed
        return decode(parts, x.to(parts.device), "", seed).tensor

    def save(self, parts: ModelParts, folder: Path, stem: str, *, clip: bool = False) -> None:
        """Pictures and numbers into `folder`: stem-noisy.png, stem-clean.png, stem-attention.png, stem.json.

        `clip`: also stem-clip.webp, every query of the way as a frame, which takes as many decodings.
        """
        folder.mkdir(parents=True, exist_ok=True)
        files = []
        for name, picture in self.pictures(parts).items():
            files.append(folder / f"{stem}-{name}.png")
            picture.save(files[-1])
        if clip:
            first, *rest = self.frames(parts)
            files.append(folder / f"{stem}-clip.webp")
            first.save(
                files[-1], save_all=True, append_images=rest, loop=0, lossless=True,
                duration=[FRAME] * len(rest) + [HELD],
            )  # fmt: skip
        if self.medium is not None and (made := self.medium.made) is not None:
            for file in files:
                mark_picture(file, made)
        write_json(folder / f"{stem}.json", {"times": self.times, "guidance": self.guidance})


def attention_picture(medium: Media, means: Tensor, words: Sequence[Word], levels: Sequence[Interval]) -> Any:
    """Heat over the medium where the network looks at each word, of all noise levels and of each interval.

    means  [1 + intervals, L, T, H, W], shares of the attention of each place
    """
    maps = of_words(means, words)
    rows = [
        Row(word.text, maps[:, k], [f"{float(one.mean()):.0%}" for one in maps[:, k]])
        for k, word in enumerate(words)
    ]
    return heat_picture(medium, rows, ["all noise", *(f"noise {level}" for level in levels)])


def traced(parts: ModelParts, request: Request | str) -> Trace:
    """Make one medium and keep how it came about. MultigenError for what does not fit, before any network call."""
    trace = Trace()
    seed = parts.recipe.seed
    (job,) = jobs(parts, [request], 1, seed)
    if parts.nearness is not None:  # which of its tries is handed out
        ((_, medium),) = Batcher(parts, [job], 1)
        job = job if medium.near is None else job._replace(seed=medium.near.seed)
    trace.levels = intervals(parts.denoiser.schedule, job.plan.ts, LEVELS)
    trace.attention = Sums(len(trace.levels))
    observed = job._replace(plan=dataclasses.replace(job.plan, observer=trace.observe))
    ((_, trace.medium),) = Batcher(parts, [observed], 1)
    return trace
