"""Metrics across modalities: true on real pairs, low on shuffled ones, right on pairs whose answer is known."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from multigen import registry
from multigen.core.noise import stream
from multigen.datasets.bouncing_emoji import BouncingEmoji
from multigen.errors import RecipeError
from multigen.evaluation.metrics import Metric, Target, shuffled
from multigen.evaluation.metrics.across import impacts, onsets, spearman
from multigen.evaluation.sets import request_of
from multigen.modalities import Modality
from multigen.modalities.audio import Audio
from multigen.modalities.image import Image
from multigen.modalities.media import Media
from multigen.modalities.video import Video
from multigen.model.model import Model
from multigen.recipe.load import load_recipe
from multigen.registry import Part

SOUND, CLIP = Audio(rate=16000, seconds=2.0), Video(size=32, frames=16, fps=8.0)


def metric(name: str, modality: Modality) -> Metric:
    return registry.build("metric", Part(name), given={"modality": modality, "dataset": None})


@pytest.fixture(scope="module")
def pairs() -> tuple[BouncingEmoji, list[int]]:
    return BouncingEmoji(modality=SOUND), list(range(0, 160, 3))


@pytest.mark.parametrize("modality", [SOUND, CLIP])
def test_real_pairs_meet_and_shuffled_ones_do_not(modality: Modality) -> None:
    data = BouncingEmoji(modality=modality)
    items = [data.draw(k, stream(1, k)) for k in range(0, 160, 7)]
    media = [i["media"] for i in items]
    targets = [Target("", i["id"], None, i.get("condition")) for i in items]
    for name, real, floor in (("impacts", 0.97, 0.45), ("height_pitch", 0.95, 0.3)):
        one = metric(name, modality)
        assert one(media, targets).value >= real
        assert one(media, shuffled(targets)).value <= floor
        assert math.isnan(one(media[:1], [Target("")]).value)


def test_impacts_and_onsets_are_those_of_the_generator(pairs: tuple[BouncingEmoji, list[int]]) -> None:
    data, indices = pairs
    seen = heard = count = 0
    for k in indices:
        item, way = data.draw(k, stream(2, k)), data.course_of(k, stream(2, k))
        assert "condition" in item
        true = [t for t, _ in way.impacts() if 0.2 < t < 1.8]
        found = impacts(item["condition"].tensor, 8.0), onsets(item["media"], 16000.0)
        count += len(true)
        seen += sum(any(abs(t - f) <= 1 / 8 for f in found[0]) for t in true)
        heard += sum(any(abs(t - f) <= 0.03 for f in found[1]) for t in true)
        if not way.impacts():
            assert found[1] == [] and len(found[0]) == 0
    assert count > 40 and seen >= 0.97 * count and heard >= 0.99 * count


def test_a_sound_that_clicks_all_the_time_does_not_pass(pairs: tuple[BouncingEmoji, list[int]]) -> None:
    """Every impact has an onset near; precision counts as much."""
    data, _ = pairs
    item = data.draw(0, stream(2, 0))
    t = torch.arange(32000) / 16000
    noise = torch.randn(1, 32000, generator=torch.Generator().manual_seed(0))
    clicks = 0.3 * noise * torch.exp(-(t % 0.15) / 0.01)
    assert metric("impacts", SOUND)([clicks], [Target("", "", None, item.get("condition"))]).value < 0.75
    silence = torch.zeros(1, 32000)
    assert metric("impacts", SOUND)([silence], [Target("", "", None, item.get("condition"))]).value == 0


def test_rank_correlation_is_that_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = torch.Generator().manual_seed(0)
    a, b = torch.randint(0, 9, (50,), generator=rng).float(), torch.randn(50, generator=rng)
    assert spearman(a, b) == pytest.approx(float(stats.spearmanr(a, b)[0]))
    assert spearman(a, torch.ones(50)) == 0


def test_edges_of_the_same_thing_agree() -> None:
    ring = torch.ones(3, 48, 48)
    ring[:, 10:38, 10:38], ring[:, 16:32, 16:32] = -0.4, 0.7
    one, image = metric("outline", Image(size=48)), Image(size=48)
    other = ring.flip(0) * 0.8  # the same form in other colours
    far = torch.ones(3, 48, 48)
    far[:, 2:6, 2:46] = -1.0
    targets = [Target("", "", None, Media(ring, image))] * 4
    same, moved, away, nothing = one([other, ring.roll(1, 2), far, torch.ones(3, 48, 48)], targets).values
    assert same > 0.99 and moved > 0.99 and away < 0.2 and nothing == 0
    assert metric("outline", Image(size=48))([ring], [Target("")]).values[0] != 1
    with pytest.raises(RecipeError, match="outline takes images"):
        metric("outline", SOUND)


def test_the_same_thing_is_told_from_another() -> None:
    data = registry.build(
        "dataset",
        Part("conditioned", {"of": {"name": "moving_emoji", "count": 6}, "take": "first"}),
        given={"modality": CLIP},
    )
    items = [data[k] for k in range(0, len(data), 9)]
    media = [i["media"] for i in items]
    targets = [Target("", i["id"], None, i["condition"]) for i in items]
    one = metric("same_thing", CLIP)
    assert one(media, targets).value > 0.97 and one(media, shuffled(targets)).value < 0.7


def test_an_evaluation_asks_for_each_targets_condition() -> None:
    small = ["weights=null", "backbone.widths=[16,32]", "backbone.attention=[false,true]"]
    model = Model(load_recipe("audio_for_video", small), device="cpu")
    clip = Media(torch.ones(3, 16, 32, 32), CLIP)
    asked = request_of(model, Target("soccer ball bouncing", "", None, clip))
    assert asked.prompt == "" and asked.options == {"condition": clip}
    assert request_of(model, Target("x")).options == {}


@pytest.mark.parametrize(
    ("name", "args", "asked"),
    [
        ("none", {}, ("", "")),
        ("label", {"classes": ["cat", "dog"]}, ("dog", "a dog")),
        ("class_index", {"classes": 2}, ("1", "a dog")),
        ("text", {}, ("a dog", "a dog")),
    ],
)
def test_a_conditioner_says_what_asks_for_an_item(
    name: str, args: dict[str, Any], asked: tuple[str, str]
) -> None:
    one = registry.build("conditioner", Part(name, args), given={"modality": Image(size=32)})
    assert (one.prompt_for("a dog", 1), one.prompt_for("a dog", None)) == asked
