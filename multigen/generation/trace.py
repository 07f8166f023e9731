"""Traces: what happened on the way to one medium, for people to see."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from multigen.core.backbone import Maps
from multigen.core.guides import Query
from multigen.generation.batching import Batcher
from multigen.generation.parts import ModelParts, decode, words
from multigen.generation.plan import jobs
from multigen.generation.request import Request
from multigen.modalities.media import Media
from multigen.provenance.marking import mark_picture
from multigen.storage.files import write_json

SHOWN = 8  # steps in a picture
FRAME, HELD = 150, 1500  # ms that a clip shows a query, and the last one


@dataclass
class Trace:
    """Every answered query of one medium's trajectory, and the medium.

    times     t of each query
    x, x0     what the network saw and what the sampler got, each [C, *D] in model space
    guidance  how far guidance moved x0 from the conditional answer, relative to its size (root mean squares)
    maps      sum over queries and blocks of the attention to each token, [L, *D] of the finest block; None: no tokens
    """

    medium: Media | None = None
    times: list[float] = field(default_factory=list)
    x: list[Tensor] = field(default_factory=list)
    x0: list[Tensor] = field(default_factory=list)
    guidance: list[float] = field(default_factory=list)
    maps: Tensor | None = None

    def observe(self, q: Query, x0: Tensor, cond: Tensor | None, maps: Maps | None) -> None:
        """Keep one answered query: x0 as the sampler gets it, and the conditional prediction."""
        self.times.append(float(q.t))
        self.x.append(q.x[0].detach().cpu())
        self.x0.append(x0[0].detach().cpu())
        if cond is not None:
            size = cond[0].square().mean().sqrt().clamp_min(1e-12)
            self.guidance.append(float((x0[0] - cond[0]).square().mean().sqrt() / size))
        if maps is not None and maps.found:
            self._add(list(maps.found.values()))

    def _add(self, found: list[Tensor]) -> None:
        """Each block's maps [1, L, T, H, W], brought to the size of the largest."""
        sizes = [tuple(m.shape[2:]) for m in found]
        if self.maps is not None:
            sizes.append((self.maps.shape[1], *self.maps.shape[2:]))  # type: ignore[arg-type]
        size = max(sizes, key=lambda s: s[0] * s[1] * s[2])
        for one in found:
            grown = F.interpolate(one[:1].float().cpu(), size=size, mode="nearest")[0]
            self.maps = grown if self.maps is None else self.maps + grown

    def pictures(self, parts: ModelParts) -> dict[str, Any]:
        """Name -> picture: the way (above x_t, below the x0 seen from there), and attention to each word."""
        count = min(SHOWN, len(self.times))
        chosen = torch.linspace(0, len(self.times) - 1, count).round().long().tolist()
        out = {
            name: parts.modality.preview([self._decoded(parts, values[k]) for k in chosen])
            for name, values in (("noisy", self.x), ("clean", self.x0))
        }
        names = [] if self.medium is None else words(parts, self.medium.prompt)
        if self.maps is not None and names:
            out["attention"] = attention_picture(self.maps[: len(names)], names)
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


def attention_picture(maps: Tensor, words: list[str], cell: int = 128) -> Any:
    """One picture a word, brightest where the network looked at it: maps [L, T, H, W], the frames' mean shown."""
    from PIL import Image, ImageDraw

    flat = maps.mean(1)
    out = Image.new("RGB", (len(words) * (cell + 4) + 4, cell + 24), (96, 96, 96))
    draw = ImageDraw.Draw(out)
    for k, (one, word) in enumerate(zip(flat, words, strict=True)):
        low, high = one.min(), one.max()
        levels = ((one - low) / (high - low).clamp_min(1e-12) * 255).round().byte().numpy()
        picture = Image.fromarray(levels).resize((cell, cell), Image.Resampling.NEAREST)
        out.paste(picture, (4 + k * (cell + 4), 4))
        draw.text((6 + k * (cell + 4), cell + 8), word[:20], fill=(255, 255, 255))
    return out


def traced(parts: ModelParts, request: Request | str) -> Trace:
    """Make one medium and keep how it came about. MultigenError for what does not fit, before any network call."""
    trace = Trace()
    seed = parts.recipe.seed
    (job,) = jobs(parts, [request], 1, seed)
    if parts.nearness is not None:  # which of its tries is handed out
        ((_, medium),) = Batcher(parts, [job], 1)
        job = job if medium.near is None else job._replace(seed=medium.near.seed)
    observed = job._replace(plan=dataclasses.replace(job.plan, observer=trace.observe))
    ((_, trace.medium),) = Batcher(parts, [observed], 1)
    return trace
