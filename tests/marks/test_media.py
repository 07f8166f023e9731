from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from multigen import marks
from multigen.marks.media import marked
from multigen.marks.report import report
from multigen.modalities.audio import Audio
from multigen.modalities.embedding import Embedding
from multigen.modalities.image import Image
from multigen.modalities.media import Media
from multigen.modalities.video import Video
from tests.marks.drawn import KEY, RATE, clip, picture, tune

MADE = [
    (Media(picture(), Image()), ".png"),
    (Media(picture(), Image()), ".jpg"),
    (Media(picture(), Image()), ".webp"),
    (Media(tune(), Audio(rate=RATE)), ".flac"),
    (Media(tune(), Audio(rate=RATE)), ".mp3"),
    (Media(clip(64), Video()), ".mp4"),
    (Media(clip(64), Video()), ".gif"),
]


@pytest.mark.parametrize(("medium", "suffix"), MADE, ids=[suffix for _, suffix in MADE])
def test_files_are_found_again(medium: Media, suffix: str, tmp_path: Path) -> None:
    found = report(marked(medium, KEY).save(tmp_path / f"a{suffix}"), KEY)
    assert found.state == "found"
    assert found.payload == 0
    assert found.p_value is not None
    assert found.p_value < 1e-6


def test_files_without_a_mark_are_not(tmp_path: Path) -> None:
    found = report(MADE[0][0].save(tmp_path / "a.png"), KEY)
    assert found.state == "absent"
    assert found.p_value is not None
    assert found.p_value > 1e-3
    assert "no watermark of this key" in found.text
    assert report(Media(torch.zeros(3, 20, 20), Image()).save(tmp_path / "b.png"), KEY).state == "small"


def test_a_frame_of_a_video_is_found_as_a_picture(tmp_path: Path) -> None:
    frame = marked(Media(clip(64), Video()), KEY).tensor[:, 2]
    assert report(Media(frame, Image()).save(tmp_path / "frame.png"), KEY).state == "found"


def test_nobody_looks_without_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MULTIGEN_WATERMARK_KEY", raising=False)
    monkeypatch.setenv("MULTIGEN_CONFIG", str(tmp_path))
    assert report(tmp_path / "a.png").state == "no_key"
    assert list(tmp_path.iterdir()) == []


def test_what_an_edit_kept_has_no_mark() -> None:
    kept = torch.zeros(64, 64, dtype=torch.bool)
    kept[:32] = True
    medium = marked(Media(picture(), Image(), kept=kept), KEY)
    assert torch.equal(medium.tensor[:, kept], picture()[:, kept])
    assert marks.detect(medium.tensor, key=KEY).found


def test_pictures_of_16_bits_stay(tmp_path: Path) -> None:
    PillowImage.fromarray((np.arange(64 * 64).reshape(64, 64) * 16).astype(np.uint16)).save(
        tmp_path / "deep.png"
    )
    own = Image().native(tmp_path / "deep.png")
    assert own.deep
    medium = Media(own.read(tmp_path / "deep.png"), own)
    assert marked(medium, KEY) is medium


def test_without_a_key_too_small_or_of_another_kind_media_stay(caplog: pytest.LogCaptureFixture) -> None:
    small = Media(torch.zeros(3, 20, 20), Image())
    with caplog.at_level(logging.WARNING):
        assert marked(small, KEY) is small
    assert "too small for a watermark, so saved without: 20 x 20 pixels" in caplog.text
    for medium, key in ((MADE[0][0], None), (Media(torch.zeros(1, 768), Embedding()), KEY)):
        assert marked(medium, key) is medium
