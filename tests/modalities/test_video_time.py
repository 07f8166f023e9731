"""Variable frame rates, no duration, odd starts: the frame at each time is the one that a player shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from multigen.datasets.folder import Folder
from multigen.modalities.video import Video
from tests.modalities.files import film

STEADY = np.arange(60) / 30
UNEVEN = np.cumsum(np.r_[0, np.random.default_rng(0).choice([0.016, 0.033, 0.1, 0.4], 59)])
FRAGMENTS = {"movflags": "frag_keyframe+empty_moov"}

# name -> (times, codec, container, options, B-frames, as a recorder writes it)
FILMS = {
    "vfr.mp4": (UNEVEN, "libx264", "mp4", {}, 0, False), "vfr_b.mp4": (UNEVEN, "libx264", "mp4", {}, 3, False),
    "vfr.mkv": (UNEVEN, "libx264", "matroska", {}, 0, False), "late.mp4": (STEADY + 5, "libx264", "mp4", {}, 0, False),
    "steady.mp4": (STEADY, "libx264", "mp4", {}, 2, False), "raw.ts": (STEADY, "libx264", "mpegts", {}, 2, False),
    "old.avi": (STEADY, "mpeg4", "avi", {}, 0, False), "odd.flv": (STEADY, "libx264", "flv", {}, 0, False),
    "fragmented.mp4": (STEADY, "libx264", "mp4", FRAGMENTS, 0, True),
    "live.webm": (STEADY, "libvpx", "webm", {"live": "1"}, 0, True),
    "live.mkv": (STEADY, "libx264", "matroska", {"live": "1"}, 0, True),
}  # fmt: skip


@pytest.mark.parametrize("name", FILMS)
def test_every_moment_shows_its_frame(tmp_path: Path, name: str) -> None:
    times, codec, kind, options, b_frames, live = FILMS[name]
    film(tmp_path / name, times, codec, kind, options=options, b_frames=b_frames, live=live)
    video = Video(size=32, frames=16, fps=10)
    shown, n = times - times[0], len(times)
    end = shown[-1] + 1 / 30
    info = video.info(tmp_path / name)
    assert info.duration == pytest.approx(end, abs=0.02)
    assert info.fps <= 30.1
    for start in (0.0, 0.75, 1.4):
        media = video.read(tmp_path / name, start=start, duration=0.5)
        assert media.shape[1] == 5
        got = ((media[0, :, 16, 32] + 1) / 2 * (n - 1)).numpy()
        want = [np.searchsorted(shown, start + k / 10 + 1e-3, side="right") - 1 for k in range(5)]
        assert np.abs(got - want).max() < 1.0  # MPEG-4 keeps a level to within half a frame's step
    assert video.read(tmp_path / name).shape[1] == round(end * 10)


def test_live_recordings_give_all_their_clips(tmp_path: Path) -> None:
    film(tmp_path / "a.webm", np.arange(900) / 30, "libvpx", "webm", options={"live": "1"}, live=True)
    film(tmp_path / "b.mp4", STEADY, "libx264", "mp4")
    data = Folder(modality=Video(size=16, frames=16, fps=8), path=str(tmp_path))
    assert data.durations() == pytest.approx([30.0, 2.0], abs=0.04)
    assert len(data) == 15 + 1
    # The last clip of the recording is its end: grey levels rise over the whole.
    assert float(data[14]["media"].mean()) == pytest.approx(2 * 29 / 30 - 1, abs=0.03)


def test_ticks_are_no_frame_rate(tmp_path: Path) -> None:
    """An AVI that gives 1000 ticks a second as its rate is not 200,000 frames long after 200 s."""
    film(tmp_path / "a.avi", STEADY, "mpeg4", "avi")
    info = Video(max_frames=100).info(tmp_path / "a.avi")
    assert info.fps == pytest.approx(30, abs=0.1)
    assert info.frames == pytest.approx(60, abs=1)
