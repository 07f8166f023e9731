"""What a modality says it writes, it writes; other suffixes are refused with those that are allowed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from multigen.errors import MediaError
from multigen.modalities import Modality
from multigen.modalities.audio import Audio
from multigen.modalities.image import Image
from multigen.modalities.video import Video

MODALITIES: tuple[Modality, ...] = (Image(size=16), Audio(rate=44100, seconds=2.0), Video(size=16, frames=3))


@pytest.mark.parametrize("modality", MODALITIES, ids=lambda m: m.name)
def test_writes(modality: Modality, tmp_path: Path) -> None:
    media = torch.rand(modality.shape(), generator=torch.Generator().manual_seed(0)) - 0.5
    assert modality.suffix in modality.writes
    assert modality.animation in ("", *modality.writes)
    for suffix in modality.writes:
        assert suffix == suffix.lower()
        for name in (f"a{suffix}", f"b{suffix.upper()}"):
            modality.write(media, tmp_path / name)
            assert modality.read(tmp_path / name).shape == media.shape


@pytest.mark.parametrize("modality", MODALITIES, ids=lambda m: m.name)
@pytest.mark.parametrize("name", ["a.xyz", "a", "a.png.txt"])
def test_others_are_refused(modality: Modality, name: str, tmp_path: Path) -> None:
    allowed = rf"a.*: the suffix: .* is not allowed\. Allowed: {', '.join(modality.writes)}\."
    with pytest.raises(MediaError, match=allowed):
        modality.write(torch.zeros(modality.shape()), tmp_path / name)
    assert not [*tmp_path.iterdir()]
