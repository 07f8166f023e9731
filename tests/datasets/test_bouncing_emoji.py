"""Bouncing emoji and their sound: the same event in both, by physics, and the user's own clips with sound."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from multigen import registry
from multigen.core.noise import stream
from multigen.datasets import Dataset
from multigen.datasets.bounces import Bounce, Float, course
from multigen.datasets.bouncing_emoji import BouncingEmoji
from multigen.errors import MultigenError, RecipeError
from multigen.modalities import Modality
from multigen.modalities.audio import Audio
from multigen.modalities.image import Image
from multigen.modalities.joined import MadeSound
from multigen.modalities.video import Video
from multigen.modalities.video_encoding import encode_video
from multigen.registry import Part

SOUND, CLIP = Audio(rate=16000, seconds=2.0), Video(size=32, frames=16, fps=8.0)


def data(name: str, modality: Modality, **args: object) -> Dataset:
    return registry.build("dataset", Part(name, args), given={"modality": modality})


def test_flights_are_parabolas_under_one_gravity() -> None:
    way = Bounce(seconds=4.0, apex=0.9, flight=1.0, kept=0.7, begun=0.25)
    for start, lasts, height in way.flights():
        times = torch.linspace(start, start + lasts, 41, dtype=torch.float64)[1:-1]
        times = times[(times > 0) & (times < 4)]
        h = way.height(times)
        assert float(h.max()) <= height + 1e-9
        step = lasts / 40
        bend = h.diff(n=2) / step**2
        torch.testing.assert_close(bend, torch.full_like(bend, -8.0), atol=1e-6, rtol=1e-6)  # 8 / flight²
    for at, speed in way.impacts():
        before, after = way.height(torch.tensor([at - 1e-4, at + 1e-4], dtype=torch.float64)).tolist()
        assert before == pytest.approx(4e-4 * speed, rel=0.01) and 0 <= after <= before
    last = way.impacts()[-1][0]
    assert way.height(torch.tensor([3.9], dtype=torch.float64)) == 0 or last > 3.9


def test_what_floats_has_no_impact_and_stays_above_the_ground() -> None:
    way = course([0.3, 0.8, 0.1, 0.2], 2.0, floats=True)
    assert isinstance(way, Float) and way.impacts() == []
    heights = way.height(torch.linspace(0, 2, 500, dtype=torch.float64))
    assert heights.min() > 0.1 and heights.max() < 1


def test_the_sound_of_a_clip_and_the_clip_of_a_sound_are_one_pair() -> None:
    heard, seen = (BouncingEmoji(modality=m, count=5) for m in (SOUND, CLIP))
    for index in (0, 2, 7):
        a, b = heard.draw(index, stream(3)), seen.draw(index, stream(3))
        assert a["id"] == b["id"]
        assert "condition" in a and "condition" in b
        assert torch.equal(a["media"], b["condition"].tensor) and torch.equal(
            a["condition"].tensor, b["media"]
        )
        assert a["media"].shape == (1, 32000) and b["media"].shape == (3, 16, 32, 32)
        assert torch.equal(heard[index]["media"], heard[index]["media"])


def test_whole_objects_are_held_out() -> None:
    one = BouncingEmoji(modality=SOUND, count=40)
    train, held = ({one[k]["id"].rpartition(" ")[0] for k in part} for part in one.split())
    assert held and not train & held and len(train | held) == 40
    with pytest.raises(MultigenError, match="image is neither"):
        BouncingEmoji(modality=Image())


def test_the_picture_is_as_high_as_the_course() -> None:
    one = BouncingEmoji(modality=CLIP, objects=("soccer ball",))
    item, way = one.draw(0, stream(1)), one.course_of(0, stream(1))
    ink = (1 - item["media"]).sum(0)
    rows = (ink.sum(2) * torch.arange(32)).sum(1) / ink.sum((1, 2))
    heights = way.height((torch.arange(16, dtype=torch.float64) + 0.5) / 8)
    together = torch.corrcoef(torch.stack([-rows.double(), heights]))
    assert float(together[0, 1]) > 0.999


def test_a_condition_that_is_taken_from_the_medium_itself() -> None:
    moving = {"name": "moving_emoji", "count": 3}
    for take, place in (("first", 0), ("last", -1)):
        item = data("conditioned", CLIP, of=moving, take=take)[4]
        assert "condition" in item
        assert torch.equal(item["condition"].tensor, item["media"][:, place])
    whole = data("conditioned", Image(size=32), of={"name": "digits"})
    drawn = whole.draw(3, stream(0))
    assert "condition" in drawn and torch.equal(drawn["condition"].tensor, drawn["media"])
    inner = data("digits", Image(size=32))
    assert (len(whole), whole.classes, whole.split()) == (len(inner), inner.classes, inner.split())
    for args, said in (
        ({"of": {"name": "digits"}, "take": "first"}, "data.take: first is not allowed"),
        ({"of": {"count": 3}}, "data.of: it names no dataset"),
        ({"of": {"name": "digitz"}}, "data.of.name: 'digitz'.*digits"),
    ):
        with pytest.raises(RecipeError, match=said):
            data("conditioned", Image(size=32), **args)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of 3 s whose pictures become lighter as their tone becomes louder; one of them is silent."""
    folder = tmp_path_factory.mktemp("clips")
    for k in range(3):
        share = np.linspace(0, 1, 24)
        levels = (share[:, None, None, None] * 255 * np.ones((1, 24, 24, 3))).astype(np.uint8)
        t = np.arange(48000) / 16000
        tone = (0.5 * t / 3 * np.sin(2 * math.pi * 440 * t)).astype(np.float32)[None]
        sound = None if k == 2 else MadeSound(tone, 16000)
        encode_video(levels, str(folder / f"{k}.mp4"), ".mp4", 8.0, sound)
        (folder / f"{k}.txt").write_text(f"clip {k}")
    return folder


@pytest.mark.parametrize("modality", [SOUND, CLIP])
def test_both_of_a_clip_are_read_from_the_same_seconds(modality: Modality, clips: Path) -> None:
    one = data("clips", modality, path=str(clips), held_out=0.4)
    assert [Path(name).name for name in one.bad] == ["2.mp4"]
    starts = set()
    for k in range(6):
        item = one.draw(k % len(one), stream(k))
        assert "condition" in item and item.get("text", "").startswith("clip")
        pair = {m.ndim: m for m in (item["media"], item["condition"].tensor)}
        light = (pair[4].mean((0, 2, 3)) + 1) / 2  # of the clip's 3 s
        loud = pair[2][0].unflatten(0, (16, -1)).square().mean(1).sqrt() * 2**0.5 / 0.5
        starts.add(round(float(light[0]), 2))
        assert float((light - loud).abs().max()) < 0.06
    assert len(starts) > 2
    train, held = one.split()
    assert sorted([*train, *held]) == list(range(len(one)))


def test_clips_that_cannot_be_read_are_refused(clips: Path, tmp_path: Path) -> None:
    Video(size=24).write(torch.zeros(3, 24, 24, 24), tmp_path / "silent.mp4")
    for args, modality, said in (
        ({"path": str(tmp_path)}, CLIP, "none of the 1 clips holds both"),
        ({"path": str(clips), "condition": {"name": "audio"}}, SOUND, "data.condition: audio is not allowed"),
        ({"path": str(clips)}, Image(), "clips is not for image"),
    ):
        with pytest.raises(RecipeError, match=said):
            data("clips", modality, **args)
