"""Colours as ITU-T H.273 and PNG's gAMA and cHRM code them: to sRGB, as an ordinary screen shows them, and back.

HDR (PQ and HLG, ITU-R BT.2100) is tone-mapped as ITU-R BT.2390-11, 5.4 says, to a white of 203 cd/m2 (BT.2408). Other
gamuts are converted to that of BT.709.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np

WHITE = 203.0  # cd/m2, of white in SDR
PEAK = 1000.0  # cd/m2, the brightest that keeps its order; brighter is white
UNKNOWN, SRGB, LINEAR, PQ, CINEMA, HLG = 2, 13, 8, 16, 17, 18
_GAMMAS = {4: 2.2, 5: 2.8}
# Curves of cameras (BT.709, BT.601, BT.2020): their pictures are shown as sRGB ones are.
_AS_SRGB = (1, 6, SRGB, 14, 15)
TRANSFERS = (*_AS_SRGB, *_GAMMAS, LINEAR, PQ, CINEMA, HLG)
_D65 = (0.3127, 0.3290)
# x and y of white, red, green and blue (H.273, table 2).
PRIMARIES: dict[int, tuple[float, ...]] = {
    1: (*_D65, 0.640, 0.330, 0.300, 0.600, 0.150, 0.060),
    4: (0.310, 0.316, 0.670, 0.330, 0.210, 0.710, 0.140, 0.080),
    5: (*_D65, 0.640, 0.330, 0.290, 0.600, 0.150, 0.060),
    6: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    7: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    9: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    22: (*_D65, 0.630, 0.340, 0.295, 0.605, 0.155, 0.077),
}
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_NAMES = {PQ: "PQ", HLG: "HLG", LINEAR: "linear", 9: "BT.2020", 11: "DCI-P3", 12: "Display P3"}
_ROWS = 256  # of a picture that are converted at once, to bound memory


@dataclass(frozen=True)
class Coding:
    """What the values of RGB stand for.

    primaries, transfer  numbers of ITU-T H.273; primaries that it does not know are BT.2020 for HDR, or else BT.709
    limited              black and white are 16 and 235 of 8 bits, not 0 and 255
    gamma                exponent of linear light, in place of `transfer`; 0: none
    chromaticities       x and y of white, red, green and blue, in place of `primaries`; empty: none
    """

    primaries: int = 1
    transfer: int = SRGB
    limited: bool = False
    gamma: float = 0.0
    chromaticities: tuple[float, ...] = ()

    @property
    def hdr(self) -> bool:
        """Whether it is PQ or HLG."""
        return not self.gamma and self.transfer in (PQ, HLG)

    @property
    def plain(self) -> bool:
        """Whether it is sRGB, but for rounding."""
        if self.limited or self.gamma or (self.transfer in TRANSFERS and self.transfer not in _AS_SRGB):
            return False
        return bool(np.abs(_to_709(self.points) - np.eye(3)).max() < 2e-3)

    @property
    def points(self) -> tuple[float, ...]:
        """The chromaticities of white, red, green and blue."""
        return self.chromaticities or PRIMARIES.get(self.primaries, PRIMARIES[9 if self.hdr else 1])

    def __str__(self) -> str:
        curve = f"gamma {self.gamma:.3g}" if self.gamma else _NAMES.get(self.transfer, "")
        gamut = "its own primaries" if self.chromaticities else _NAMES.get(self.primaries, "")
        return ", ".join(filter(None, (curve, gamut))) or f"H.273 {self.primaries}/{self.transfer}"


def narrowed(codes: np.ndarray, coding: Coding) -> np.ndarray:
    """Codes of RGB in full range, uint16 [H, W, 3] -> uint8 [H, W, 3] in sRGB."""
    light = _linear(coding.transfer, coding.gamma)[codes]
    if coding.hdr and coding.transfer == HLG:  # the system's gamma, of a screen of 1,000 cd/m2
        light *= (light @ _luma(coding))[..., None] ** 0.2 * (PEAK / WHITE)
    if coding.points != PRIMARIES[1]:
        light = np.maximum(light @ _to_709(coding.points).T.astype(np.float32), 0)
    if coding.hdr:
        most, ratio = _tone_curve()
        light *= np.interp(light.max(-1, keepdims=True), most, ratio).astype(np.float32)
    return _encoded()[np.round(np.clip(light, 0, 1) * 65535).astype(np.uint16)]


def decoded(share: np.ndarray, coding: Coding, white: int = 255) -> np.ndarray:
    """Values of a file in 0 to 1, [H, W, 3] -> uint8 [H, W, 3] in sRGB. `white`: the file's largest value."""
    levels = np.empty(share.shape, np.uint8)
    for row in range(0, len(share), _ROWS):
        part = share[row : row + _ROWS]
        if coding.limited:
            black, span = _limits(white)
            part = np.clip((part - black) / span, 0, 1)
        levels[row : row + _ROWS] = narrowed(np.round(part * 65535).astype(np.uint16), coding)
    return levels


def encoded(share: np.ndarray, coding: Coding, white: int = 255) -> np.ndarray:
    """SRGB in 0 to 1, [H, W, 3] -> values of a file in 0 to 1, of which `decoded` makes the same sRGB."""
    made = np.empty(share.shape, np.float32)
    black, span = _limits(white) if coding.limited else (0.0, 1.0)
    for row in range(0, len(share), _ROWS):
        made[row : row + _ROWS] = black + span * _widened(share[row : row + _ROWS], coding)
    return made


