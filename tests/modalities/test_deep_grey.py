"""Grey of 16 bits from file to file: every value comes back, in windows and in edits; what does not fit is named."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from multigen.datasets.folder import Folder
from multigen.datasets.phantoms import Phantoms
from multigen.errors import MediaError, MultigenError
from multigen.modalities.image import Image
from tests.modalities.test_colour_tags import png
from tests.model.test_model import SMALL, small

DEEP = Image(size=16, channels=1, bits=16)


def grey(path: Path, values: np.ndarray) -> Path:
    PillowImage.fromarray(values.astype(np.uint16)).save(path)
    return path


def values_of(path: Path) -> np.ndarray:
    with PillowImage.open(path) as file:
        assert file.mode.startswith("I;16")
        return np.asarray(file).astype(np.int64)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_every_value_comes_back(suffix: str, tmp_path: Path) -> None:
    every = np.arange(65536).reshape(256, 256)
    media = DEEP.read(grey(tmp_path / f"a{suffix}", every))
    assert media.dtype == torch.float32 and (float(media.min()), float(media.max())) == (-1, 1)
    DEEP.write(media, tmp_path / f"b{suffix}")
    assert np.array_equal(values_of(tmp_path / f"b{suffix}"), every)


def test_a_window_is_the_models_range(tmp_path: Path) -> None:
    part = Image(size=16, channels=1, bits=16, window=(1000, 2000))
    ramp = np.arange(900, 2124, 4).reshape(18, 17)
    media = part.read(grey(tmp_path / "a.png", ramp))
    assert float(media[0, 0, 0]) == -1 and float(media[0, -1, -1]) == 1
    part.write(media, tmp_path / "b.tif")
    assert np.array_equal(values_of(tmp_path / "b.tif"), ramp.clip(1000, 2000))
    dark = DEEP.read(
        grey(tmp_path / "dark.png", ramp)
    )  # no value above 4095, and still they are those of 16 bits
    assert float(dark.max()) == pytest.approx(ramp.max() / 65535 * 2 - 1)


def test_eight_bits_count_257_times(tmp_path: Path) -> None:
    PillowImage.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16)).save(tmp_path / "a.png")
    DEEP.write(DEEP.read(tmp_path / "a.png"), tmp_path / "b.png")
    assert np.array_equal(values_of(tmp_path / "b.png").ravel(), np.arange(256) * 257)


@pytest.mark.parametrize("most", [4095, 65535])
def test_edits_keep_what_they_keep_and_write_16_bits(most: int, tmp_path: Path) -> None:
    window = f"modality.window=[0,{most}]"
    model = small(
        "image_latent",
        [*(o for o in SMALL["image_latent"] if not o.startswith("codec")), "codec={name: pixels, unshuffle: 2}",
         "modality.channels=1", "modality.bits=16", window],
    )  # fmt: skip
    values = np.random.default_rng(0).integers(0, most + 1, (32, 32))
    values[0, 0] = most
    keep = torch.ones(32, 32, dtype=torch.bool)
    keep[:12] = False
    (made,) = model.edit(grey(tmp_path / "a.png", values), keep=keep, feather=0, steps=2)
    made.save(tmp_path / "b.png")
    after = values_of(tmp_path / "b.png")
    assert np.array_equal(after[12:], values[12:]) and not np.array_equal(after[:12], values[:12])
    made.save(tmp_path / "b.tif")
    assert np.array_equal(values_of(tmp_path / "b.tif"), after)
    (sample,) = model.generate(steps=2, seed=1)
    sample.save(tmp_path / "c.tif")
    shown = values_of(tmp_path / "c.tif")
    assert shown.max() <= most and len(np.unique(shown)) > 500


def test_training_sees_the_depth_of_a_folder(tmp_path: Path) -> None:
    fine = 30000 + np.arange(256).reshape(16, 16)  # one level of 8 bits
    grey(tmp_path / "a.png", fine)
    media = Folder(modality=DEEP, path=str(tmp_path), held_out=0)[0]["media"]
    assert len(torch.unique(media)) == 256


def test_phantoms_are_deep_and_show_what_they_say() -> None:
    modality = Image(size=48, channels=1, bits=16, window=(0, 2400))
    data = Phantoms(modality=modality, count=40, noise=0)
    items = [data[k] for k in range(4)]
    assert [item.get("label") for item in items] == [0, 1, 2, 0]
    assert torch.equal(items[1]["media"], data[1]["media"])
    values = [(item["media"][0] + 1) * 1200 for item in items]
    bright = [(v > 1080) & (v < 1200) for v in values]  # lesions, and seams of bone
    middle = [b[14:34, 8:40].float().sum(0) for b in bright]
    assert middle[1][:16].sum() > middle[1][16:].sum() and middle[2][16:].sum() > middle[2][:16].sum()
    with pytest.raises(MultigenError, match="phantoms are grey pictures of 16 bits"):
        Phantoms(modality=Image())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"bits": 16}, "bits: 16 is not allowed with 3 channels"),
        ({"window": (0, 10)}, "window: it goes with bits: 16"),
        ({"bits": 16, "channels": 1, "window": (5, 5)}, "two rising values from 0 to 65535"),
        ({"bits": 12}, "bits: 12 is not allowed"),
    ],
)
def test_settings_that_do_not_fit(arguments: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Image(**arguments)  # type: ignore[arg-type]


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    PillowImage.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(MediaError, match=r"a.png: pixels of the kind RGB; bits: 16 reads grey"):
        DEEP.read(tmp_path / "a.png")
    with pytest.raises(MediaError, match=r"the suffix: '.jpg' is not allowed"):
        DEEP.write(torch.zeros(1, 8, 8), tmp_path / "b.jpg")


def test_a_tensor_keeps_the_models_window() -> None:
    part = Image(size=16, channels=1, bits=16, window=(0, 4095))
    own = part.native(torch.zeros(1, 8, 8))
    assert own.window == part.window and own._form is None


@pytest.mark.parametrize(
    "tags", [{b"gAMA": struct.pack(">I", 100_000)}, {b"cICP": bytes([9, 16, 0, 1])}, {b"sRGB": b"\0"}]
)
def test_tags_of_colour_say_nothing_of_values(tags: dict[bytes, bytes], tmp_path: Path) -> None:
    """What a scanner counted is no light that a screen shows: it is not turned into other levels."""
    values = np.array([[0, 300, 20_000, 65_535]])
    bare = png(tmp_path / "bare.png", values[..., None] / 65_535, {}, deep=True)
    tagged = png(tmp_path / "tagged.png", values[..., None] / 65_535, tags, deep=True)
    image = Image(size=4, channels=1, bits=16, window=(0, 30_000))
    read = image.read(tagged)
    assert torch.equal(read, image.read(bare))
    torch.testing.assert_close(read[0, 0], torch.tensor([-1.0, -0.98, 1 / 3, 1.0]))
    image.write(read, tmp_path / "written.png")
    assert not any(name in (tmp_path / "written.png").read_bytes() for name in (b"gAMA", b"cICP", b"iCCP"))
