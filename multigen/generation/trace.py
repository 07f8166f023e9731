"""Traces: what happened on the way to one medium, for people to see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from multigen.core.backbone import Maps
from multigen.core.guides import Query
from multigen.modalities.media import Media
from multigen.storage.files import write_json

if TYPE_CHECKING:
    from multigen.generation.generate import Maker

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

    def note(self, q: Query, x0: Tensor, with_: Tensor | None, maps: Maps | None) -> None:
        """Hear of one query, of the first row of its batch."""
        self.times.append(float(q.t))
        self.x.append(q.x[0].detach().cpu())
        self.x0.append(x0[0].detach().cpu())
        if with_ is not None:
            size = with_[0].square().mean().sqrt().clamp_min(1e-12)
            self.guidance.append(float((x0[0] - with_[0]).square().mean().sqrt() / size))
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

    def pictures(self, model: Maker) -> dict[str, Any]:
        """Name -> picture: the way (above x_t, below the x0 seen from there), and attention to each word."""
        count = min(SHOWN, len(self.times))
        chosen = torch.linspace(0, len(self.times) - 1, count).round().long().tolist()
        out = {
            name: model.modality.preview([self._decoded(model, values[k]) for k in chosen])
            for name, values in (("noisy", self.x), ("clean", self.x0))
        }
        words = [] if self.medium is None else model.words(self.medium.prompt)
        if self.maps is not None and words:
            out["attention"] = attention_picture(self.maps[: len(words)], words)
        return out

    def frames(self, model: Maker) -> list[Any]:
        """A picture a query, all of one size: x_t and the x0 seen from there, beside or above each other."""
        pairs = zip(self.x, self.x0, strict=True)
        return [model.modality.preview([self._decoded(model, one) for one in pair]) for pair in pairs]

    def _decoded(self, model: Maker, x: Tensor) -> Tensor:
        seed = 0 if self.medium is None else self.medium.seed
        return model.medium(x.to(model.device), "", seed).tensor

    def save(self, model: Maker, folder: Path, stem: str, *, clip: bool = False) -> None:
        """Pictures and numbers into `folder`: stem-noisy.png, stem-clean.png, stem-attention.png, stem.json.

        `clip`: also stem-clip.webp, every query of the way as a frame, which takes as many decodings.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for name, picture in self.pictures(model).items():
            picture.save(folder / f"{stem}-{name}.png")
        if clip:
            first, *rest = self.frames(model)
            first.save(
                folder / f"{stem}-clip.webp", save_all=True, append_images=rest, loop=0, lossless=True,
                duration=[FRAME] * len(rest) + [HELD],
            )  # fmt: skip
        write_json(folder / f"{stem}.json", {"times": self.times, "guidance": self.guidance})


Note = Callable[[Query, Tensor, "Tensor | None", "Maps | None"], None]


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
