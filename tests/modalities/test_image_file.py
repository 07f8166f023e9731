"""Picture files as people have them: turned by EXIF data, in every mode and depth; each is read as viewers show it."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage
from PIL import ImageOps

from multigen.modalities.image import Image

RED, GREEN, BLUE, GREY, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (128,) * 3, (255,) * 3
PALE = (127, 127, 255)  # half of blue on white
GREYS = [(0,) * 3, (85,) * 3, (170,) * 3, (255,) * 3]
Turn = PillowImage.Transpose
# What undoes what a viewer does for each EXIF orientation.
STORED = {
    1: None, 2: Turn.FLIP_LEFT_RIGHT, 3: Turn.ROTATE_180, 4: Turn.FLIP_TOP_BOTTOM, 5: Turn.TRANSPOSE,
    6: Turn.ROTATE_90, 7: Turn.TRANSVERSE, 8: Turn.ROTATE_270,
}  # fmt: skip


def quarters(path: Path) -> list[tuple[int, ...]]:
    levels = ((Image(size=64).read(path) + 1) * 127.5).round().int()
    return [tuple(levels[:, y, x].tolist()) for y in (16, 48) for x in (16, 48)]


def rgb() -> PillowImage.Image:
    levels = np.array([[RED, GREEN], [BLUE, GREY]], np.uint8)
    return PillowImage.fromarray(np.kron(levels, np.ones((32, 32, 1), np.uint8)))


def sixteen(bits: int = 16) -> np.ndarray:
    steps = np.array([[0, 21845], [43690, 65535]]) >> (16 - bits)
    return np.kron(steps, np.ones((32, 32))).astype(np.uint16)


def png16(path: Path, samples: np.ndarray) -> None:
    """A PNG of 16 bits a sample, which Pillow cannot write."""
    height, width, channels = samples.shape
    raw = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    data = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize(("suffix", "options"), [
    (".jpg", {"quality": 100, "subsampling": 0}), (".png", {}), (".webp", {"lossless": True}), (".tif", {}),
])  # fmt: skip
def test_exif_orientation(tmp_path: Path, orientation: int, suffix: str, options: dict[str, object]) -> None:
    upright = np.zeros((64, 48, 3), np.uint8)
    upright[:, :24], upright[:, 24:], upright[:16, :16] = RED, BLUE, GREEN
    turn = STORED[orientation]
    stored = PillowImage.fromarray(upright)
    stored = stored if turn is None else stored.transpose(turn)
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a{suffix}"
    stored.save(path, exif=exif, **options)
    media = ((Image(size=64).read(path) + 1) * 127.5).round().byte().movedim(0, -1).numpy().astype(int)
    seen = np.asarray(ImageOps.exif_transpose(PillowImage.open(path)).convert("RGB")).astype(int)
    assert media.shape == upright.shape
    assert np.abs(media - seen).max() == 0
    assert np.abs(media - upright).max() <= (20 if suffix == ".jpg" else 0)
    info = Image().info(path)
    assert (info.width, info.height) == (48, 64)


MODES: dict[str, tuple[str, dict[str, object], list[tuple[int, ...]]]] = {
    "cmyk.jpg": ("CMYK", {"quality": 100}, [RED, GREEN, BLUE, GREY]),
    "cmyk.tif": ("CMYK", {}, [RED, GREEN, BLUE, GREY]),
    "ycc.tif": ("YCbCr", {}, [RED, GREEN, BLUE, GREY]),
    "grey.jpg": ("L", {"quality": 100}, [(76,) * 3, (150,) * 3, (29,) * 3, GREY]),
    "one_bit.png": ("1", {}, [(0,) * 3, WHITE, (0,) * 3, (0,) * 3]),
}


@pytest.mark.parametrize("name", MODES)
def test_modes(tmp_path: Path, name: str) -> None:
    mode, options, expected = MODES[name]
    dither = PillowImage.Dither.NONE
    picture = rgb() if mode != "1" else rgb().convert("L").point(lambda v: 255 * (v > 128))
    picture.convert(mode, dither=dither).save(tmp_path / name, **options)
    assert np.abs(np.array(quarters(tmp_path / name)) - expected).max() <= 1


@pytest.mark.parametrize("name", ["rgba.png", "palette.png", "a.webp", "a.tif"])
def test_alpha_shows_white(tmp_path: Path, name: str) -> None:
    picture = rgb().convert("RGBA")
    picture.putalpha(
        PillowImage.fromarray(np.kron([[255, 0], [128, 255]], np.ones((32, 32))).astype(np.uint8))
    )
    if name == "palette.png":
        picture = picture.quantize(16)
    picture.save(tmp_path / name, **({"lossless": True} if name == "a.webp" else {}))
    assert quarters(tmp_path / name) == [RED, WHITE, PALE, GREY]


@pytest.mark.parametrize("name", ["clear.png", "clear.gif"])
def test_a_clear_colour_of_a_palette(tmp_path: Path, name: str) -> None:
    picture = rgb().quantize(4)
    picture.save(tmp_path / name, transparency=picture.getpixel((0, 0)))
    assert quarters(tmp_path / name) == [WHITE, GREEN, BLUE, GREY]


@pytest.mark.parametrize("name", ["grey.png", "grey.tif"])
def test_sixteen_bits_of_grey(tmp_path: Path, name: str) -> None:
    PillowImage.fromarray(sixteen()).save(tmp_path / name)
    assert quarters(tmp_path / name) == GREYS


def test_sixteen_bits_of_colours_and_alpha(tmp_path: Path) -> None:
    png16(tmp_path / "rgb.png", np.asarray(rgb()).astype(np.uint16) * 257)
    assert quarters(tmp_path / "rgb.png") == [RED, GREEN, BLUE, GREY]
    alpha = np.full((64, 64), 65535, np.uint16)
    alpha[:32, :32] = 0
    png16(tmp_path / "la.png", np.stack([sixteen(), alpha], -1))
    assert quarters(tmp_path / "la.png") == [WHITE, *GREYS[1:]]


def test_twelve_bits_in_sixteen(tmp_path: Path) -> None:
    """As scanners and microscopes write: white is 4,095."""
    PillowImage.fromarray(sixteen(12)).save(tmp_path / "a.png")
    with pytest.warns(UserWarning, match=r"a\.png: no value is above 4095: read as 12 bits, white is 4095"):
        assert quarters(tmp_path / "a.png") == GREYS
    dark = sixteen() // 14  # 16 bits, and brighter than 12 bits hold
    PillowImage.fromarray(dark).save(tmp_path / "b.png")
    assert quarters(tmp_path / "b.png") == [(v // 14,) * 3 for v in (0, 85, 170, 255)]
    PillowImage.fromarray(dark * 0).save(tmp_path / "c.png")
    assert quarters(tmp_path / "c.png") == [(0, 0, 0)] * 4


def test_a_tiff_that_says_twelve_bits(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    """Packed samples of 12 bits, all of them dark."""
    values = (sixteen(12) // 4).ravel()
    first, second = values[::2].astype(np.uint32), values[1::2].astype(np.uint32)
    packed = (
        np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], -1).astype(np.uint8).tobytes()
    )
    entries = [
        (256, 64),
        (257, 64),
        (258, 12),
        (259, 1),
        (262, 1),
        (273, 8),
        (277, 1),
        (278, 64),
        (279, len(packed)),
    ]
    directory = struct.pack("<H", len(entries)) + b"".join(
        struct.pack("<HHII", t, 4, 1, v) for t, v in entries
    )
    head = b"II*\0" + struct.pack("<I", 8 + len(packed))
    (tmp_path / "a.tif").write_bytes(head + packed + directory + b"\0\0\0\0")
    assert (
        np.abs(np.array(quarters(tmp_path / "a.tif")) - [(v / 4,) * 3 for v in (0, 85, 170, 255)]).max()
        <= 0.6
    )
    assert not [w for w in recwarn if "12 bits" in str(w.message)]
