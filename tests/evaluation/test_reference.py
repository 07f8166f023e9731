"""References: computed once, told apart, verified. Folders as sets."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import pytest
import torch

from multigen.datasets import Item
from multigen.errors import MediaError, MultigenError
from multigen.evaluation.media_folder import MediaFolder
from multigen.evaluation.reference import (
    check_same,
    content_hash,
    load,
    media_kind,
    reference,
    save,
)
from multigen.modalities.audio import Audio
from multigen.modalities.image import Image
from multigen.modalities.video import Video
from tests.evaluation.test_features import FACTS, Mean

MODALITY = Image(size=8)


class Pictures:
    """n pictures of noise."""

    def __init__(self, n: int = 10, seed: int = 0) -> None:
        self.media = torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) * 2 - 1

    def __len__(self) -> int:
        return len(self.media)

    def __getitem__(self, index: int) -> Item:
        return {"media": self.media[index], "id": str(index)}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MULTIGEN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "references"


def test_a_reference_is_computed_once(cache: Path) -> None:
    data, feature = Pictures(), Mean()
    first = reference(feature, data, range(10), modality=MODALITY, name="noise", batch=4)
    calls = feature.calls
    assert calls == 3 and first.count == 10 and first.media == "image 3x8x8"
    again = reference(feature, Pictures(), range(10), modality=MODALITY, name="noise")
    assert feature.calls == calls
    assert torch.equal(again.features, first.features)
    assert (again.facts, again.content, again.dataset) == (first.facts, first.content, "noise")
    assert first.moments().count == 10
    assert first.rows.shape == (10, 3)
    assert len(list(cache.iterdir())) == 1
    reference(feature, data, range(10), modality=MODALITY, name="noise", cache=False)
    assert feature.calls > calls


def test_whatever_changes_a_reference_makes_another(cache: Path) -> None:
    data = Pictures()
    reference(Mean(), data, range(10), modality=MODALITY, name="noise")
    reference(Mean(), data, range(9), modality=MODALITY, name="noise")
    reference(Mean(), Pictures(seed=1), range(10), modality=MODALITY, name="noise")
    reference(
        Mean(dataclasses.replace(FACTS, weights="ab")), data, range(10), modality=MODALITY, name="noise"
    )
    assert len(list(cache.iterdir())) == 4


def test_content_hash() -> None:
    data = Pictures()
    whole = content_hash(data, range(10))
    assert whole == content_hash(Pictures(), range(10)) != content_hash(data, [*range(1, 10), 0])
    data.media[3, 0, 0, 0] += 1e-6
    assert content_hash(data, range(10)) != whole


@pytest.mark.parametrize("fault", ["cut", "flipped", "other"])
def test_a_damaged_reference_is_made_again(fault: str, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    data, feature = Pictures(), Mean()
    good = reference(feature, data, range(10), modality=MODALITY, name="noise")
    path = next(cache.iterdir())
    content = path.read_bytes()
    if fault == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif fault == "flipped":
        path.write_bytes(content[:-2] + bytes([content[-2] ^ 1]) + content[-1:])
    else:
        save(dataclasses.replace(good, content="0" * 64), path)
    if fault != "other":
        with pytest.raises(MultigenError, match="cannot be read|is damaged"):
            load(path)
    with caplog.at_level(logging.WARNING):
        again = reference(feature, data, range(10), modality=MODALITY, name="noise")
    assert "made again" in caplog.text and torch.equal(again.features, good.features)
    mended = load(path)
    assert mended.content == good.content and torch.equal(mended.features, good.features)


def test_files_that_are_no_reference(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    with pytest.raises(MultigenError, match="no such reference"):
        load(tmp_path / "none.safetensors")
    save_file({"features": torch.zeros(1, 1, 3)}, tmp_path / "plain.safetensors")
    with pytest.raises(MultigenError, match="not a reference of the format"):
        load(tmp_path / "plain.safetensors")


def test_nothing_is_compared_silently() -> None:
    made = reference(Mean(), Pictures(), range(10), modality=MODALITY, name="noise")
    made.check(FACTS, "image 3x8x8")
    other = dataclasses.replace(FACTS, name="other", width=4)
    with pytest.raises(
        MultigenError, match=rf"mean \({FACTS.id}\) and of other .*'mean' and 'other', width 3 and 4"
    ):
        made.check(other, "image 3x8x8")
    with pytest.raises(MultigenError, match=r"\(noise\) was made of image 3x8x8, not of image 3x16x16"):
        made.check(FACTS, "image 3x16x16")
    check_same(FACTS, dataclasses.replace(FACTS))
    with pytest.raises(MultigenError, match="there are no media"):
        reference(Mean(), Pictures(), [], modality=MODALITY, name="noise")


def test_media_kind_tells_rates_apart() -> None:
    assert media_kind(Audio(rate=22050), (1, 1000)) == "audio 1x1000 at 22050 a second"
    assert media_kind(Audio(rate=44100), (1, 1000)) == "audio 1x1000 at 44100 a second"
    assert media_kind(Video(fps=7.5), (3, 16, 8, 8)) == "video 3x16x8x8 at 7.5 a second"


# --- folders ------------------------------------------------------------------------------------------------------


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    for k in range(3):
        MODALITY.write(torch.full((3, 8, 8), k / 2), tmp_path / f"{k}.png")
    found = MediaFolder(tmp_path, MODALITY)
    assert len(found) == 3 and found[2]["id"] == "2.png"
    assert [float(found[k]["media"].mean()) for k in range(3)] == pytest.approx([0, 0.5, 1], abs=0.01)
    made = reference(Mean(), found, range(3), modality=MODALITY, name="mine")
    assert made.count == 3 and found.conversions == ()


def test_folders_that_hold_nothing(tmp_path: Path) -> None:
    (tmp_path / "notes.md").touch()
    with pytest.raises(MultigenError, match=r"holds no image to measure. Looked for: .*\.png"):
        MediaFolder(tmp_path, MODALITY)
    with pytest.raises(MultigenError, match="is not there"):
        MediaFolder(tmp_path / "none", MODALITY)
    with pytest.raises(MultigenError, match="is a file"):
        MediaFolder(tmp_path / "notes.md", MODALITY)
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(MediaError, match=r"bad.png"):
        MediaFolder(tmp_path, MODALITY)[0]


def test_pictures_of_another_size(tmp_path: Path) -> None:
    MODALITY.write(torch.zeros(3, 8, 8), tmp_path / "a.png")
    MODALITY.write(torch.zeros(3, 10, 20), tmp_path / "b.png")
    strict = MediaFolder(tmp_path, MODALITY)
    strict[0]
    with pytest.raises(MediaError, match=r"b.png: 20x10 pixels, not 8x8"):
        strict[1]
    lenient = MediaFolder(tmp_path, MODALITY, convert=True)
    assert [lenient[k]["media"].shape for k in (0, 1, 1)] == [(3, 8, 8)] * 3
    assert lenient.conversions == ("20x10 pixels, not 8x8: 1 of 2 files",)


def test_sounds_of_another_rate_or_length(tmp_path: Path) -> None:
    audio = Audio(rate=8000, seconds=1.0)
    audio.write(torch.zeros(1, 8000), tmp_path / "a.wav")
    audio.write(torch.zeros(1, 20000), tmp_path / "b_long.wav")
    audio.write(torch.zeros(1, 4000), tmp_path / "c_short.wav")
    Audio(rate=16000).write(torch.zeros(1, 16000), tmp_path / "d.wav")
    strict = MediaFolder(tmp_path, audio)
    assert strict[0]["media"].shape == strict[1]["media"].shape == (1, 8000)
    with pytest.raises(MediaError, match="c_short.wav: shorter than 1 s"):
        strict[2]
    with pytest.raises(MediaError, match="d.wav: 16000 Hz, not 8000 Hz"):
        strict[3]
    lenient = MediaFolder(tmp_path, audio, convert=True)
    assert {tuple(lenient[k]["media"].shape) for k in range(4)} == {(1, 8000)}
    assert lenient.conversions == ("16000 Hz, not 8000 Hz: 1 of 4 files", "shorter than 1 s: 1 of 4 files")


def test_videos_of_another_frame_rate(tmp_path: Path) -> None:
    video = Video(size=16, frames=8, fps=8.0)
    video.write(torch.zeros(3, 8, 16, 16), tmp_path / "a.mp4")
    Video(size=16, frames=12, fps=12.0).write(torch.zeros(3, 12, 16, 16), tmp_path / "b.mp4")
    found = MediaFolder(tmp_path, video)
    assert found[0]["media"].shape == (3, 8, 16, 16)
    with pytest.raises(MediaError, match="b.mp4: 12 frames/s, not 8 frames/s"):
        found[1]
