"""Colour profiles: pictures are read as viewers show them, whatever space, mode and file they are in."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from PIL import ImageCms

from multigen.modalities.colour_profile import from_srgb, to_srgb
from multigen.modalities.image import Image
from multigen.modalities.video import Video

# Primaries adapted to D50, columns of XYZ.
P3 = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
ADOBE = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
COLOURS = ((200, 60, 60), (60, 180, 60), (60, 60, 200), (230, 190, 160))  # red, green, blue, skin
# What the colours are in sRGB.
SHOWN = {
    "p3": ((219, 37, 49), (0, 185, 22), (57, 57, 209), (238, 190, 157)),
    "adobe": ((231, 57, 57), (0, 181, 42), (57, 57, 205), (244, 191, 160)),
}


def icc(space: bytes, gamma: float, primaries: tuple[tuple[float, ...], ...] = ()) -> bytes:
    """A profile of a gamma, and of primaries unless it is grey."""

    def s15(v: float) -> bytes:
        return struct.pack(">i", round(v * 65536))

    def xyz(v: tuple[float, ...]) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(map(s15, v))

    white = (0.9642, 1.0, 0.8249)
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    description = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + b"\0" * 78
    tags = [(b"desc", description), (b"cprt", b"text\0\0\0\0none\0\0\0\0"), (b"wtpt", xyz(white))]
    if primaries:
        tags += [(k, xyz(c)) for k, c in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=True)]
        tags += [(k, curve) for k in (b"rTRC", b"gTRC", b"bTRC")]
    else:
        tags.append((b"kTRC", curve))
    body, table, start = b"", b"", 132 + 12 * len(tags)
    for name, data in tags:
        data += b"\0" * (-len(data) % 4)
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data
    head = struct.pack(">I4sI4s4s4s", start + len(body), b"none", 0x02400000, b"mntr", space, b"XYZ ")
    head += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + b"\0" * 28 + b"".join(map(s15, white))
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


PROFILES = {"p3": icc(b"RGB ", 2.2, P3), "adobe": icc(b"RGB ", 2.2, ADOBE)}


def quarters(colours: object = COLOURS) -> PillowImage.Image:
    levels = np.array(colours, np.uint8).reshape(2, 2, -1)
    return PillowImage.fromarray(np.kron(levels, np.ones((32, 32, 1), np.uint8)))


def read(path: Path, channels: int = 3) -> list[tuple[int, ...]]:
    """Levels at the middle of the four quarters."""
    media = Image(size=64, channels=channels).read(path)  # pyright: ignore[reportArgumentType]
    levels = ((media + 1) * 127.5).round().int()
    return [tuple(levels[:, y, x].tolist()) for y in (16, 48) for x in (16, 48)]


@pytest.mark.parametrize("space", PROFILES)
@pytest.mark.parametrize(("suffix", "options", "off"), [
    (".png", {}, 0), (".tif", {}, 0), (".jpg", {"quality": 98, "subsampling": 0}, 3),
    (".webp", {"lossless": True}, 0),
])  # fmt: skip
def test_wide_gamuts_are_read_as_viewers_show_them(
    tmp_path: Path, space: str, suffix: str, options: dict[str, object], off: int
) -> None:
    quarters().save(tmp_path / f"a{suffix}", icc_profile=PROFILES[space], **options)
    assert np.abs(np.array(read(tmp_path / f"a{suffix}")) - SHOWN[space]).max() <= off


def test_adobe_rgb_that_only_exif_names(tmp_path: Path) -> None:
    """Cameras write no profile but the index R03 (DCF 2.0)."""
    exif = PillowImage.Exif()
    exif.get_ifd(0x8769)[0xA001] = 0xFFFF
    exif.get_ifd(0x8769)[0xA005] = {1: "R03", 2: b"0100"}
    quarters().save(tmp_path / "a.jpg", exif=exif, quality=98, subsampling=0)
    assert np.abs(np.array(read(tmp_path / "a.jpg")) - SHOWN["adobe"]).max() <= 3
    exif.get_ifd(0x8769)[0xA005] = {1: "R98", 2: b"0100"}
    quarters().save(tmp_path / "b.jpg", exif=exif, quality=98, subsampling=0)
    assert np.abs(np.array(read(tmp_path / "b.jpg")) - COLOURS).max() <= 2


def test_srgb_keeps_every_level(tmp_path: Path) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    PillowImage.fromarray(levels).save(tmp_path / "a.png", icc_profile=data)
    back = ((Image().read(tmp_path / "a.png") + 1) * 127.5).round().byte().movedim(0, -1).numpy()
    assert (back == levels).all()


def test_alpha_stays_beside_converted_colours(tmp_path: Path) -> None:
    picture = quarters()
    picture.putalpha(quarters(((255,) * 3, (0,) * 3, (128,) * 3, (255,) * 3)).getchannel(0))
    for suffix, options in ((".png", {}), (".webp", {"lossless": True, "exact": True})):
        picture.save(tmp_path / f"a{suffix}", icc_profile=PROFILES["p3"], **options)
        found = read(tmp_path / f"a{suffix}", channels=4)
        assert [c[3] for c in found] == [255, 0, 128, 255]
        assert [c[:3] for c in found] == list(SHOWN["p3"])


def test_palettes_are_converted(tmp_path: Path) -> None:
    quarters().quantize(4).save(tmp_path / "a.png", icc_profile=PROFILES["p3"])
    assert read(tmp_path / "a.png") == list(SHOWN["p3"])


@pytest.mark.parametrize("deep", [False, True])
def test_grey_of_another_gamma(tmp_path: Path, deep: bool) -> None:
    """A dot gain, or the linear grey of a scanner: 0.2140 of light is level 127.5 of sRGB."""
    grey = np.full(
        (64, 64), round(0.2140 * 65535) if deep else round(0.2140 * 255), np.uint16 if deep else np.uint8
    )
    grey[0] = 65535 if deep else 255
    PillowImage.fromarray(grey).save(tmp_path / "a.png", icc_profile=icc(b"GRAY", 1.0))
    media = Image(channels=1).read(tmp_path / "a.png")
    assert media.shape == (1, 64, 64)
    assert float((media[0, 32, 32] + 1) * 127.5) == pytest.approx(127.5, abs=1.5)


def test_grey_with_a_profile_of_rgb(tmp_path: Path) -> None:
    PillowImage.new("L", (64, 64), 55).save(tmp_path / "a.png", icc_profile=icc(b"RGB ", 1.0, SRGB))
    assert read(tmp_path / "a.png")[0] == pytest.approx((128, 128, 128), abs=2)


def test_lab_is_read(tmp_path: Path) -> None:
    """L* 53.2, a* 80.1, b* 67.2 (the last two in memory 128 higher) is sRGB's red."""
    PillowImage.new("LAB", (64, 64), (136, 208, 195)).save(tmp_path / "a.tif")
    assert read(tmp_path / "a.tif")[0] == pytest.approx((255, 0, 0), abs=12)  # 8 bits of Lab are coarse there


