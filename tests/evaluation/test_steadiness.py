"""Objects that only move as they are asked to are steady, in all fourteen motions; others are not."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch
from torch import Tensor

from multigen import registry
from multigen.core.noise import normal, stream
from multigen.datasets.motions import MOTIONS, parse
from multigen.datasets.moving_emoji import MovingEmoji
from multigen.errors import RecipeError
from multigen.evaluation.metrics import Metric, Target
from multigen.evaluation.metrics.motion_kind import turn
from multigen.evaluation.metrics.steadiness import opaque, unturned
from multigen.modalities.image import Image
from multigen.modalities.video import Video
from multigen.registry import Part

VIDEO = Video(size=64, frames=16)
OBJECTS = ("red heart", "panda", "key", "rocket")


@cache
def moving(pairs: float = 0.0) -> MovingEmoji:
    return MovingEmoji(modality=VIDEO, objects=OBJECTS, motions=tuple(MOTIONS), pairs=pairs)  # type: ignore[arg-type]


def metric(name: str) -> Metric:
    return registry.build("metric", Part(name), given={"modality": VIDEO, "dataset": moving()})


def trembling(video: Tensor, key: str) -> Tensor:
    """The video with other noise on the object of each frame."""
    noise = 0.3 * normal(tuple(video.shape), 0, "tremble", key)
    return (video + noise * (video.amin(0) < 0.9)).clamp(-1, 1)


@pytest.mark.parametrize("motion", list(MOTIONS))
def test_real_clips_are_steady_in_every_motion_and_trembling_ones_are_not(motion: str) -> None:
    data, kept, flicker = moving(), metric("kept"), metric("flicker")
    chosen = [k for k in range(len(data)) if data[k]["id"].endswith(f" {MOTIONS[motion].says[0]}")]
    drawn = [data.draw(k, stream(k)) for k in chosen]
    targets = [Target("", d["id"]) for d in drawn]
    real, worse = [d["media"] for d in drawn], [trembling(d["media"], d["id"]) for d in drawn]
    assert len(chosen) == len(OBJECTS)
    assert kept(real, targets).value > 0.93
    assert flicker(real, targets).value < 0.06
    assert flicker(worse, targets).value > 2 * flicker(real, targets).value
    assert not any(math.isnan(v) for v in kept(real, targets).values)


def test_a_thing_that_changes_is_not_kept_and_flickers() -> None:
    data, kept, flicker = moving(), metric("kept"), metric("flicker")
    heart, panda = data[1]["media"], data[len(MOTIONS) + 1]["media"]
    swapped = heart.clone()
    swapped[:, ::2] = panda[:, ::2]
    assert kept([heart], [Target("")]).value > 0.95
    assert kept([swapped], [Target("")]).value < 0.8
    assert flicker([swapped], [Target("")]).value > 3 * flicker([heart], [Target("")]).value
    with pytest.raises(RecipeError, match="kept takes video; the modality is image"):
        registry.build("metric", Part("kept"), given={"modality": Image(), "dataset": data})


def test_two_objects_are_looked_at_one_by_one() -> None:
    data, kept = moving(pairs=1.0), metric("kept")
    drawn = [d for d in (data.draw(k, stream(k)) for k in range(56)) if len(parse(d["id"])) == 2]
    assert len(drawn) >= 3
    targets = [Target("", d["id"]) for d in drawn]
    assert kept([d["media"] for d in drawn], targets).value > 0.9
    halves = torch.cat([drawn[0]["media"][..., :32], drawn[0]["media"].flip(1)[..., 32:]], -1)
    assert kept([halves], targets[:1]).value > 0.8  # either half by itself is steady


def test_a_spin_is_turned_back_and_a_fade_made_opaque() -> None:
    data = moving()
    spun = next(data[k] for k in range(len(data)) if data[k]["id"] == "key spinning")["media"]
    frames = unturned(spun)
    assert float((frames - frames[8]).abs().mean()) < 0.06
    assert float((frames[0] - frames[8].rot90(1, (1, 2))).abs().mean()) > 0.1
    assert turn(spun) == pytest.approx(360 / 15, abs=0.5)
    faded = next(data[k] for k in range(len(data)) if data[k]["id"] == "red heart appearing")["media"]
    shown = opaque(faded)
    assert 8 <= len(shown) <= 15
    assert float((shown - shown[-1]).abs().mean()) < 0.03


def test_a_single_frame_has_no_flicker() -> None:
    data = moving()
    for name in ("key spinning", "key appearing", "key moving left"):
        assert math.isnan(metric("flicker")([data[0]["media"][:, :1]], [Target("", name)]).value)
