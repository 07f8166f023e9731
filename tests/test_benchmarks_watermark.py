"""The watermark's benchmark, on few media."""

from __future__ import annotations

import torch

from benchmarks import watermark, watermark_quality
from benchmarks.watermark_attacks import PICTURES
from tests.marks.drawn import picture


def test_rows_count_what_is_found() -> None:
    media = [picture(64, seed) for seed in range(2)]
    row = watermark._row("drawn", "JPEG 75", media, *PICTURES["JPEG 75"], None)
    assert (row["found, %"], row["payload, %"], row["n"], row["bar, %"]) == (100, 100, 2, 98)
    lost = watermark._row("drawn", "grey", media, torch.zeros_like, 0, None)
    assert (lost["found, %"], lost["payload, %"]) == (0, 0)


def test_real_pictures_are_not_those_that_the_design_was_tuned_on() -> None:
    assert len(watermark.pictures(3)) == 3
    assert watermark.pictures(3)[0].shape == (3, 64, 64)


def test_a_louder_mark_is_heard_more() -> None:
    sound = torch.sin(torch.arange(22_050) * 0.2)[None]
    noise = torch.randn(1, 22_050, generator=torch.Generator().manual_seed(0))
    quiet, loud = (float(watermark_quality.audible(sound, size * noise)) for size in (1e-3, 1e-2))
    assert abs(loud - quiet - 20) < 1
