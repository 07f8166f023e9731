"""The modality: time series of `length` values in [-1, 1], as CSV files."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from multigen.errors import MediaError
from multigen.modalities import Info, Modality, Source

LIMIT = 1_000_000  # bytes of one file


class Series(Modality):
    """Media [1, N] of `length` values. One value a time step, so a duration is a number of steps."""

    name, suffixes, writes, suffix, animation = "series", (".csv",), (".csv",), ".csv", ""

    def __init__(self, *, length: int = 64) -> None:
        self.length = length

    def shape(
        self, size: int | tuple[int, int] | None = None, duration: float | None = None
    ) -> tuple[int, ...]:
        if size is not None:
            raise ValueError("size: a series has none; give a duration")
        return (1, self.length if duration is None else round(duration))

    def info(self, path: Source) -> Info:
        return Info(duration=self.read(path).shape[1])

    def read(self, path: Source, *, start: float = 0.0, duration: float | None = None) -> Tensor:
        if not isinstance(path, Path) or path.stat().st_size > LIMIT:
            raise MediaError(f"{path}: a series is a CSV file of at most {LIMIT:,} bytes")
        try:
            values = torch.tensor([[float(v) for v in path.read_text(encoding="utf-8").split(",")]])
        except ValueError as error:
            raise MediaError(f"{path}: cannot be read ({error})") from error
        return values[:, round(start) : None if duration is None else round(start + duration)]

    def fit(self, media: Tensor, shape: tuple[int, ...], rng: torch.Generator | None = None) -> Tensor:
        return F.interpolate(media[None], shape[1], mode="linear")[0]

    def write(self, media: Tensor, path: Path) -> None:
        path.write_text(",".join(f"{v:.6f}" for v in media[0].tolist()), encoding="utf-8")

    def preview(self, media: list[Tensor]) -> Image.Image:
        rows = torch.cat([(m.clamp(-1, 1) + 1) * 127.5 for m in media]).to(torch.uint8)
        return Image.fromarray(rows.numpy()).resize((4 * rows.shape[1], 16 * len(rows)))

    def html(self, media: Tensor) -> str:
        points = " ".join(f"{k},{50 - 45 * v:.1f}" for k, v in enumerate(media[0].tolist()))
        line = f'<polyline points="{points}" fill="none" stroke="currentColor"/>'
        return f'<svg viewBox="0 0 {media.shape[1]} 100" width="200">{line}</svg>'