def srgb_encoded(linear: np.ndarray) -> np.ndarray:
    """Linear light in 0 to 1 -> sRGB values in 0 to 1 (IEC 61966-2-1)."""
    return np.where(
        linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055
    )


def _widened(share: np.ndarray, coding: Coding) -> np.ndarray:
    """The way back of `narrowed`: sRGB in 0 to 1 -> codes in 0 to 1."""
    light = _srgb_light(np.clip(share, 0, 1))
    if coding.hdr:
        most, ratio = _tone_curve()
        rising = most <= PEAK / WHITE
        brightest = light.max(-1, keepdims=True)
        before = np.interp(brightest, (most * ratio)[rising], most[rising])
        light = np.where(brightest < (most * ratio)[0], light, light * before / np.maximum(brightest, 1e-9))
    if coding.points != PRIMARIES[1]:
        light = np.maximum(light @ np.linalg.inv(_to_709(coding.points)).T, 0)
    if coding.hdr and coding.transfer == HLG:
        light = light * (WHITE / PEAK)
        light = light * np.maximum(light @ _luma(coding), 1e-9)[..., None] ** (1 / 1.2 - 1)
    return np.interp(light, _linear(coding.transfer, coding.gamma), np.arange(65536) / 65535)


def _limits(white: int) -> tuple[float, float]:
    """Black, and the span from it to white, of limited range as shares of the largest value (H.273, 8.3)."""
    return 16 * (white + 1) / 256 / white, 219 * (white + 1) / 256 / white


@lru_cache(maxsize=16)
def _linear(transfer: int, gamma: float) -> np.ndarray:
    """Linear light of each of 65,536 codes, float32: 1 is white; for HLG, light of the scene in 0 to 1."""
    code = np.arange(65536) / 65535
    gamma = gamma or _GAMMAS.get(transfer, 0.0)
    if gamma or transfer == LINEAR:
        light = code ** (gamma or 1.0)
    elif transfer == PQ:
        light = _pq_light(code) / WHITE
    elif transfer == HLG:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        light = np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)
    elif transfer == CINEMA:  # SMPTE ST 428-1
        light = code**2.6 * (52.37 / 48)
    else:
        light = _srgb_light(code)
    return light.astype(np.float32)


def _srgb_light(code: np.ndarray) -> np.ndarray:
    return np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)


def to_xyz(points: tuple[float, ...]) -> np.ndarray:
    """The matrix from RGB to XYZ of chromaticities of white, red, green and blue (SMPTE RP 177).

    Raises ValueError for primaries on one line, or a white that they do not make.
    """
    white, *primaries = (np.array([x, y, 1 - x - y]) for x, y in zip(points[::2], points[1::2], strict=True))
    columns = np.stack(primaries, 1)
    if white[1] <= 0 or abs(np.linalg.det(columns)) < 1e-4:
        raise ValueError(f"chromaticities: {points} are not those of three colours and white")
    shares = np.linalg.solve(columns, white / white[1])
    if shares.min() <= 0:
        raise ValueError(f"chromaticities: white is not between the colours of {points}")
    return columns * shares


@lru_cache(maxsize=16)
def _to_709(points: tuple[float, ...]) -> np.ndarray:
    """Linear light of these primaries -> of BT.709; white becomes white (Bradford)."""
    here, there = to_xyz(points), to_xyz(PRIMARIES[1])
    cones = _BRADFORD @ np.stack([here.sum(1), there.sum(1)], 1)
    adapted = np.linalg.inv(_BRADFORD) @ np.diag(cones[:, 1] / cones[:, 0]) @ _BRADFORD
    return np.linalg.inv(there) @ adapted @ here


def _luma(coding: Coding) -> np.ndarray:
    return to_xyz(coding.points)[1].astype(np.float32)


@cache
def _encoded() -> np.ndarray:
    """SRGB levels of 65,536 steps of linear light, uint8."""
    return np.round(srgb_encoded(np.arange(65536) / 65535) * 255).astype(np.uint8)


@cache
def _tone_curve() -> tuple[np.ndarray, np.ndarray]:
    """The largest of a pixel's three lights (1 is `WHITE`), and what they are multiplied by, so that hues stay."""
    most = _pq_light(np.linspace(0.01, 1, 4096)) / WHITE
    top = _pq_code(np.array(PEAK))
    source, white = np.minimum(_pq_code(most * WHITE) / top, 1), _pq_code(np.array(WHITE)) / top
    knee = 1.5 * white - 0.5
    t = (source - knee) / (1 - knee)
    bent = (
        (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * white
    )
    mapped = _pq_light(np.where(source < knee, source, bent) * top) / WHITE
    return most, mapped / most


_M1, _M2, _C1, _C2, _C3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875  # SMPTE ST 2084


def _pq_light(code: np.ndarray) -> np.ndarray:
    """PQ codes in 0 to 1 -> cd/m2."""
    root = code ** (1 / _M2)
    return 10000 * (np.maximum(root - _C1, 0) / (_C2 - _C3 * root)) ** (1 / _M1)


def _pq_code(light: np.ndarray) -> np.ndarray:
    """Light in cd/m2 -> PQ codes in 0 to 1."""
    power = (light / 10000) ** _M1
    return ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2
