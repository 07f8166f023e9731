"""Colours of video: matrix and range as tagged, or as their size says; HDR and wide gamuts as a screen shows them."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

from multigen.modalities.video import Video

RED = (200, 60, 60)
PQ, HLG, P3 = ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67, ColorPrimaries.SMPTE432
# BT.709 in linear light -> BT.2020 (ITU-R BT.2087), and -> Display P3.
TO_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
TO_P3 = np.array([[0.8225, 0.1774, 0.0], [0.0332, 0.9669, 0.0], [0.0171, 0.0724, 0.9108]])


def record(
    path: Path, colour: object, matrix: Colorspace, rate: ColorRange = ColorRange.MPEG, *,
    size: tuple[int, int] = (64, 64), tagged: bool = True, trc: ColorTrc | None = None,
    primaries: ColorPrimaries | None = None,
) -> Path:  # fmt: skip
    """A frame of one colour: levels 0 to 255, or (for an HDR curve) values in 0 to 1."""
    deep = trc is not None
    kind, pixels = ("yuv444p10le", "rgb48le") if deep else ("yuv444p", "rgb24")
    values = np.asarray(colour) * (65535 if deep else 1)
    levels = np.broadcast_to(np.round(values), (*size, 3)).astype(np.uint16 if deep else np.uint8)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=8, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = size[1], size[0], kind
        context = stream.codec_context
        if tagged:
            context.colorspace, context.color_range = matrix, rate
            context.color_trc = trc or ColorTrc.UNSPECIFIED
            context.color_primaries = primaries or ColorPrimaries.UNSPECIFIED
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(levels), format=pixels)
        frame = frame.reformat(format=kind, dst_colorspace=matrix, dst_color_range=rate)
        frame.color_trc, frame.color_primaries = ColorTrc.UNSPECIFIED, ColorPrimaries.UNSPECIFIED
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def read(path: Path) -> np.ndarray:
    media = Video(size=8).read(path)
    return ((media[:, 0, media.shape[2] // 2, media.shape[3] // 2] + 1) * 127.5).round().int().numpy()


def levels(light: object) -> np.ndarray:
    """SRGB levels of linear light in 0 to 1."""
    light = np.asarray(light, float)
    return 255 * np.where(light < 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize(
    "matrix", [Colorspace.ITU709, Colorspace.ITU601, Colorspace.SMPTE240M, Colorspace.BT2020]
)
@pytest.mark.parametrize("rate", [ColorRange.MPEG, ColorRange.JPEG])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_as_tagged(tmp_path: Path, matrix: Colorspace, rate: ColorRange, suffix: str) -> None:
    found = read(record(tmp_path / f"a{suffix}", RED, matrix, rate))
    assert np.abs(found - RED).max() <= 2


@pytest.mark.parametrize(("size", "matrix"), [
    ((720, 1280), Colorspace.ITU709), ((640, 360), Colorspace.ITU709), ((576, 720), Colorspace.ITU601),
    ((480, 640), Colorspace.ITU601),
])  # fmt: skip
def test_untagged_video_goes_by_its_size(tmp_path: Path, size: tuple[int, int], matrix: Colorspace) -> None:
    """As browsers and players do: HD is BT.709. By the other matrix levels are 12 off."""
    other = Colorspace.ITU601 if matrix == Colorspace.ITU709 else Colorspace.ITU709
    assert np.abs(read(record(tmp_path / "a.mp4", RED, matrix, size=size, tagged=False)) - RED).max() <= 2
    assert np.abs(read(record(tmp_path / "b.mp4", RED, other, size=size, tagged=False)) - RED).max() >= 10


def test_untagged_is_limited_and_yuvj_is_full(tmp_path: Path) -> None:
    white = record(tmp_path / "a.mp4", (255,) * 3, Colorspace.ITU601, tagged=False)
    assert read(white).tolist() == pytest.approx([255] * 3, abs=1)
    with av.open(str(tmp_path / "b.avi"), "w") as out:  # motion JPEG, as of cameras
        stream = out.add_stream("mjpeg", rate=8, options={"qmin": "1", "qmax": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuvj420p"
        frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), RED, np.uint8), format="rgb24")
        out.mux(stream.encode(frame.reformat(
            format="yuvj420p", dst_colorspace=Colorspace.ITU601, dst_color_range=ColorRange.JPEG
        )))  # fmt: skip
        out.mux(stream.encode(None))
    assert np.abs(read(tmp_path / "b.avi") - RED).max() <= 4


def pq(nits: object) -> np.ndarray:
    """SMPTE ST 2084."""
    power = (np.asarray(nits, float) / 10000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


def hlg(light: object) -> np.ndarray:
    """ITU-R BT.2100: light of the scene in 0 to 1 -> code."""
    light = np.asarray(light, float)
    high = 0.17883277 * np.log(np.maximum(12 * light - 0.28466892, 1e-9)) + 0.55991073
    return np.where(light <= 1 / 12, np.sqrt(3 * light), high)


# cd/m2, and the level that is shown: dark ones as they are (white is 203), bright ones bent (BT.2390).
GREYS = [(0.0, 0), (20.3, levels(0.1)), (50.75, levels(0.25)), (203.0, 231), (1000.0, 255), (4000.0, 255)]


@pytest.mark.parametrize("trc", [PQ, HLG])
@pytest.mark.parametrize(("nits", "level"), GREYS)
def test_grey_of_hdr(tmp_path: Path, trc: ColorTrc, nits: float, level: float) -> None:
    code = pq(nits) if trc == PQ else hlg(min(nits / 1000, 1) ** (1 / 1.2))
    path = record(tmp_path / "a.mp4", [code] * 3, Colorspace.BT2020, trc=trc, primaries=ColorPrimaries.BT2020)
    assert read(path).tolist() == pytest.approx([float(level)] * 3, abs=2)


def test_brighter_is_brighter(tmp_path: Path) -> None:
    shown = []
    for k, nits in enumerate((100, 150, 203, 300, 450, 600)):
        path = record(
            tmp_path / f"{k}.mp4", [pq(nits)] * 3, Colorspace.BT2020, trc=PQ, primaries=ColorPrimaries.BT2020
        )
        shown.append(int(read(path)[0]))
    assert shown == sorted(set(shown))


@pytest.mark.parametrize("trc", [PQ, HLG])
def test_a_phones_hdr_keeps_its_hues(tmp_path: Path, trc: ColorTrc) -> None:
    """Light of BT.709 in the gamut of BT.2020; washed out by up to 60 of 255 where its codes are shown as they are."""
    light = np.array([0.35, 0.05, 0.04])  # of a white of 203
    nits = TO_2020 @ light * 203
    if trc == PQ:
        code = pq(nits)
    else:
        luminance = nits @ [0.2627, 0.6780, 0.0593] / 1000
        code = hlg(nits / 1000 * luminance ** (1 / 1.2 - 1))
    path = record(tmp_path / "a.mp4", code, Colorspace.BT2020, trc=trc, primaries=ColorPrimaries.BT2020)
    assert read(path).tolist() == pytest.approx(levels(light).tolist(), abs=3)
    assert np.abs(255 * code - levels(light)).max() > 20  # what the file's own levels would show


def test_wide_gamut_without_hdr(tmp_path: Path) -> None:
    light = np.array([0.5, 0.05, 0.02])
    for matrix, primaries in ((TO_P3, P3), (TO_2020, ColorPrimaries.BT2020)):
        stored = levels(matrix @ light) / 255
        path = record(tmp_path / "a.mp4", stored, Colorspace.ITU709, trc=ColorTrc.BT709, primaries=primaries)
        assert read(path).tolist() == pytest.approx(levels(light).tolist(), abs=3)
