"""The cache of encoded media: the same numbers with and without it, and every damage made good."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from multigen.codecs.mel import Mel
from multigen.core.noise import normal
from multigen.datasets import Item
from multigen.modalities.audio import Audio
from multigen.storage.disk_cache import DiskCache
from multigen.training.encoded import Encoded
from tests.training.toys import Points, diffusion, trainer

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTIGEN_CACHE", str(tmp_path / "cache"))


def sounds(n: int = 4) -> torch.Tensor:
    return (0.2 * normal((n, 1, 4000), 7, "sounds")).clamp(-1, 1)


def mel(**settings: Any) -> Mel:
    codec = Mel(modality=Audio(rate=8000, seconds=0.5), fft=512, hop=128, bins=40, **settings)
    codec.fit(list(sounds()))
    return codec


def entries(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "cache" / "encoded").glob("*/*.f32"))


def test_what_is_found_is_what_was_made(tmp_path: Path) -> None:
    codec, media = mel(components=8), sounds()
    first = Encoded(codec, DiskCache(1.0), CPU)
    made = first(media)
    assert (first.hits, first.misses) == (0, 4)
    torch.testing.assert_close(made, codec.encode(media), rtol=1e-4, atol=1e-4)
    codec.encode = None  # type: ignore[assignment]  # only the cache can answer now
    second = Encoded(mel(components=8), DiskCache(1.0), CPU)
    assert torch.equal(second(media[[2, 0]]), made[[2, 0]])
    assert (second.hits, second.misses) == (2, 0)
    assert len(entries(tmp_path)) == 4


OTHERS: dict[str, Callable[[], Mel]] = {
    "components": lambda: mel(components=9),
    "floor": lambda: mel(components=8, floor=3.1e-5),
    "high": lambda: mel(components=8, high=3900.0),
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_setting_finds_nothing(name: str) -> None:
    Encoded(mel(components=8), DiskCache(1.0), CPU)(sounds())
    other = Encoded(OTHERS[name](), DiskCache(1.0), CPU)
    other(sounds())
    assert (other.hits, other.misses) == (0, 4)


def test_other_statistics_find_nothing() -> None:
    codec = mel(components=8)
    Encoded(codec, DiskCache(1.0), CPU)(sounds())
    codec.mean[3] += 1e-3
    other = Encoded(codec, DiskCache(1.0), CPU)
    assert torch.equal(other(sounds()[:1])[0], codec.encode(sounds()[:1])[0])
    assert other.hits == 0


@pytest.mark.parametrize("how", ["flip", "cut", "empty"])
def test_damaged_entries_are_made_again(tmp_path: Path, how: str) -> None:
    codec, media = mel(components=8), sounds(1)
    made = Encoded(codec, DiskCache(1.0), CPU)(media)
    (path,) = entries(tmp_path)
    content = bytearray(path.read_bytes())
    whole = bytes(content)
    content[40] ^= 1
    path.write_bytes({"flip": bytes(content), "cut": whole[:-4], "empty": b""}[how])
    again = Encoded(codec, DiskCache(1.0), CPU)
    assert torch.equal(again(media), made)
    assert again.misses == 1
    assert path.read_bytes() == whole


def test_the_cache_stays_within_its_size(tmp_path: Path) -> None:
    codec, media = mel(components=8), sounds(10)
    size = 4 + 4 * 8 * 31  # checksum, components, frames
    Encoded(codec, DiskCache(4.5 * size / 2**30), CPU)(media)
    assert sum(p.stat().st_size for p in entries(tmp_path)) == 4 * size
    oldest = entries(tmp_path)[2]
    os.utime(oldest, (1, 1))
    smaller = Encoded(codec, DiskCache(3.2 * size / 2**30), CPU)
    assert len(entries(tmp_path)) == 3 and oldest not in entries(tmp_path)
    assert torch.equal(smaller(media), Encoded(codec, DiskCache(1.0), CPU)(media))
    assert not list((tmp_path / "cache").rglob(".*"))


class Still(Points):
    """The toys' points without noise: an item is the same each time."""

    def draw(self, index: int, rng: torch.Generator) -> Item:
        return super().draw(index, torch.Generator().manual_seed(index))


def test_a_training_is_the_same_with_and_without(tmp_path: Path) -> None:
    states = []
    for folder, cache in (("a", 0.0), ("b", 0.001), ("c", 0.001)):  # none, filling, filled
        t = trainer(tmp_path / folder, dataset=Still(), cache=cache)
        t.run()
        states.append({n: p.detach().clone() for n, p in t.parameters.items()})
    assert len(entries(tmp_path)) == 56
    for other in states[1:]:
        assert all(torch.equal(states[0][n], other[n]) for n in other)


def test_media_that_vary_are_not_cached(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    t = trainer(tmp_path, dataset=Points(), cache=1.0, steps=3)
    with caplog.at_level(logging.WARNING):
        t.run()
    assert "cropped or augmented anew each time, so they are not cached" in caplog.text
    assert entries(tmp_path) == []
    assert diffusion(t).encode(torch.zeros(1, 1, 8)).shape == (1, 1, 8)
