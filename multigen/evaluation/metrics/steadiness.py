"""Videos of objects on white: does each stay the same object, and not flicker, however it moves?"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, normalize

from multigen.datasets import Dataset
from multigen.datasets.motions import parse
from multigen.evaluation.metrics import Metric, Score, Target
from multigen.evaluation.metrics.checks import check_modality
from multigen.evaluation.metrics.cut_out import cut_out, ink
from multigen.evaluation.metrics.motion import track
from multigen.evaluation.metrics.motion_kind import turn
from multigen.modalities import Modality
from multigen.registry import Given

_SIDE = 32  # px of an object that is cut out
_SEEN = 0.35  # share of its opacity from which on what appears is compared


class Kept(Metric):
    """How constant the object is: mean correlation of each frame, cut out, with the middle frame.

    The asked motion is undone first: what is to spin is turned back by as much as it turns from frame to frame, what is
    to appear is made opaque and compared where a third of it is there. Of two objects each is cut out of its half, and
    the mean counts.
    """

    better = "higher"
    reads = "media"
    about = "correlation of the object in each frame with that in the middle frame"

    def __init__(self, *, modality: Given[Modality], dataset: Given[Dataset]) -> None:
        check_modality(modality, (3,), "kept")

    def __call__(self, media: Sequence[Tensor], targets: Sequence[Target]) -> Score:
        """Correlations from -1 to 1; NaN for a single frame."""
        return Score.of(
            [_mean([_correlation(o) for o in _objects(m, t)]) for m, t in zip(media, targets, strict=True)]
        )


class Flicker(Metric):
    """Mean absolute change of the object, cut out, between neighbouring frames; 0 if it only moves.

    The asked motion is undone first, as in `kept`.
    """

    better = "lower"
    reads = "media"
    about = "mean change of the object between neighbouring frames, of 2"

    def __init__(self, *, modality: Given[Modality], dataset: Given[Dataset]) -> None:
        check_modality(modality, (3,), "flicker")

    def __call__(self, media: Sequence[Tensor], targets: Sequence[Target]) -> Score:
        """Changes from 0 to 2; NaN for a single frame."""
        return Score.of(
            [_mean([_change(o) for o in _objects(m, t)]) for m, t in zip(media, targets, strict=True)]
        )


def _objects(video: Tensor, target: Target) -> list[Tensor]:
    """The frames [T, 3, side, side] of each object of a video [C, T, H, W], cut out, its asked motion undone."""
    asked = [motion for _, motion in parse(target.id)] or [""]
    undo = {"spin": unturned, "appear": opaque}
    parts = video.chunk(len(asked), dim=-1)
    return [undo.get(motion, cut_frames)(part) for motion, part in zip(asked, parts, strict=True)]


def cut_frames(video: Tensor) -> Tensor:
    """The object of each frame of [C, T, H, W], cut out: [T, 3, side, side]."""
    return torch.stack([cut_out(f, _SIDE) for f in video.movedim(1, 0)])


def unturned(video: Tensor) -> Tensor:
    """As `cut_frames`, each frame turned back to the middle one, all at one scale."""
    frames, centres = video.movedim(1, 0), track(video)
    seen = ~centres.isnan().any(1)
    if int(seen.sum()) < 2:
        return cut_frames(video)
    frames, centres, moments = frames[seen], centres[seen], torch.arange(len(seen))[seen]
    angle = math.radians(turn(video)) * (moments - len(seen) // 2)
    around = torch.linspace(-1, 1, _SIDE) * _radius(frames, centres)
    y, x = torch.meshgrid(around, around, indexing="ij")
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    offset = torch.stack([x * cos - y * sin, x * sin + y * cos], -1)  # y points down: clockwise
    size = torch.tensor([frames.shape[3], frames.shape[2]])
    place = (centres[:, None, None] + offset + 0.5) / size * 2 - 1
    return 1 - grid_sample(1 - frames.float(), place, align_corners=False)


def opaque(video: Tensor) -> Tensor:
    """As `cut_frames`, of the frames in which a third of what appears is there, each divided by its opacity."""
    white = 1 - video.movedim(1, 0).float()  # how far from white
    last = white[-max(1, len(white) // 4) :].mean(0)
    share = (white * last).flatten(1).sum(1) / last.square().sum().clamp_min(1e-6)
    shown = share >= _SEEN * float(share.max())
    full = 1 - white[shown] / share[shown].clamp_min(1e-6)[:, None, None, None]
    return cut_frames(full.clamp(-1, 1).movedim(0, 1))


def _radius(frames: Tensor, centres: Tensor) -> float:
    """How far from its centre [T, 2] the ink of [T, C, H, W] reaches in any frame, in pixels, with a margin."""
    height, width = frames.shape[2:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    far = 0.0
    for frame, (across, down) in zip(frames, centres.tolist(), strict=True):
        weight = ink(frame).flatten()
        distance = ((x - across) ** 2 + (y - down) ** 2).sqrt().flatten()
        order = distance.argsort()
        inside = int((weight[order].cumsum(0) < 0.98 * weight.sum()).sum())
        far = max(far, float(distance[order][min(inside, len(order) - 1)]))
    return 0.5 + 1.12 * far


def _change(frames: Tensor) -> float:
    """Mean absolute difference of neighbouring frames; NaN for a single one."""
    return float(frames.diff(dim=0).abs().mean()) if len(frames) > 1 else math.nan


def _correlation(frames: Tensor) -> float:
    """Mean correlation of the frames [T, C, H, W] with the middle one; NaN for a single frame."""
    flat = 1 - frames.flatten(1)
    flat = normalize(flat - flat.mean(1, keepdim=True), dim=1)
    rest = [k for k in range(len(flat)) if k != len(flat) // 2]
    return float((flat[rest] @ flat[len(flat) // 2]).mean()) if rest else math.nan


def _mean(values: Sequence[float]) -> float:
    """The mean of what is known; NaN if nothing is."""
    known = [v for v in values if not math.isnan(v)]
    return sum(known) / len(known) if known else math.nan
