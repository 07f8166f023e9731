"""Images: real files in every mode, limits before decoding, faults named, honest levels."""

from __future__ import annotations

import base64
import io
import math
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from torch import Tensor

from multigen.errors import MediaError
from multigen.modalities import image_header
from multigen.modalities.image import Image


def smooth(height: int = 48, width: int = 64, channels: int = 3) -> Tensor:
    """A picture without hard edges, every channel different, levels that 8 bits hold exactly."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    planes = [torch.sin(2 * x + c) * torch.cos(1.5 * y - c) * 0.9 for c in range(channels)]
    return ((torch.stack(planes) + 1) * 127.5).round() / 127.5 - 1


def psnr(a: Tensor, b: Tensor) -> float:
    return 10 * math.log10(4 / float((a - b).square().mean().clamp_min(1e-12)))


def png(width: int, height: int, body: bytes) -> bytes:
    """A PNG of 8-bit grey with any header and any compressed body."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_keeps_every_level(tmp_path: Path, channels: int) -> None:
    media = smooth(channels=channels)
    modality = Image(size=64, channels=channels)  # pyright: ignore[reportArgumentType]
    modality.write(media, tmp_path / "a.png")
    assert torch.allclose(modality.read(tmp_path / "a.png"), media, atol=1e-6)


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_lossy_formats_stay_close(tmp_path: Path, suffix: str) -> None:
    media = smooth()
    Image().write(media, tmp_path / f"a{suffix}")
    back = Image().read(tmp_path / f"a{suffix}")
    assert back.shape == media.shape
    assert psnr(back, media) > 38


@pytest.mark.parametrize("suffix", [".bmp", ".tiff", ".gif", ".ppm", ".tga", ".jp2"])
def test_reads_what_pillow_writes(tmp_path: Path, suffix: str) -> None:
    levels = np.zeros((20, 30, 3), np.uint8)
    levels[:10], levels[10:, :15], levels[10:, 15:] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    options = {"irreversible": False} if suffix == ".jp2" else {}
    PillowImage.fromarray(levels).save(tmp_path / f"a{suffix}", **options)
    back = Image().read(tmp_path / f"a{suffix}")
    assert torch.equal(back.movedim(0, -1), torch.from_numpy(levels) / 127.5 - 1)


def test_sixteen_bits_keep_their_depth(tmp_path: Path) -> None:
    values = np.arange(256 * 16, dtype=np.uint16).reshape(64, 64) * 16
    PillowImage.fromarray(values).save(tmp_path / "a.png")
    back = Image(channels=1).read(tmp_path / "a.png")[0]
    expected = torch.from_numpy(values.astype(np.float32)) / 65535 * 2 - 1
    assert (back - expected).abs().max() < 1 / 65535
    assert Image(channels=3).read(tmp_path / "a.png").shape == (3, 64, 64)


def test_transparency_shows_the_background(tmp_path: Path) -> None:
    rgba = np.zeros((4, 4, 4), np.uint8)
    rgba[..., 0] = 200
    rgba[:2, :, 3], rgba[2:, :, 3] = 255, 102  # opaque, two fifths
    PillowImage.fromarray(rgba).save(tmp_path / "a.png")
    white = Image().read(tmp_path / "a.png")
    assert torch.allclose(white[:, 0, 0], torch.tensor([200.0, 0, 0]) / 127.5 - 1)
    assert torch.allclose(
        white[:, 3, 0], torch.tensor([0.4 * 200 + 0.6 * 255, 153, 153]) / 127.5 - 1, atol=1e-5
    )
    black = Image(background=(0, 0, 0)).read(tmp_path / "a.png")
    assert torch.allclose(black[:, 3, 0], torch.tensor([80.0, 0, 0]) / 127.5 - 1, atol=1e-5)
    kept = Image(channels=4).read(tmp_path / "a.png")
    assert torch.equal(kept.movedim(0, -1), torch.from_numpy(rgba) / 127.5 - 1)


