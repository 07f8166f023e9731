"""What all extractors have in common: facts, modalities, weights' files, colours and sizes."""

from __future__ import annotations

import dataclasses
import math
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from multigen import registry
from multigen.errors import MultigenError, RecipeError
from multigen.evaluation.features import Facts, extract
from multigen.evaluation.features.checks import check_media
from multigen.evaluation.features.pictures import resized, resized_tf1, rgb_levels
from multigen.evaluation.features.sound import mono, windows
from multigen.evaluation.features.weights import load_weights
from multigen.modalities.audio import Audio
from multigen.modalities.image import Image
from multigen.modalities.video import Video
from multigen.registry import Part

FACTS = Facts("mean", 3, "any", "none", "none")


class Mean:
    """The mean of each channel; counts its calls."""

    def __init__(self, facts: Facts = FACTS) -> None:
        self.facts, self.calls = facts, 0

    def __call__(self, media: Tensor) -> Tensor:
        self.calls += 1
        return media.flatten(2).mean(2)[:, None]


def test_facts_tell_extractors_apart() -> None:
    assert FACTS.id == Facts("mean", 3, "any", "none", "none").id
    assert len(FACTS.id) == 16
    for field, value in dataclasses.asdict(FACTS).items():
        other = dataclasses.replace(FACTS, **{field: value + 1 if isinstance(value, int) else f"{value}!"})
        assert other.id != FACTS.id, field


def test_extract_reads_in_batches() -> None:
    media = [torch.full((3, 4, 4), k / 10) for k in range(7)]
    feature = Mean()
    found = extract(feature, iter(media), batch=3)
    assert found.shape == (7, 1, 3) and feature.calls == 3
    assert found[:, 0, 0].tolist() == pytest.approx([k / 10 for k in range(7)])


def test_extract_refuses() -> None:
    with pytest.raises(MultigenError, match="mean: there are no media"):
        extract(Mean(), [])
    with pytest.raises(MultigenError, match=r"\(3, 5, 4\) among media of shape \(3, 4, 4\)"):
        extract(Mean(), [torch.zeros(3, 4, 4), torch.zeros(3, 5, 4)])
    with pytest.raises(MultigenError, match="not finite"):
        extract(Mean(), [torch.full((3, 4, 4), math.nan)])


MODALITIES = {1: Audio(seconds=1.0), 2: Image(size=32), 3: Video(size=32, frames=4)}
TAKES = {
    "efficientnet_lite0": 2, "inception_v3": 2, "frames": 3, "i3d": 3,
    "spectral": 1, "vggish": 1, "yamnet": 1, "clap": 1,
}  # fmt: skip
FROM_FILES = ("inception_v3", "i3d", "vggish", "clap")


def test_every_feature_is_known_here() -> None:
    assert set(TAKES) <= set(registry.names("feature"))


@pytest.mark.parametrize("name", TAKES)
def test_another_modality_is_refused(name: str) -> None:
    args = {"weights": "x.pth"} if name in FROM_FILES else {}
    for axes in {1, 2, 3} - {TAKES[name]}:
        with pytest.raises(RecipeError, match=rf"^evaluate.feature \({name}\): {name} takes .*modality"):
            registry.build(
                "feature", Part(name, args), where="evaluate.feature", given={"modality": MODALITIES[axes]}
            )


@pytest.mark.parametrize("name", FROM_FILES)
def test_missing_weights_are_named(name: str, tmp_path: Path) -> None:
    given = {"modality": MODALITIES[TAKES[name]]}
    with pytest.raises(RecipeError, match=r"evaluate.feature.weights: .* needs it"):
        registry.build("feature", Part(name), where="evaluate.feature", given=given)
    with pytest.raises(RecipeError, match=r"weights: '/no/where.pth' is .*(pth|clap|rgb_imagenet.pt)"):
        registry.build("feature", Part(name, {"weights": "/no/where.pth"}), given=given)
    with pytest.raises(RecipeError, match="is a folder, not a file|has no config.json"):
        registry.build("feature", Part(name, {"weights": str(tmp_path)}), given=given)


# --- weights ------------------------------------------------------------------------------------------------------


