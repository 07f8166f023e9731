"""Native form of pictures: depth, alpha and colour profile of a file come back to the bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from PIL import ImageCms, ImageOps

from multigen.modalities.image import Image
from multigen.modalities.image_native import Form, _deep_levels, _upright, encode_deep
from multigen.modalities.raster import from_levels

RNG = np.random.default_rng(0)


def again(tmp_path: Path, name: str, channels: int = 3) -> Image:
    """Write what is read of a file to b.png; the file's native modality."""
    native = Image(size=16, channels=channels).native(tmp_path / name)  # type: ignore[arg-type]
    native.write(native.read(tmp_path / name), tmp_path / "b.png")
    return native


@pytest.mark.parametrize("channels", [3, 4])
def test_eight_bits_and_alpha_come_back(tmp_path: Path, channels: int) -> None:
    levels = RNG.integers(0, 256, (20, 30, channels), np.uint8)
    PillowImage.fromarray(levels).save(tmp_path / "a.png")
    native = again(tmp_path, "a.png")
    assert native.shape() == (channels, 20, 30)
    assert np.array_equal(np.asarray(PillowImage.open(tmp_path / "b.png")), levels)


@pytest.mark.parametrize("channels", [3, 4])
def test_sixteen_bits_of_colours_come_back(tmp_path: Path, channels: int) -> None:
    levels = RNG.integers(0, 65_536, (20, 30, channels)).astype(np.uint16)
    media = torch.from_numpy(levels / 65_535 * 2 - 1).movedim(-1, 0)
    (tmp_path / "a.png").write_bytes(encode_deep(media, Form(channels, 65_535)))
    assert np.array_equal(_deep_levels(tmp_path / "a.png"), levels)
    seen = np.asarray(
        PillowImage.open(tmp_path / "a.png")
    )  # Pillow reads the upper bytes: another decoder agrees
    assert np.array_equal(seen, levels >> 8)
    again(tmp_path, "a.png")
    assert np.array_equal(_deep_levels(tmp_path / "b.png"), levels)


def test_sixteen_bits_of_grey_come_back(tmp_path: Path) -> None:
    levels = RNG.integers(0, 65_536, (20, 30)).astype(np.uint16)
    PillowImage.fromarray(levels).save(tmp_path / "a.png")
    again(tmp_path, "a.png", channels=1)
    assert np.array_equal(np.asarray(PillowImage.open(tmp_path / "b.png")), levels)


def test_a_profile_comes_back_and_what_is_made_is_put_into_it(tmp_path: Path) -> None:
    """Lab as a profile of RGB would not do: a linear-gamma RGB profile changes every level but black and white."""
    profile = linear_profile()
    levels = RNG.integers(0, 256, (20, 30, 3), np.uint8)
    PillowImage.fromarray(levels).save(tmp_path / "a.png", icc_profile=profile)
    native = again(tmp_path, "a.png")
    written = PillowImage.open(tmp_path / "b.png")
    assert written.info["icc_profile"] == profile
    assert np.array_equal(np.asarray(written), levels)
    model = Image(size=16)
    seen = native.convert(native.read(tmp_path / "a.png"), model)
    assert torch.equal(seen, model.read(tmp_path / "a.png"))
    grey = torch.full((3, 4, 4), 0.0)  # sRGB 127.5 is 0.214 of linear light, which is stored as 55
    stored = (model.convert(grey, native) + 1) * 127.5
    assert float((stored - 55).abs().max()) <= 1.5


def test_colours_under_alpha_go_into_a_profile_as_they_are(tmp_path: Path) -> None:
    """Alpha stays beside them, so they are not laid on the background, too."""
    levels = RNG.integers(0, 256, (8, 9, 4), np.uint8)
    PillowImage.fromarray(levels).save(tmp_path / "a.png", icc_profile=linear_profile())
    model = Image(size=8, channels=4)
    native = model.native(tmp_path / "a.png")
    made = torch.zeros(4, 8, 9)  # half clear
    stored = (model.convert(made, native) + 1) * 127.5
    assert float((stored[:3] - 55).abs().max()) <= 1.5
    assert torch.equal(stored[3], torch.full((8, 9), 127.5))


def linear_profile() -> bytes:
    """sRGB's primaries with a gamma of 1: the curves of an sRGB profile replaced by the identity."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = int.from_bytes(data[128:132])
    for k in range(count):
        entry = 132 + 12 * k
        if data[entry : entry + 4] in (b"rTRC", b"gTRC", b"bTRC"):
            place = int.from_bytes(data[entry + 4 : entry + 8])
            data[place : place + 12] = b"curv" + bytes(8)  # no entries: the identity
    return bytes(data)


def test_grey_becomes_rgb_for_a_model_of_colours(tmp_path: Path) -> None:
    levels = RNG.integers(0, 256, (8, 9), np.uint8)
    PillowImage.fromarray(levels).save(tmp_path / "a.png")
    again(tmp_path, "a.png")
    assert np.array_equal(np.asarray(PillowImage.open(tmp_path / "b.png")), np.stack([levels] * 3, -1))


def test_turned_photographs_are_read_upright(tmp_path: Path) -> None:
    levels = RNG.integers(0, 256, (6, 9, 3), np.uint8)
    for orientation in range(1, 9):
        picture = PillowImage.fromarray(levels)
        exif = PillowImage.Exif()
        exif[0x0112] = orientation
        picture.save(tmp_path / "a.png", exif=exif)
        wanted = np.asarray(ImageOps.exif_transpose(PillowImage.open(tmp_path / "a.png")))
        native = Image(size=16).native(tmp_path / "a.png")
        assert torch.equal(native.read(tmp_path / "a.png"), from_levels(wanted))
        assert np.array_equal(_upright(levels, orientation), wanted)