@pytest.mark.parametrize(
    "data", [b"no profile", PROFILES["p3"][:200], icc(b"CMYK", 2.2, P3), icc(b"GRAY", 2.2)]
)
def test_a_broken_or_foreign_profile_is_ignored_with_a_note(tmp_path: Path, data: bytes) -> None:
    quarters().save(tmp_path / "a.png", icc_profile=data)
    with pytest.warns(UserWarning, match=r"a\.png: its colour profile is ignored: \w+"):
        assert read(tmp_path / "a.png") == list(COLOURS)


def test_animations_too(tmp_path: Path) -> None:
    frames = [quarters(), quarters(COLOURS[::-1])]
    frames[0].save(
        tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True, duration=100,
        icc_profile=PROFILES["p3"],
    )  # fmt: skip
    levels = ((Video(size=64, fps=10).read(tmp_path / "a.webp") + 1) * 127.5).round().int()
    assert tuple(levels[:, 0, 16, 16].tolist()) == SHOWN["p3"][0]
    assert tuple(levels[:, 1, 16, 16].tolist()) == SHOWN["p3"][3]


def test_the_way_back() -> None:
    """What is put into a picture of a profile, a reader of that profile shows as it was."""
    made = quarters(((219, 37, 49), (90, 160, 80), (70, 60, 190), (238, 190, 157)))
    for profile in PROFILES.values():
        stored = from_srgb(made, profile, "RGB")
        assert np.abs(np.asarray(stored).astype(int) - np.asarray(made)).max() > 5
        stored.info["icc_profile"] = profile
        again = np.asarray(to_srgb(stored, "a")).astype(int)
        assert np.abs(again - np.asarray(made)).max() <= 1
    grey = from_srgb(PillowImage.new("RGB", (4, 4), (128, 128, 128)), icc(b"GRAY", 1.0), "L")
    assert grey.getpixel((0, 0)) == pytest.approx(55, abs=1)
    assert from_srgb(made, None, "L").mode == "L"
    for profile, mode in ((icc(b"GRAY", 1.0), "RGB"), (b"nonsense", "RGB")):
        with pytest.raises(ValueError, match=r"\w"):
            from_srgb(made, profile, mode)


def test_training_reads_them_so(tmp_path: Path) -> None:
    from multigen.datasets.folder import Folder

    quarters().save(tmp_path / "a.png", icc_profile=PROFILES["p3"])
    item = Folder(path=str(tmp_path), modality=Image(size=64))[0]
    assert tuple(((item["media"][:, 16, 16] + 1) * 127.5).round().int().tolist()) == SHOWN["p3"][0]
    assert torch.isfinite(item["media"]).all()
