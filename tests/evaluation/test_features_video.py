"""Video extractors: frames through an image extractor, I3D in the exact format of its file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from multigen import registry
from multigen.errors import MultigenError, RecipeError
from multigen.evaluation.features import Facts, i3d_network
from multigen.modalities import Modality
from multigen.modalities.video import Video
from multigen.registry import Given, Part
from tests.evaluation.test_features_image import randomised

VIDEO = Video(size=32, frames=10)


class Levels:
    """Image: the mean level of each of three channels."""

    def __init__(self, *, modality: Given[Modality], weights: str = "") -> None:
        self.facts = Facts("levels", 3, "RGB", "none", "none", weights)
        assert modality.shape() == (3, 32, 32)

    def __call__(self, media: Tensor) -> Tensor:
        return media.mean((2, 3))[:, None]


@pytest.fixture
def levels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._registered, ("feature", "levels"), Levels)


@pytest.mark.usefixtures("levels")
def test_frames_tell_looks_and_changes() -> None:
    part = Part("frames", {"image": "levels", "weights": "w"})
    feature = registry.build("feature", part, given={"modality": VIDEO})
    assert feature.facts == Facts("frames of levels", 6, "every frame, RGB", "none", "none", "w")
    still = torch.full((1, 3, 10, 32, 32), 0.5)
    flicker = still * torch.tensor([1.0, -1.0]).repeat(5).reshape(10, 1, 1)
    ramp = still * torch.linspace(-1, 1, 10).reshape(10, 1, 1)
    found = feature(torch.cat([still, flicker, ramp]))
    assert found.shape == (3, 1, 6)
    assert found[0, 0].tolist() == pytest.approx([0.5] * 3 + [0] * 3)
    assert found[1, 0].tolist() == pytest.approx([0] * 3 + [1] * 3, abs=1e-6)
    assert found[2, 0].tolist() == pytest.approx([0] * 3 + [1 / 9] * 3, abs=1e-6)
    assert feature(still[:, :, :1])[0, 0].tolist() == pytest.approx([0.5] * 3 + [0] * 3)
    with pytest.raises(MultigenError, match="channels, frames, height, width"):
        feature(still[0])


@pytest.mark.usefixtures("levels")
def test_frames_of_an_unknown_image_feature() -> None:
    with pytest.raises(RecipeError, match=r"'level' is not allowed.*Did you mean 'levels'"):
        registry.build("feature", Part("frames", {"image": "level"}), given={"modality": VIDEO})


# Layers of the weights' file, from its listing.
KNOWN = {
    "Conv3d_1a_7x7.conv3d.weight": (64, 3, 7, 7, 7),
    "Conv3d_1a_7x7.bn.running_mean": (64,),
    "Conv3d_2c_3x3.conv3d.weight": (192, 64, 3, 3, 3),
    "Mixed_3b.b0.conv3d.weight": (64, 192, 1, 1, 1),
    "Mixed_3b.b1a.bn.weight": (96,),
    "Mixed_3c.b2b.conv3d.weight": (96, 32, 3, 3, 3),
    "Mixed_4c.b1b.conv3d.weight": (224, 112, 3, 3, 3),
    "Mixed_4f.b3b.conv3d.weight": (128, 528, 1, 1, 1),
    "Mixed_5c.b1b.conv3d.weight": (384, 192, 3, 3, 3),
    "logits.conv3d.weight": (400, 1024, 1, 1, 1),
    "logits.conv3d.bias": (400,),
}


def test_i3d(tmp_path: Path) -> None:
    net = i3d_network.Network()
    shapes = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    assert {name: shapes.get(name) for name in KNOWN} == KNOWN
    assert sum(name.endswith("conv3d.weight") for name in shapes) == 3 + 9 * 6 + 1
    torch.save(randomised(net), tmp_path / "rgb_imagenet.pt")
    args = {"weights": str(tmp_path / "rgb_imagenet.pt")}
    feature = registry.build("feature", Part("i3d", args), given={"modality": VIDEO})
    pool = registry.build("feature", Part("i3d", {**args, "layer": "pool"}), given={"modality": VIDEO})
    clip = torch.rand(1, 1, 9, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    logits, pooled = feature(clip), pool(clip)
    assert logits.shape == (1, 1, 400) and pooled.shape == (1, 1, 1024)
    last = feature.net.logits.conv3d
    torch.testing.assert_close(
        logits[0, 0], last.weight.flatten(1) @ pooled[0, 0] + last.bias, rtol=1e-4, atol=1e-4
    )
    assert feature.facts.id != pool.facts.id and feature.facts.width == 400
    assert torch.equal(feature(clip), logits)
    with pytest.raises(MultigenError, match="8 frames are too short. Allowed: 9"):
        feature(clip[:, :, :8])


@pytest.mark.parametrize(
    ("size", "kernel", "stride"), [(9, 7, 2), (10, 7, 2), (5, 3, 1), (5, 2, 2), (7, 3, 2)]
)
def test_i3d_pads_as_tensorflow(size: int, kernel: int, stride: int) -> None:
    """SAME: ceil(size / stride) places, zeros on both sides, the odd one at the end."""
    line = torch.ones(1, 1, size, 1, 1)
    found = i3d_network._padded(line, (kernel, 1, 1), (stride, 1, 1)).flatten()
    zeros = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    assert (len(found) - kernel) // stride + 1 == -(-size // stride)
    assert found.tolist() == [0] * (zeros // 2) + [1] * size + [0] * (zeros - zeros // 2)
