"""Files of a video and a sound of which one was made for the other."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import av
import pytest
import torch

from multigen.errors import MediaError
from multigen.modalities.audio import Audio
from multigen.modalities.media import Media
from multigen.modalities.video import Video

RATE = 16000
SOUND, CLIP = Audio(rate=RATE, seconds=2.0), Video(size=32, frames=16, fps=8.0)


def tone(seconds: float = 2.0, channels: int = 1) -> torch.Tensor:
    t = torch.arange(round(seconds * RATE)) / RATE
    return (0.5 * torch.sin(2 * math.pi * 440 * t)).expand(channels, -1).contiguous()


def clip() -> torch.Tensor:
    return torch.linspace(-1, 1, 16)[None, :, None, None].expand(3, 16, 32, 32).contiguous()


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(p) for p in container.demux(video=0) if p.size]


def check_tone(path: Path, seconds: float = 2.0) -> None:
    heard = SOUND.read(path)
    assert abs(heard.shape[1] / RATE - seconds) < 0.1
    middle = heard[0, RATE // 2 : RATE // 2 + 8000]
    spectrum = torch.fft.rfft(middle * torch.hann_window(8000)).abs()
    assert abs(int(spectrum.argmax()) * 2 - 440) <= 2
    assert float(middle.abs().max()) == pytest.approx(0.5, abs=0.08)


def test_a_sound_goes_into_the_file_of_its_clip_whose_pictures_are_copied(tmp_path: Path) -> None:
    CLIP.write(clip(), tmp_path / "clip.mp4")
    SOUND.together(tmp_path / "clip.mp4").write(tone(), tmp_path / "both.mp4")
    assert packets(tmp_path / "both.mp4") == packets(tmp_path / "clip.mp4")
    check_tone(tmp_path / "both.mp4")
    torch.testing.assert_close(CLIP.read(tmp_path / "both.mp4"), CLIP.read(tmp_path / "clip.mp4"))
    # Elsewhere the sound is alone.
    SOUND.together(tmp_path / "clip.mp4").write(tone(), tmp_path / "alone.wav")
    SOUND.write(tone(), tmp_path / "alone.mp4")
    for name in ("alone.wav", "alone.mp4"):
        check_tone(tmp_path / name)
        with av.open(str(tmp_path / name)) as container:
            assert not container.streams.video


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".mkv", ".mov"])
def test_a_clip_holds_the_sound_that_it_was_made_for(suffix: str, tmp_path: Path) -> None:
    made = CLIP.together(Media(tone(channels=2), SOUND))
    made.write(clip(), tmp_path / f"a{suffix}")
    check_tone(tmp_path / f"a{suffix}")
    assert CLIP.read(tmp_path / f"a{suffix}").shape == (3, 16, 32, 32)
    SOUND.write(tone(), tmp_path / "sound.wav")
    CLIP.together(tmp_path / "sound.wav").write(clip(), tmp_path / f"b{suffix}")
    check_tone(tmp_path / f"b{suffix}")


def test_both_in_memory_become_one_file(tmp_path: Path) -> None:
    SOUND.together(Media(clip(), CLIP)).write(tone(), tmp_path / "both.mp4")
    check_tone(tmp_path / "both.mp4")
    assert float((CLIP.read(tmp_path / "both.mp4") - clip()).abs().mean()) < 0.02
    assert SOUND.together(Media(tone(), SOUND)).html(tone())  # two sounds do not go together: it is left out


def test_pictures_that_an_mp4_does_not_take_are_named(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.webm"), "w", format="webm") as out:
        stream = out.add_stream("libvpx-vp9", rate=Fraction(8))
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for k in range(4):
            frame = av.VideoFrame(32, 32, "yuv420p")
            frame.pts = k
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    with pytest.raises(MediaError, match=r"a\.webm: its pictures \(vp9\) cannot be copied .*--format wav"):
        SOUND.together(tmp_path / "a.webm").write(tone(), tmp_path / "both.mp4")
    assert not (tmp_path / "both.mp4").exists()
    SOUND.write(tone(), tmp_path / "a.wav")
    with pytest.raises(MediaError, match=r"a\.wav: there is no video in it"):
        SOUND.together(tmp_path / "a.wav").write(tone(), tmp_path / "both.mp4")


def test_a_sound_that_no_video_holds_is_named_before_it_is_encoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AAC takes no 300 kHz, and no file nine channels: the check says so, and `save` begins nothing."""
    ways = ((torch.zeros(9, 800), 16000, "9 channels"), (torch.zeros(1, 800), 300_000, "300000 Hz"))
    for samples, rate, said in ways:
        made = CLIP.together(Media(samples, Audio(rate=rate)))
        with pytest.raises(MediaError, match=said):
            made.check_writes(".mp4")
        made.check_writes(".gif")  # which has no sound
        monkeypatch.setattr(type(made), "write", lambda *_: pytest.fail("it was encoded"))
        with pytest.raises(MediaError, match=said):
            Media(clip(), made).save(tmp_path / "a.mp4")
        assert not list(tmp_path.iterdir())
    for suffix in (".mp4", ".webm", ".mkv", ".mov"):
        CLIP.together(Media(tone(channels=2), SOUND)).check_writes(suffix)