def test_palette_with_a_clear_colour(tmp_path: Path) -> None:
    picture = PillowImage.new("P", (4, 2))
    picture.putpalette([10, 20, 30, 200, 100, 50] + [0] * 762)
    picture.putdata([0, 0, 1, 1] * 2)
    picture.save(tmp_path / "a.png", transparency=0)
    media = Image().read(tmp_path / "a.png")
    assert torch.equal(media[:, 0, 0], torch.ones(3))
    assert torch.allclose(media[:, 0, 3], torch.tensor([200.0, 100, 50]) / 127.5 - 1)


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    PillowImage.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)  # red
    colour = Image().read(tmp_path / "a.jpg").mean((1, 2))
    assert torch.allclose(colour, torch.tensor([1.0, -1, -1]), atol=0.05)


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:16] = 255  # sky above
    exif = PillowImage.Exif()
    exif[0x0112] = 6  # "turn a quarter clockwise to show"
    stored = PillowImage.fromarray(np.rot90(upright))
    stored.save(tmp_path / "a.jpg", exif=exif, quality=95)
    media = Image().read(tmp_path / "a.jpg")
    assert media.shape == (3, 32, 48)
    assert media[:, :14].mean() > 0.95
    assert media[:, 18:].mean() < -0.95
    info = Image().info(tmp_path / "a.jpg")
    assert (info.width, info.height, info.channels) == (48, 32, 3)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_bomb_is_refused_before_decoding(tmp_path: Path) -> None:
    packer = zlib.compressobj(9)
    row = bytes(12001)
    body = b"".join(packer.compress(row) for _ in range(12000)) + packer.flush()
    path = tmp_path / "bomb.png"
    path.write_bytes(png(12000, 12000, body))
    assert path.stat().st_size < 200_000
    for act in (Image().read, Image().info):
        with pytest.raises(MediaError, match=r"bomb\.png: 12000 x 12000 pixels; the limit max_pixels"):
            act(path)
    # The same header over a body that cannot be decoded: the refusal comes from the header alone.
    path.write_bytes(png(12000, 12000, b"not zlib"))
    with pytest.raises(MediaError, match="max_pixels"):
        Image().read(path)


@pytest.mark.filterwarnings("error::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [10_000, 60_000])
def test_pillows_own_alarm_is_a_media_error(tmp_path: Path, side: int) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png(side, side, zlib.compress(b"")))
    with pytest.raises(MediaError, match=r"bomb\.png"):
        Image(max_pixels=10**12).read(path)


def test_byte_limit(tmp_path: Path) -> None:
    Image().write(smooth(), tmp_path / "a.png")
    with pytest.raises(MediaError, match="max_bytes is 100"):
        Image(max_bytes=100).read(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".gif", ".tiff"])
def test_damaged_files_are_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"bad{suffix}"
    noise = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    Image().write(noise, tmp_path / "good.png")
    PillowImage.open(tmp_path / "good.png").save(path)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"garbage" * 50):
        path.write_bytes(content)
        with pytest.raises(MediaError, match=f"bad{suffix}"):
            Image().read(path)
    path.unlink()
    with pytest.raises(MediaError, match="no such file"):
        Image().read(path)
    with pytest.raises(MediaError, match="not a file"):
        Image().read(tmp_path)


