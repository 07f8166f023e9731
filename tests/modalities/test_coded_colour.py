"""Codings of colour: what is put into a file of one is read as it was, and senseless ones are refused."""

from __future__ import annotations

import numpy as np
import pytest

from multigen.modalities.coded_colour import PRIMARIES, Coding, decoded, encoded, to_xyz

P3_POINTS = PRIMARIES[12]


@pytest.mark.parametrize("coding", [
    Coding(9, 16), Coding(9, 18), Coding(9, 18, limited=True), Coding(12, 13), Coding(1, 8), Coding(gamma=1.8),
    Coding(11, 17), Coding(gamma=2.2, chromaticities=P3_POINTS),
])  # fmt: skip
def test_the_way_back(coding: Coding) -> None:
    share = np.random.default_rng(1).random((16, 16, 3)).astype(np.float32)
    share[0, :3] = [[0, 0, 0], [1, 1, 1], [1, 0, 0]]
    again = decoded(encoded(share, coding, 65535), coding, 65535)
    assert np.abs(again - share * 255).max() <= 1


def test_matrices_are_those_of_the_standards() -> None:
    """IEC 61966-2-1 and ITU-R BT.2020: luminance of red, green and blue; white is D65."""
    assert to_xyz(PRIMARIES[1])[1] == pytest.approx([0.2126, 0.7152, 0.0722], abs=1e-4)
    assert to_xyz(PRIMARIES[9])[1] == pytest.approx([0.2627, 0.6780, 0.0593], abs=1e-4)
    assert to_xyz(PRIMARIES[12]).sum(1) == pytest.approx([0.9505, 1.0, 1.0891], abs=1e-3)


def test_another_white_stays_white() -> None:
    coding = Coding(chromaticities=(0.3457, 0.3585, *P3_POINTS[2:]))  # D50
    found = decoded(np.array([[[1.0] * 3, [0.5] * 3]]), coding)[0]
    assert np.abs(found.astype(int) - [[255] * 3, [128] * 3]).max() <= 1


def test_what_is_plain() -> None:
    assert all(Coding(1, transfer).plain for transfer in (1, 2, 6, 13, 14, 15))
    for coding in (Coding(9, 13), Coding(1, 16), Coding(1, 8), Coding(limited=True), Coding(gamma=2.2)):
        assert not coding.plain
    assert Coding(chromaticities=(0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)).plain


@pytest.mark.parametrize("points", [
    (0.3127, 0.329, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3), (0.8, 0.1, *P3_POINTS[2:]), (0.0,) * 8, (0.3, 0.0, *P3_POINTS[2:]),
])  # fmt: skip
def test_senseless_chromaticities(points: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="chromaticities"):
        to_xyz(points)
