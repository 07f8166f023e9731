"""Colours that tags name: PNG's cICP, sRGB, gAMA and cHRM, and nclx of AVIF and HEIC."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from PIL.PngImagePlugin import PngInfo

from multigen.errors import MediaError
from multigen.modalities.image import Image
from multigen.modalities.image_native import _deep_levels
from multigen.modalities.video import Video
from tests.modalities.test_colour_profile import PROFILES, SHOWN
from tests.modalities.test_video_colour import GREYS, TO_2020, TO_P3, hlg, levels, pq

LIGHT = np.array(
    [[0.35, 0.05, 0.04], [0.02, 0.2, 0.03], [0.05, 0.06, 0.25], [0.18, 0.18, 0.18]]
)  # of a white of 203
SOFT = np.array([[0.3, 0.15, 0.12], [0.1, 0.25, 0.12], [0.12, 0.13, 0.25], [0.18, 0.18, 0.18]])
P3_POINTS = (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)
PQ_2020, HLG_2020, P3_SRGB = bytes([9, 16, 0, 1]), bytes([9, 18, 0, 1]), bytes([12, 13, 0, 1])


def chrm(points: tuple[float, ...] = P3_POINTS) -> bytes:
    return struct.pack(">8I", *(round(100_000 * v) for v in points))


def gama(exponent: float) -> bytes:
    return struct.pack(">I", round(100_000 / exponent))


def png(path: Path, share: object, chunks: dict[bytes, bytes], *, deep: bool = False) -> Path:
    """A PNG of RGB in 0 to 1, [H, W, 3] or a row of colours [N, 3], with chunks of its own, written by hand."""
    share = np.asarray(share, float)
    if share.ndim == 2:
        share = np.repeat(share[None], 4, 0)
    white, kind = (65535, ">u2") if deep else (255, "u1")
    codes = np.round(share * white).astype(kind)
    height, width, channels = codes.shape
    rows = np.frombuffer(codes.tobytes(), np.uint8).reshape(height, -1)
    pixels = np.pad(rows, ((0, 0), (1, 0))).tobytes()
    head = struct.pack(">IIBBBBB", width, height, 16 if deep else 8, {1: 0, 3: 2, 4: 6}[channels], 0, 0, 0)
    parts = [(b"IHDR", head), *chunks.items(), (b"IDAT", zlib.compress(pixels)), (b"IEND", b"")]
    content = b"".join(
        struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in parts
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    return path


def colours(path: Path) -> np.ndarray:
    """Levels of the columns, in the middle row: [N, 3]."""
    media = Image().read(path)
    return ((media[:, media.shape[1] // 2] + 1) * 127.5).T.numpy()


def scene(light: np.ndarray) -> np.ndarray:
    """HLG codes of light of a white of 203 on a screen of 1,000 cd/m2, in BT.2020 (ITU-R BT.2100, table 5)."""
    nits = light @ TO_2020.T * 203 / 1000
    return hlg(nits * (nits @ [0.2627, 0.6780, 0.0593])[:, None] ** (1 / 1.2 - 1))


CODES = {
    "PQ": (PQ_2020, pq(LIGHT @ TO_2020.T * 203)),
    "HLG": (HLG_2020, scene(LIGHT)),
    "P3": (P3_SRGB, levels(LIGHT @ TO_P3.T) / 255),
    "2020": (bytes([9, 14, 0, 1]), levels(LIGHT @ TO_2020.T) / 255),
    "PQ in BT.709": (bytes([1, 16, 0, 1]), pq(LIGHT * 203)),
    "linear": (bytes([1, 8, 0, 1]), LIGHT),
    "limited": (bytes([1, 13, 0, 0]), (16 + 219 * levels(LIGHT) / 255) / 255),
}


@pytest.mark.parametrize("name", CODES)
@pytest.mark.parametrize("deep", [False, True])
def test_cicp(tmp_path: Path, name: str, deep: bool) -> None:
    chunk, codes = CODES[name]
    if name == "limited" and deep:  # 16 and 235 times 256, of 65,535
        codes = codes * 255 * 256 / 65535
    found = colours(png(tmp_path / "a.png", codes, {b"cICP": chunk}, deep=deep))
    assert np.abs(found - levels(LIGHT)).max() <= (1.5 if deep else 7)  # steps of 8 bits are coarse
    shown_as_they_are = colours(png(tmp_path / "b.png", codes, {}, deep=deep))
    assert np.abs(shown_as_they_are - levels(LIGHT)).max() > 8


@pytest.mark.parametrize(("nits", "level"), GREYS)
def test_bright_greys_are_tone_mapped(tmp_path: Path, nits: float, level: float) -> None:
    for deep, off in ((False, 4), (True, 2.05)):
        path = png(tmp_path / "a.png", [[pq(nits)] * 3], {b"cICP": PQ_2020}, deep=deep)
        assert colours(path)[0].tolist() == pytest.approx([float(level)] * 3, abs=off)


def test_grey_files_of_8_and_16_bits(tmp_path: Path) -> None:
    for deep, off in ((False, 3), (True, 1)):
        path = png(tmp_path / "a.png", [[pq(20.3)]], {b"cICP": PQ_2020}, deep=deep)
        assert colours(path)[0].tolist() == pytest.approx([float(levels(0.1))] * 3, abs=off)


def test_gama_and_chrm(tmp_path: Path) -> None:
    """Each alone, and both: the power law of gAMA, the primaries of cHRM."""
    share = np.array([[0.8, 0.2, 0.1], [0.1, 0.5, 0.3], [0.02, 0.02, 0.02]])
    exact = np.round(share * 255) / 255
    found = colours(png(tmp_path / "a.png", share, {b"gAMA": gama(1.0)}))
    assert np.abs(found - levels(exact)).max() <= 1
    found = colours(png(tmp_path / "a.png", share, {b"gAMA": gama(1.8)}))
    assert np.abs(found - levels(exact**1.8)).max() <= 1
    stored = (LIGHT @ TO_P3.T) ** (1 / 2.2)
    found = colours(png(tmp_path / "a.png", stored, {b"gAMA": gama(2.2), b"cHRM": chrm()}, deep=True))
    assert np.abs(found - levels(LIGHT)).max() <= 1.5
    found = colours(png(tmp_path / "a.png", levels(LIGHT @ TO_P3.T) / 255, {b"cHRM": chrm()}, deep=True))
    assert np.abs(found - levels(LIGHT)).max() <= 1.5


def test_precedence(tmp_path: Path) -> None:
    """cICP, iCCP, sRGB, gAMA and cHRM (PNG, third edition); a cICP that cannot be used leaves the next in force."""
    share = np.array([[200, 60, 60], [60, 180, 60]]) / 255
    icc = b"p3\0\0" + zlib.compress(PROFILES["p3"])
    rest = {b"gAMA": gama(1.0), b"cHRM": chrm()}

    def read(chunks: dict[bytes, bytes]) -> np.ndarray:
        return colours(png(tmp_path / "a.png", share, chunks))

    plain, of_icc = np.round(share * 255), np.array(SHOWN["p3"][:2])
    assert np.abs(read({**rest, b"sRGB": b"\0"}) - plain).max() < 1e-3
    assert np.abs(read({**rest, b"iCCP": icc}) - of_icc).max() <= 1
    assert np.abs(read({b"cICP": bytes([1, 13, 0, 1]), b"iCCP": icc, **rest}) - plain).max() < 1e-3
    wanted = levels(np.clip(np.where(share < 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
                            @ np.linalg.inv(TO_P3).T, 0, 1))  # fmt: skip
    assert np.abs(read({b"iCCP": icc, b"cICP": P3_SRGB}) - wanted).max() <= 2
    for bad in (bytes([2, 2, 0, 1]), bytes([9, 16, 1, 1]), bytes([9, 16, 0, 7]), b"\x09\x10", bytes(4)):
        assert np.abs(read({b"cICP": bad, b"iCCP": icc, **rest}) - of_icc).max() <= 1
    assert np.abs(read({b"cICP": P3_SRGB, b"sRGB": b"\0"}) - wanted).max() <= 2


@pytest.mark.parametrize("chunks", [
    {b"gAMA": bytes(4)}, {b"gAMA": struct.pack(">I", 2**32 - 1)}, {b"cHRM": bytes(32)}, {b"cHRM": b"\xff" * 32},
    {b"cHRM": chrm((0.3127, 0.329, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3))}, {b"cICP": b""},
    {b"cHRM": chrm((0.8, 0.1, *P3_POINTS[2:]))},
])  # fmt: skip
def test_senseless_tags_are_ignored(tmp_path: Path, chunks: dict[bytes, bytes]) -> None:
    share = np.array([[200, 60, 60], [60, 180, 60]]) / 255
    assert np.abs(colours(png(tmp_path / "a.png", share, chunks)) - share * 255).max() < 1e-3


def test_limits_come_first(tmp_path: Path) -> None:
    path = png(tmp_path / "a.png", np.zeros((40, 40, 3)), {b"cICP": PQ_2020})
    with pytest.raises(MediaError, match=r"40 x 40 pixels; the limit max_pixels is 1,000"):
        Image(max_pixels=1000).read(path)


def test_animations_too(tmp_path: Path) -> None:
    tags, frames = PngInfo(), []
    tags.add(b"cICP", PQ_2020)
    for nits in (20.3, 50.75):
        frames.append(PillowImage.new("RGB", (16, 16), (round(float(pq(nits)) * 255),) * 3))
    frames[0].save(
        tmp_path / "a.apng", "PNG", save_all=True, append_images=frames[1:], duration=100, pnginfo=tags
    )
    media = (Video(size=16, fps=10).read(tmp_path / "a.apng") + 1) * 127.5
    assert media[:, 0, 8, 8].tolist() == pytest.approx([float(levels(0.1))] * 3, abs=3)
    assert media[:, 1, 8, 8].tolist() == pytest.approx([float(levels(0.25))] * 3, abs=3)


# --- AVIF and HEIC ------------------------------------------------------------------------------------------------


def avif(path: Path, share: np.ndarray, primaries: int, transfer: int, **options: object) -> Path:
    """An AVIF of stripes of 16 pixels, whose nclx says what is given: Pillow writes that of sRGB."""
    picture = np.repeat(np.repeat(np.round(share * 255).astype(np.uint8), 16, 0)[None], 32, 0)
    file = io.BytesIO()
    PillowImage.fromarray(picture).save(file, "AVIF", quality=100, subsampling="4:4:4", **options)
    content = bytearray(file.getvalue())
    place = content.find(b"colrnclx")
    assert place > 0
    content[place + 8 : place + 12] = struct.pack(">HH", primaries, transfer)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("name", "primaries", "transfer"), [("PQ", 9, 16), ("HLG", 9, 18), ("P3", 12, 13)])
def test_avif(tmp_path: Path, name: str, primaries: int, transfer: int) -> None:
    codes = {"PQ": pq(SOFT @ TO_2020.T * 203), "HLG": scene(SOFT), "P3": levels(SOFT @ TO_P3.T) / 255}[name]
    path = avif(tmp_path / "a.avif", codes, primaries, transfer)
    assert np.abs(colours(path)[8::16] - levels(SOFT)).max() <= 8  # AVIF is off by up to 2 codes


def test_an_edit_of_an_avif_is_a_png_with_cicp(tmp_path: Path) -> None:
    path = avif(tmp_path / "a.avif", CODES["PQ"][1], 9, 16)
    native = Image(size=16).native(path)
    native.write(native.read(path), tmp_path / "b.png")
    assert chunks_of(tmp_path / "b.png")[b"cICP"] == PQ_2020
    assert np.array_equal(
        np.asarray(PillowImage.open(tmp_path / "b.png")), np.asarray(PillowImage.open(path))
    )
    assert np.abs(colours(tmp_path / "b.png") - colours(path)).max() == 0


def test_avif_of_srgb_or_with_a_profile(tmp_path: Path) -> None:
    share = np.array([[200, 60, 60], [60, 180, 60]]) / 255
    for primaries, transfer in ((1, 13), (2, 2), (1, 1)):
        found = colours(avif(tmp_path / "a.avif", share, primaries, transfer))
        assert np.abs(found[8::16] - share * 255).max() <= 3
    found = colours(avif(tmp_path / "a.avif", share, 9, 16, icc_profile=PROFILES["p3"]))
    assert np.abs(found[8::16] - SHOWN["p3"][:2]).max() <= 4


def test_damaged_boxes_are_no_fault_of_their_own(tmp_path: Path) -> None:
    """Whatever byte of the boxes is wrong, the picture is read or a MediaError names it."""
    whole = bytearray(avif(tmp_path / "a.avif", CODES["PQ"][1], 9, 16).read_bytes())
    end = whole.index(b"mdat")
    for place in range(16, end, 3):
        (tmp_path / "b.avif").write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        with suppress(MediaError):
            assert Image().read(tmp_path / "b.avif").shape[0] == 3


def test_heic(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    if not heif.libheif_info()["HEIF"]:
        pytest.skip("this libheif writes no HEIC")
    for name, primaries, transfer in (("PQ", 9, 16), ("HLG", 9, 18), ("P3", 12, 13)):
        picture = np.repeat(np.repeat(np.round(CODES[name][1] * 255).astype(np.uint8), 16, 0)[None], 64, 0)
        heif.from_pillow(PillowImage.fromarray(picture)).save(
            tmp_path / "a.heic", quality=-1, chroma=444, color_primaries=primaries,
            transfer_characteristics=transfer, matrix_coefficients=0, full_range_flag=1,
        )  # fmt: skip
        assert np.abs(colours(tmp_path / "a.heic")[8::16] - levels(LIGHT)).max() <= 7


# --- Edits --------------------------------------------------------------------------------------------------------


def chunks_of(path: Path) -> dict[bytes, bytes]:
    content, place, found = path.read_bytes(), 8, {}
    while place < len(content):
        size = int.from_bytes(content[place : place + 4])
        found[content[place + 4 : place + 8]] = content[place + 8 : place + 8 + size]
        place += 12 + size
    return found


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("chunks", [{b"cICP": PQ_2020}, {b"cICP": bytes([9, 18, 0, 0])}, {b"gAMA": gama(2.2)},
                                    {b"gAMA": gama(1.0), b"cHRM": chrm()}])  # fmt: skip
def test_what_is_kept_comes_back_with_its_tags(
    tmp_path: Path, chunks: dict[bytes, bytes], deep: bool
) -> None:
    share = np.random.default_rng(0).random((20, 30, 3))
    path = png(tmp_path / "a.png", share, chunks, deep=deep)
    native = Image(size=16).native(path)
    native.write(native.read(path), tmp_path / "b.png")
    written = chunks_of(tmp_path / "b.png")
    assert {k: v for k, v in written.items() if k not in (b"IHDR", b"IDAT", b"IEND")} == chunks
    decode = _deep_levels if deep else (lambda p: np.asarray(PillowImage.open(p)))
    assert np.array_equal(decode(tmp_path / "b.png"), decode(path))
    seen = native.convert(native.read(path), Image(size=16))
    assert torch.equal(seen, Image(size=16).read(path))


def test_what_is_made_is_put_into_the_files_colours(tmp_path: Path) -> None:
    """In PQ: the light of sRGB times 203 cd/m2, in the gamut of BT.2020."""
    path = png(tmp_path / "a.png", np.zeros((4, 4, 3)), {b"cICP": PQ_2020}, deep=True)
    native, model = Image(size=4).native(path), Image(size=4)
    made = torch.from_numpy(levels(LIGHT).T.reshape(3, 2, 2) / 127.5 - 1).float()
    stored = (model.convert(made, native) + 1) / 2
    assert np.abs(stored.flatten(1).T.numpy() - pq(LIGHT @ TO_2020.T * 203)).max() < 2e-3


def test_alpha_stays(tmp_path: Path) -> None:
    share = np.array([[float(pq(20.3))] * 3 + [0.4]])
    path = png(tmp_path / "a.png", share, {b"cICP": PQ_2020}, deep=True)
    media = (Image(channels=4).read(path)[:, 0, 0] + 1) / 2
    assert media.tolist() == pytest.approx([float(levels(0.1)) / 255] * 3 + [0.4], abs=0.004)
    native = Image(channels=4).native(path)
    made = native.convert(media[:, None, None] * 2 - 1, Image(channels=4))
    assert made.shape[0] == 4
    assert float(native.read(path)[3, 0, 0]) == pytest.approx(-0.2, abs=1e-4)


@pytest.mark.parametrize("suffix", [".jpg", ".webp"])
def test_files_without_tags_get_srgb_with_a_note(tmp_path: Path, suffix: str) -> None:
    path = png(tmp_path / "a.png", np.full((16, 16, 3), pq(50.75)), {b"cICP": PQ_2020})
    native = Image(size=16).native(path)
    with pytest.warns(UserWarning, match=r"the colours of the source \(PQ, BT\.2020\): written in sRGB"):
        native.write(native.read(path), tmp_path / f"b{suffix}")
    assert np.abs(colours(tmp_path / f"b{suffix}") - levels(0.25)).max() <= 5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        native.write(native.read(path), tmp_path / "b.png")