def test_formats_that_start_programs_stay_shut(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    with pytest.raises(MediaError, match="not a picture of a known format"):
        Image().read(path)


def test_clipping_is_never_silent(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"a\.png: values from -1\.5 to 2 are clipped"):
        Image().write(torch.linspace(-1.5, 2, 64).reshape(1, 8, 8), tmp_path / "a.png")
    back = Image(channels=1).read(tmp_path / "a.png")
    assert float(back.min()) == -1
    assert float(back.max()) == 1
    with pytest.raises(MediaError, match="not finite"):
        Image().write(torch.full((3, 4, 4), math.nan), tmp_path / "b.png")
    assert not (tmp_path / "b.png").exists()


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    Image().write(smooth(), path)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        Image().write(-smooth(), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_write_refuses_what_it_cannot(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"Did you mean '\.png'"):
        Image().write(smooth(), tmp_path / "a.pngg")
    with pytest.raises(MediaError, match="2 channels"):
        Image().write(torch.zeros(2, 4, 4), tmp_path / "a.png")


def test_fit_is_antialiased() -> None:
    checks = (torch.arange(64)[:, None] + torch.arange(64)) % 2 * 2.0 - 1  # 1-pixel checkerboard
    small = Image(channels=1).fit(checks[None], (1, 16, 16))
    assert small[:, 2:-2, 2:-2].abs().max() < 0.02  # plain sampling would give -1 and 1


def test_fit_keeps_the_aspect_and_crops() -> None:
    x = torch.linspace(-1, 1, 90).expand(3, 30, 90)
    centre = Image().fit(x, (3, 30, 30))
    assert torch.equal(centre, x[..., 30:60])
    places = {
        float(Image().fit(x, (3, 30, 30), torch.Generator().manual_seed(s))[0, 0, 0]) for s in range(12)
    }
    assert len(places) > 6
    again = [Image().fit(x, (3, 30, 30), torch.Generator().manual_seed(5)) for _ in range(2)]
    assert torch.equal(*again)
    assert Image().fit(smooth(17, 5), (3, 32, 24)).shape == (3, 32, 24)
    assert Image().fit(smooth(400, 3), (1, 8, 8)).shape == (1, 8, 8)


def test_shape() -> None:
    assert Image(size=28, channels=1).shape() == (1, 28, 28)
    assert Image(size=(20, 30)).shape() == (3, 20, 30)
    assert Image().shape((40, 50)) == (3, 40, 50)
    with pytest.raises(ValueError, match="no duration"):
        Image().shape(duration=2.0)
    with pytest.raises(ValueError, match="at least 1 pixel"):
        Image(size=(0, 3))


def test_preview_enlarges_tiny_pictures_without_smoothing() -> None:
    media = torch.full((1, 28, 28), -1.0)
    media[0, 3, 5] = 1.0
    picture = Image(channels=1).preview([media] * 5)  # 3 columns, 2 rows
    levels = np.asarray(picture)
    factor, gap = 3, 4
    assert levels.shape == (2 * (28 * factor + gap) + gap, 3 * (28 * factor + gap) + gap, 3)
    cell = levels[gap : gap + 28 * factor, gap : gap + 28 * factor, 0]
    assert (cell == 255).sum() == factor**2
    assert (cell[3 * factor : 4 * factor, 5 * factor : 6 * factor] == 255).all()


def test_html_embeds_the_picture() -> None:
    html = Image().html(smooth(28, 28))
    assert 'width="84"' in html
    assert "pixelated" in html
    content = base64.b64decode(html.split("base64,")[1].split('"')[0])
    back = torch.from_numpy(np.array(PillowImage.open(io.BytesIO(content)))).movedim(-1, 0) / 127.5 - 1
    assert torch.allclose(back, smooth(28, 28), atol=1e-6)


def test_files_may_be_named_by_strings(tmp_path: Path) -> None:
    image = Image(size=8)
    media = torch.zeros(3, 8, 8)
    image.write(media, str(tmp_path / "a.png"))
    assert image.read(str(tmp_path / "a.png")).shape == media.shape
    assert image.info(str(tmp_path / "a.png")).width == 8


HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAXxtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAA"
    "ACJpbG9jAAAAAERAAAEAAQAAAAABoAABAAAAAAAAAKYAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRt"
    "AAAAAAABAAAA/GlwcnAAAADcaXBjbwAAAHVodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMA"
    "AAMAHroCQGEAAQApQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbqrprm4CGgwIAAAAyAAAADAIRiAAEABkQBwXPBiQAAABNjb2xybmNs"
    "eAABAA0ABoAAAAAUaXNwZQAAAAAAAABAAAAAQAAAAChjbGFwAAAAKAAAAAEAAAAYAAAAAf///+gAAAAC////2AAAAAIAAAAQcGl4"
    "aQAAAAADCAgIAAAAGGlwbWEAAAAAAAAAAQABBYECAwWEAAAArm1kYXQAAACiKAGvBrIeWNQQkgJz/ml///9zO+h/bLmImzcTMv+4"
    "uDT+BgzC9213jY/CA3rlvGa8nlZ9Nz75MPm3EQ+bq4FPgVlrxxm4/qPvO7dt0i8Xfk/uPhgugFih+/ubeFqSE5C71z6AV0yM8Cig"
    "oeY1rr8Ey+XETVvCi+ACkR+LVPolwl2N3vsqSd27AfxN+T8tjaH4ng3Lhg1bZwPG9HvXVEnTLb2A"
)


def test_heic_without_its_package_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.heic").write_bytes(HEIC)
    monkeypatch.setattr(image_header, "_formats", lambda: ("JPEG", "PNG"))
    with pytest.raises(
        MediaError, match=r"a\.heic: is HEIC, which needs the package pillow-heif: pip install .*heif"
    ):
        Image().read(tmp_path / "a.heic")
    smooth_file = tmp_path / "a.avif"
    PillowImage.new("RGB", (16, 16)).save(smooth_file)
    with pytest.raises(MediaError, match=r"a\.avif: is AVIF, which needs Pillow"):
        Image().read(smooth_file)
    (tmp_path / "b.heic").write_bytes(b"no picture")
    with pytest.raises(MediaError, match=r"b\.heic: cannot be read \(not a picture of a known format\)"):
        Image().read(tmp_path / "b.heic")


def test_heic_is_read(tmp_path: Path) -> None:
    """Red to the left, blue to the right."""
    pytest.importorskip("pillow_heif")
    (tmp_path / "a.HEIC").write_bytes(HEIC)
    info, media = Image().info(tmp_path / "a.HEIC"), Image().read(tmp_path / "a.HEIC")
    assert (info.width, info.height, info.channels) == (40, 24, 3)
    assert media.shape == (3, 24, 40)
    expected = torch.tensor([[250, 20, 20], [20, 20, 250]]) / 127.5 - 1
    torch.testing.assert_close(torch.stack([media[:, 12, 5], media[:, 12, 35]]), expected, atol=0.06, rtol=0)
    (tmp_path / "cut.heic").write_bytes(HEIC[: len(HEIC) // 2])
    with pytest.raises(MediaError, match=r"cut\.heic: cannot be read"):
        Image().read(tmp_path / "cut.heic")


def test_avif_is_read(tmp_path: Path) -> None:
    levels = np.zeros((24, 40, 3), np.uint8)
    levels[:, :20], levels[:, 20:] = (250, 20, 20), (20, 20, 250)
    PillowImage.fromarray(levels).save(tmp_path / "a.avif", quality=95)
    media = Image().read(tmp_path / "a.avif")
    assert media.shape == (3, 24, 40)
    assert (media - torch.from_numpy(levels).movedim(-1, 0) / 127.5 + 1)[:, :, [5, 35]].abs().max() < 0.06
