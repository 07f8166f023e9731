"""A fourth modality, registered from outside the package, trains and samples through the same code as the others.

Everything between the two marks is what its author writes: time series [1, N], as CSV files.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

import multigen
from multigen.errors import MultigenError
from multigen.modalities import Modality
from multigen.recipe.schema import Recipe, Sample, Train
from multigen.registry import Given, Part, register
from multigen.runs import jobs as runs

# --- the new modality -------------------------------------------------------------------------------------------


@register("modality", "curves")
class Curves(Modality):
    """Time series of `length` values in [-1, 1]."""

    name, suffixes, writes, suffix, animation = "curves", (".csv",), (".csv",), ".csv", ""

    def __init__(self, *, length: int = 64) -> None:
        self.length = length

    def shape(
        self, size: int | tuple[int, int] | None = None, duration: float | None = None
    ) -> tuple[int, ...]:
        return (1, self.length if duration is None else round(duration))

    def read(self, path: Path, *, start: float = 0.0, duration: float | None = None) -> Tensor:
        return torch.tensor([[float(v) for v in path.read_text().split(",")]])

    def write(self, media: Tensor, path: Path) -> None:
        path.write_text(",".join(f"{v:.6f}" for v in media[0].tolist()))

    def preview(self, media: list[Tensor]):
        from PIL import Image

        rows = torch.stack([(m[0].clamp(-1, 1) + 1) * 127.5 for m in media]).to(torch.uint8)
        return Image.fromarray(rows.numpy())

    def html(self, media: Tensor) -> str:
        return f"<code>{media[0, :8].tolist()}</code>"


@register("dataset", "sine_curves")
class Sines:
    """Sines of one period and random phase; two amplitudes."""

    classes, bad = ("quiet", "loud"), {}

    def __init__(self, *, modality: Given[Curves], count: int = 64) -> None:
        self.n, self.count = modality.length, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict:
        return self.draw(index, torch.Generator().manual_seed(index))

    def draw(self, index: int, rng: torch.Generator) -> dict:
        phase = torch.rand(1, generator=rng).item() + torch.arange(self.n) / self.n
        media = (0.2, 0.9)[index % 2] * torch.sin(2 * math.pi * phase)[None]
        return {"media": media, "id": f"sine{index}", "label": index % 2}

    def split(self) -> tuple[range, range]:
        return range(self.count - 8), range(self.count - 8, self.count)


# --- the end of it ----------------------------------------------------------------------------------------------


def recipe(**train: object) -> Recipe:
    settings = {"steps": 300, "batch": 16, "lr": 2e-3, "warmup": 10, "ema_decay": 0.98, "tensorboard": False}
    return Recipe(
        name="curves",
        modality=Part("curves", {"length": 32}),
        data=Part("sine_curves"),
        codec=Part("pixels"),
        conditioner=Part("label", {"width": 16}),
        backbone=Part("unet", {"widths": [16, 32], "blocks": 1, "attention": [False, False]}),
        guide=Part("plain"),
        train=Train(
            **{**settings, "checkpoint_every": 300, "preview_every": 0, "held_out_every": 0, **train}
        ),  # type: ignore[arg-type]
        sample=Sample(n=4, steps=8, prompts=("quiet", "loud")),
    )


@pytest.mark.slow
def test_a_new_modality_trains_samples_and_reports(tmp_path: Path) -> None:
    folder = runs.run(recipe(), out=tmp_path / "run", device="cpu", quiet=True)
    assert len(list((folder / "media").glob("*.csv"))) == 8
    assert (folder / "report.html").stat().st_size > 1000
    model = multigen.load(folder)
    quiet = torch.stack([m.tensor for m in model.generate("quiet", n=8)])
    loud = torch.stack([m.tensor for m in model.generate("loud", n=8)])
    # A sine of amplitude a has deviation a/sqrt(2): 0.14 and 0.64.
    assert quiet.std(-1).mean().item() == pytest.approx(0.14, abs=0.1)
    assert loud.std(-1).mean().item() == pytest.approx(0.64, abs=0.15)
    with pytest.raises(MultigenError, match="quiet"):
        model.generate("quite")
