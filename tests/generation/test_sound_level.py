"""What is new in a sound is as loud as what is kept beside it, and panned alike."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from multigen.generation.masks import Source, spliced
from multigen.generation.sound_level import levelled, panned
from multigen.modalities.loudness import measure

RATE = 16_000


def noise(seconds: float, level: float, seed: int = 0, channels: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return level * torch.randn(channels, round(seconds * RATE), generator=generator).clamp(-3, 3)


def lufs(sound: Tensor) -> float:
    return measure(sound.numpy(), RATE).lufs


def kept(*spans: tuple[float, float], seconds: float) -> Tensor:
    keep = torch.zeros(round(seconds * RATE), dtype=torch.bool)
    for first, last in spans:
        keep[round(first * RATE) : round(last * RATE)] = True
    return keep


@pytest.mark.parametrize("channels", [1, 2, 10])
@pytest.mark.parametrize(("old", "new"), [(0.01, 0.1), (0.1, 0.02)])
def test_what_is_added_is_as_loud_as_what_is_there(old: float, new: float, channels: int) -> None:
    media = noise(6, old, channels=channels)
    keep = kept((0, 4), seconds=6)
    source = Source(media, keep)
    found = levelled(noise(6, new, seed=1, channels=channels), source, RATE)
    if channels <= 8:
        assert lufs(found[:, 4 * RATE :]) == pytest.approx(lufs(media[:, : 4 * RATE]), abs=0.3)
    edited = spliced(found, source, RATE // 20)
    assert torch.equal(edited[:, : round(3.9 * RATE)], media[:, : round(3.9 * RATE)])
    # No window of 50 ms near the seam is more than 3 dB off; unmatched it would be 14 to 20.
    levels = edited[:, round(3.5 * RATE) : round(4.5 * RATE)].unfold(1, RATE // 20, RATE // 20)
    shares = 20 * levels.square().mean((0, 2)).sqrt().div(old).log10()
    assert float(shares.abs().max()) < 3


def test_each_span_fits_its_own_surroundings() -> None:
    media = torch.cat([noise(10, 0.01), noise(10, 0.1)], 1)
    keep = kept((0, 3), (5, 15), (17, 20), seconds=20)
    found = levelled(noise(20, 0.05, seed=1), Source(media, keep), RATE)
    assert lufs(found[:, 3 * RATE : 5 * RATE]) == pytest.approx(lufs(media[:, : 3 * RATE]), abs=0.3)
    assert lufs(found[:, 15 * RATE : 17 * RATE]) == pytest.approx(lufs(media[:, 17 * RATE :]), abs=0.3)


def test_a_sound_that_is_made_anew_as_a_whole_is_as_loud_as_its_source() -> None:
    media = noise(5, 0.02)
    assert lufs(levelled(noise(5, 0.2, seed=1), Source(media), RATE)) == pytest.approx(lufs(media), abs=0.2)


def test_peaks_stay_under_full_scale() -> None:
    clicks = torch.zeros(1, 4 * RATE)
    clicks[:, ::4000] = 0.9
    media = torch.cat([noise(4, 0.3), torch.zeros_like(clicks)], 1)
    source = Source(media, kept((0, 4), seconds=8))
    found = levelled(torch.cat([media[:, : 4 * RATE], clicks], 1), source, RATE)[:, 4 * RATE :]
    allowed = max(-1.0, measure(media[:, RATE : 4 * RATE].numpy(), RATE).peak)
    assert measure(found.numpy(), RATE).peak <= allowed + 0.1
    assert math.isclose(float(found[0, 0] / found[0, 4000]), 1, rel_tol=1e-6)


@pytest.mark.parametrize("silent", ["kept", "new"])
def test_silence_has_no_level_to_match(silent: str) -> None:
    media, new = noise(4, 0.1), noise(4, 0.2, seed=1)
    (media if silent == "kept" else new).zero_()
    source = Source(media, kept((0, 2), seconds=4))
    assert torch.equal(levelled(new, source, RATE), new)


def test_nothing_is_raised_by_more_than_20_db() -> None:
    media, new = noise(4, 0.1), noise(4, 0.0005, seed=1)
    found = levelled(new, Source(media, kept((0, 2), seconds=4)), RATE)
    assert float(found.std() / new.std()) == pytest.approx(10, rel=1e-3)


@pytest.mark.parametrize("right", [-1.0, -0.9, 0.5, 0.0])
def test_what_is_new_takes_the_balance_over(right: float) -> None:
    left = noise(4, 0.1)
    media = torch.cat([left, right * left])
    new = noise(4, 0.1, seed=1).expand(2, -1)
    found = panned(new, Source(media, kept((0, 2), seconds=4)), RATE)
    share = found[1] @ found[0] / (found[0] @ found[0])
    assert float(share) == pytest.approx(right, abs=0.01)
