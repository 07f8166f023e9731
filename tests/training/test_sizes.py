"""Multi-resolution training: sizes by the step alone, in every modality; what cannot be taken is refused at once."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from multigen.codecs.pixels import Pixels
from multigen.core import schedules
from multigen.core.noise import normal
from multigen.datasets.digits import Digits
from multigen.errors import RecipeError
from multigen.modalities.audio import Audio
from multigen.modalities.image import Image
from multigen.modalities.video import Video
from multigen.model.compatibility import check_combination
from multigen.recipe.load import load_recipe
from multigen.recipe.schema import Train
from multigen.registry import register
from multigen.runs import jobs as runs
from multigen.training import log as training_log
from multigen.training.batch import Order
from multigen.training.encoded import varies
from multigen.training.loader import batches
from multigen.training.sizes import Sizes, sizes
from tests.training.toys import Mlp


def of(modality: Any, **settings: Any) -> Sizes:
    found = sizes(Train(**settings), modality, Pixels(), seed=3)
    assert found is not None
    return found


def test_a_step_has_one_size_whoever_reads_it() -> None:
    modality = Image(size=28, channels=1)
    data, found = Digits(modality=modality), of(modality, sizes=(14, (28, 20), 28))
    order = Order(range(40), 6, seed=3)

    def read(workers: int, rows: range | None, first: int = 0) -> list[torch.Tensor]:
        source = batches(data, order, first, workers, rows, found)
        media = [next(source).media for _ in range(first, 8)]
        source.close()
        return media

    whole = read(0, None)
    assert [tuple(m.shape[1:]) for m in whole] == [found.shape(step) for step in range(8)]
    assert {m.shape[1:] for m in whole} == {(1, 14, 14), (1, 28, 20), (1, 28, 28)}
    others = [
        read(2, None),
        [torch.cat(two) for two in zip(read(0, range(3)), read(0, range(3, 6)), strict=True)],
    ]
    assert all(torch.equal(a, b) for other in others for a, b in zip(whole, other, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(whole[5:], read(0, None, 5), strict=True))
    own = next(step for step in range(8) if found.shape(step) == modality.shape())
    assert torch.equal(whole[own], next(batches(data, order, own, 0)).media)  # items as they are


def test_sizes_are_drawn_alike() -> None:
    found = of(Image(size=64), sizes=(16, 32, 64, 64))
    drawn = [found.shape(step)[1] for step in range(4000)]
    assert [drawn.count(n) / 4000 for n in (16, 32, 64)] == pytest.approx([0.25, 0.25, 0.5], abs=0.03)


def test_each_modality_is_cut_its_own_way() -> None:
    sound = of(Audio(rate=1000, seconds=2.0), durations=(0.5,))
    media = torch.arange(2000.0)[None]
    spans = [sound.fit(media, 0, k) for k in range(20)]
    assert all(s.shape == (1, 500) and bool((s.diff() == 1).all()) for s in spans)
    assert len({s[0, 0].item() for s in spans}) > 10  # from anywhere
    clips = of(Video(size=8, frames=6, fps=2.0), sizes=(4, 8), durations=(1.0, 3.0))
    assert set(clips.shapes) == {(3, t, s, s) for t in (2, 6) for s in (4, 8)}
    assert clips.fit(torch.zeros(3, 6, 8, 8), 0, 0).shape == clips.shape(0)


@pytest.mark.parametrize("schedule", [schedules.flow(), schedules.cosine(), schedules.edm()])
def test_shifted_noise_hides_as_much(schedule: schedules.Schedule) -> None:
    """A mean over 2 x 2 pixels of a smooth picture under noise is the half picture under the shifted noise."""
    found = of(Image(size=64), sizes=(32,))
    t = torch.tensor([0.2, 0.5, 0.8], dtype=torch.float64)
    (a, s), (a2, s2) = schedule(t), schedule(found.shifted(schedule, t, (3, 32, 32)))
    torch.testing.assert_close(s2 / a2, s / a / 2)
    noise = torch.nn.functional.avg_pool2d(normal((1, 1, 512, 512), 0, "n"), 2)
    torch.testing.assert_close((s / a).float() * noise.std(), (s2 / a2).float(), rtol=0.02, atol=0)
    assert torch.equal(found.shifted(schedule, t, (3, 64, 32)), t)  # a crop is no smaller


def test_nothing_is_shifted_beyond_the_ends() -> None:
    found = of(Image(size=64), sizes=(16,))
    ends = found.shifted(schedules.flow(), torch.tensor([0.0, 1.0], dtype=torch.float64), (3, 16, 16))
    torch.testing.assert_close(ends, torch.tensor([0.0, 1.0], dtype=torch.float64), rtol=0, atol=1e-6)
    sound = of(Audio(rate=1000, seconds=2.0), durations=(0.5,))
    assert sound.scale((1, 500)) == 1


def test_crops_are_not_cached_and_resized_pictures_are() -> None:
    data = Digits(modality=Image(size=28, channels=1), augment=False)
    assert not varies(data, 0, of(data.modality, sizes=(14, 28)))
    assert varies(data, 0, of(data.modality, sizes=((28, 14), 28)))


SMALL = [
    "weights=null", "train.minutes=null", "train.batch=4", "backbone.widths=[8,8]", "backbone.blocks=1",
    "backbone.attention=[false,false]", "train.tensorboard=false", "data.augment=false",
]  # fmt: skip


def test_masks_cache_accumulation_and_shift_go_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MULTIGEN_CACHE", str(tmp_path / "cache"))
    options = ["train.sizes=[14,[28,28]]", "train.size_shift=true", "masked=true", "train.accumulate=2"]
    options += ["train.cache=0.01", "train.steps=6", "train.log_every=1", "train.held_out_every=6"]
    recipe = load_recipe("image_digits", [*SMALL, *options])
    with caplog.at_level(logging.INFO, "multigen"):
        runs.train(recipe, out=tmp_path / "a", device="cpu", quiet=True)
        runs.train(recipe, out=tmp_path / "b", device="cpu", quiet=True)
    assert "0 from the cache, 24 computed" in caplog.text and "24 from the cache, 0 computed" in caplog.text
    a, b = (training_log.read(tmp_path / name) for name in "ab")
    assert len([r for r in a if "loss" in r]) == 6
    assert [r.get("loss") for r in a] == [r.get("loss") for r in b]


@pytest.mark.parametrize(
    ("name", "override", "text"),
    [
        ("image_digits", "train.sizes=[14,64]", r"train\.sizes: 64: .*\[64, 64\] is larger than .*own size \[28, 28\]"),
        ("image_digits", "train.sizes=[0]", r"train\.sizes: \[0\] is not allowed\. Allowed: a list of sides"),
        ("image_digits", "train.sizes=[[14,x]]", r"train\.sizes"),
        ("image_digits", "train.durations=[2]", r"train\.durations: 2 s: .*An image has no duration"),
        ("image_emoji", "train.size_shift=true", r"train\.size_shift: true is not allowed without train\.sizes"),
        ("audio_music", "train.sizes=[32]", r"train\.sizes: 32: .*Audio has no size in pixels"),
        ("audio_music", "train.durations=[3,9]", r"train\.durations: 9 s: .*is larger than"),
        ("audio_music", "train.durations=[0.01]", r"train\.durations: 0\.01 s: .* s are too short"),
    ],
)  # fmt: skip
def test_what_cannot_be_taken_is_refused_at_the_start(name: str, override: str, text: str) -> None:
    with pytest.raises(RecipeError, match=text):
        check_combination(load_recipe(name, [override]))


def test_a_codec_that_folds_pixels_names_the_size() -> None:
    with pytest.raises(RecipeError, match=r"train\.sizes: 31: unshuffle: 2 does not divide the size 31 x 31"):
        check_combination(load_recipe("image_emoji", ["train.sizes=[31]", "codec.unshuffle=2"]))


def test_a_backbone_of_one_size_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("multigen.registry._registered", {})

    @register("backbone", "one_size")
    class OneSize(Mlp):
        def __init__(self) -> None:
            super().__init__()

        def forward(self, x: Any, c_noise: Any, cond: Any) -> Any:
            return torch.nn.functional.linear(x.flatten(1), x.new_zeros(784, 784)).view_as(x)

    options = ["backbone={name: one_size}", "conditioner.name=none", "sample.prompts=['']"]
    check_combination(load_recipe("image_digits", [*options, "train.sizes=[28]"]))
    with pytest.raises(RecipeError, match=r"backbone does not take media of \[14, 14\]"):
        check_combination(load_recipe("image_digits", [*options, "train.sizes=[28,14]"]))


def test_parts_of_pictures() -> None:
    modality = Image(size=(24, 28), channels=1)
    found = of(modality, crop=8)
    picture = torch.arange(24 * 28.0).view(1, 24, 28)
    parts = [found.fit(picture, step, position) for step in range(8) for position in range(8)]
    corners = {(int(part[0, 0, 0]) // 28, int(part[0, 0, 0]) % 28) for part in parts}
    assert len(corners) > 40
    for part, (step, position) in zip(parts, ((s, p) for s in range(8) for p in range(8)), strict=True):
        top, left = int(part[0, 0, 0]) // 28, int(part[0, 0, 0]) % 28
        assert torch.equal(part, picture[:, top : top + 8, left : left + 8])
        assert torch.equal(part, found.fit(picture, step, position))
    assert found.crops(picture)
    assert found.seen == ((1, 8, 8),)
    clips = of(Video(size=16, frames=3), sizes=(16, 12), crop=6)
    assert {shape[-3:] for shape in clips.seen} == {(3, 6, 6)}
    clip = clips.fit(torch.arange(256.0).view(1, 1, 16, 16).expand(3, 3, 16, 16), 0, 0)
    assert torch.equal(clip[:, 0], clip[:, 2])  # the same part of every frame


@pytest.mark.parametrize(
    ("recipe", "overrides", "part"),
    [
        ("image_digits", ["train.crop=40"], "up to 28"),
        ("image_digits", ["train.crop=0"], "train.crop"),
        ("audio_music", ["train.crop=8"], "pictures and videos"),
        ("image_digits", ["train.crop=14", "train.sizes=[14,28]", "train.size_shift=true"], "size_shift"),
        ("image_emoji", ["train.crop=7"], "train.crop: 7"),
    ],
)
def test_parts_that_cannot_be(recipe: str, overrides: list[str], part: str) -> None:
    with pytest.raises(RecipeError, match=part):
        check_combination(load_recipe(recipe, overrides))


def test_a_network_that_enlarges_learns_from_parts(tmp_path: Path) -> None:
    overrides = [
        "modality.size=28", "codec={name: pixels}", "data={name: digits}", "modality.channels=1", "stages=[]",
        "backbone={name: unet, widths: [8], blocks: 1, attention: [false], start_at_grid: true}",
        "train.crop=8", "train.steps=2", "train.minutes=null", "train.batch=2",
        "train.held_out_every=0", "train.preview_every=0",
        "cascade={name: enlarge, factor: 2, noise: 0.2}",
    ]  # fmt: skip
    runs.train(load_recipe("image_emoji_large", overrides), out=tmp_path / "run", device="cpu", quiet=True)
    assert [row for row in training_log.read(tmp_path / "run") if "loss" in row]