class Evil:
    """Loading its pickle makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_weights_are_checked_by_name_and_shape(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    state = dict(net.state_dict())
    del state["1.num_batches_tracked"]  # as old files are
    torch.save({**state, "aux.weight": torch.zeros(1)}, tmp_path / "good.pth")
    other = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    digest = load_weights(other, tmp_path / "good.pth", "the net", ignored=("aux.",))
    assert len(digest) == 16 and torch.equal(other[0].weight, net[0].weight)
    save_file(state, tmp_path / "good.safetensors")
    assert load_weights(other, tmp_path / "good.safetensors", "the net") != digest
    state["0.bias"], state["2.bias"] = torch.zeros(5), state.pop("1.bias")
    torch.save(state, tmp_path / "bad.pth")
    said = r"the net: 1 missing \(1.bias\); 1 unknown \(2.bias\); 1 of another shape \(0.bias\)"
    with pytest.raises(MultigenError, match=said):
        load_weights(other, tmp_path / "bad.pth", "the net")


def test_files_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    net, made = nn.Linear(2, 2), tmp_path / "made"
    torch.save({"weight": Evil(made)}, tmp_path / "evil.pth")
    (tmp_path / "text.pth").write_text("<html>not found</html>")
    (tmp_path / "text.safetensors").write_text("<html>not found</html>")
    (tmp_path / "old.pth").write_bytes(pickle.dumps(Evil(made), protocol=2))
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    for name in ("evil.pth", "text.pth", "text.safetensors", "old.pth", "list.pth"):
        with pytest.raises(MultigenError, match=rf"^weights: .*{name} "):
            load_weights(net, tmp_path / name, "the net")
    assert not made.exists()


# --- media --------------------------------------------------------------------------------------------------------


def test_colours_become_rgb_levels() -> None:
    grey = torch.tensor([-1.0, 0.0, 1.0, 1.2]).reshape(1, 1, 2, 2)
    assert rgb_levels(grey)[0, :, :, :].flatten(1).tolist() == [[0, 128, 255, 255]] * 3
    clear = torch.tensor([-1.0, -1, -1, -1]).reshape(1, 4, 1, 1)  # black, but clear: white shows
    assert rgb_levels(clear).flatten().tolist() == [255, 255, 255]
    assert rgb_levels(torch.zeros(2, 1, 5, 4, 4)).shape == (2, 3, 5, 4, 4)


def test_tensorflows_bilinear_resize() -> None:
    """Out pixel i looks at i * in / out: enlarging 0, 4 by four gives 0 1 2 3 4 4 4 4; shrinking takes every n-th."""
    row = torch.tensor([0.0, 4.0]).reshape(1, 1, 1, 2)
    assert resized_tf1(row, 1, 8).flatten().tolist() == [0, 1, 2, 3, 4, 4, 4, 4]
    ramp = torch.arange(12.0).reshape(1, 1, 12, 1)
    assert resized_tf1(ramp, 4, 1).flatten().tolist() == [0, 3, 6, 9]
    picture = torch.rand(2, 3, 7, 9)
    assert torch.allclose(resized_tf1(picture, 7, 9), picture)


def test_antialiased_resize() -> None:
    stripes = torch.tensor([0.0, 255.0]).repeat(1, 3, 16, 8)
    assert resized(stripes, 4, 4).sub(127.5).abs().max() < 40  # mixed, not picked
    assert resized(stripes, 16, 16) is stripes


def test_sound_is_resampled_and_cut() -> None:
    t = torch.arange(22050) / 22050
    tone = torch.stack([torch.sin(2 * math.pi * 500 * t), torch.zeros(22050)])[None]
    found = mono(tone, 22050, 16000)
    expected = 0.5 * torch.sin(2 * math.pi * 500 * torch.arange(16000) / 16000)
    assert found.shape == (1, 16000) and (found[0, 500:-500] - expected[500:-500]).abs().max() < 0.01
    cut = windows(torch.arange(10.0)[None], 4, 2)
    assert cut[0].tolist() == [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7], [6, 7, 8, 9]]
    assert windows(torch.ones(1, 3), 5, 2).tolist() == [[[1, 1, 1, 0, 0]]]


def test_media_of_another_shape_are_refused() -> None:
    for axes, wanted in ((1, "B, channels, samples"), (2, "B, channels, height, width"),
                         (3, "B, channels, frames, height, width")):  # fmt: skip
        with pytest.raises(
            MultigenError, match=rf"x: media of shape \(2, 3\) are not allowed. Allowed: \[{wanted}\]"
        ):
            check_media(torch.zeros(2, 3), axes, "x")
        check_media(torch.zeros(1, 1, *[2] * axes), axes, "x")
