"""Every promised container is opened, and nothing that would open other files."""

from __future__ import annotations

import ctypes
import os
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from multigen.errors import MediaError
from multigen.modalities import Modality
from multigen.modalities.audio import Audio
from multigen.modalities.video import Video

LISTS = {
    "ffconcat": "ffconcat version 1.0\nfile secret.wav\n",
    "ffconcat with an absolute path": "ffconcat version 1.0\nfile {folder}/secret.wav\n",
    "m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nsecret.wav\n#EXT-X-ENDLIST\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period>'
    '<AdaptationSet><Representation id="1" bandwidth="1"><BaseURL>secret.wav</BaseURL></Representation></AdaptationSet>'
    "</Period></MPD>",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
}


class Watch:
    """Tells whether anybody has opened a file (inotify, IN_OPEN)."""

    def __init__(self, path: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self.handle = libc.inotify_init1(os.O_NONBLOCK)
        assert libc.inotify_add_watch(self.handle, os.fsencode(path), 0x20) >= 0

    def opened(self) -> bool:
        try:
            return bool(os.read(self.handle, 4096))
        except BlockingIOError:
            return False


@pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")
@pytest.mark.parametrize("suffix", [".mp3", ".m4a", ".mp4"])
@pytest.mark.parametrize("kind", LISTS)
def test_a_list_of_other_files_is_refused_and_opens_none(tmp_path: Path, kind: str, suffix: str) -> None:
    secret = tmp_path / "secret.wav"
    Audio(rate=8000).write(torch.zeros(1, 8000), secret)
    path = tmp_path / f"a{suffix}"
    path.write_text(LISTS[kind].format(folder=tmp_path))
    modality: Modality = Video() if suffix == ".mp4" else Audio(rate=8000)
    watch = Watch(secret)
    for act in (modality.info, modality.read):
        with pytest.raises(MediaError, match=rf"a{suffix}: cannot be read"):
            act(path)
    assert not watch.opened()
    secret.read_bytes()
    assert watch.opened()  # the watch works


SOUNDS = {
    ".aac": "aac", ".aif": "pcm_s16be", ".aiff": "pcm_s16be", ".au": "pcm_s16be", ".caf": "pcm_s16be",
    ".wma": "wmav2", ".oga": "libopus", ".opus": "libopus", ".mkv": "pcm_s16le", ".webm": "libopus", ".mov": "aac",
    ".mp4": "aac", ".m4v": "aac", ".avi": "libmp3lame", ".mpg": "mp2", ".mpeg": "mp2", ".w64": "pcm_s16le",
}  # fmt: skip


@pytest.mark.parametrize("suffix", SOUNDS)
def test_sound_of_every_container_is_read(tmp_path: Path, suffix: str) -> None:
    tone = (np.sin(np.arange(48000) / 20) * 8000).astype(np.int16)[None]
    with av.open(str(tmp_path / f"a{suffix}"), "w") as out:
        stream = out.add_stream(SOUNDS[suffix], rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(tone, format="s16", layout="mono")
        frame.sample_rate = 48000
        context = stream.codec_context
        context.bit_rate = 128_000
        context.open()
        pieces = av.AudioResampler(context.format, "mono", 48000, frame_size=context.frame_size or 1024)
        for piece in [*pieces.resample(frame), *pieces.resample(None), None]:
            out.mux(stream.encode(piece))
    sound = Audio(rate=48000).read(tmp_path / f"a{suffix}")
    assert sound.shape[1] == pytest.approx(48000, rel=0.08)  # some keep their encoder's delay
    assert sound.std() == pytest.approx(8000 / 32768 / 2**0.5, rel=0.1)


PICTURES = {
    ".m4v": "libx264", ".webm": "libvpx", ".ogv": "libvpx", ".wmv": "wmv2", ".flv": "flv1", ".mts": "libx264",
    ".3gp": "mpeg4", ".mpeg": "mpeg1video", ".mpg": "mpeg2video",
}  # fmt: skip


@pytest.mark.parametrize("suffix", PICTURES)
def test_pictures_of_every_container_are_read(tmp_path: Path, suffix: str) -> None:
    with av.open(str(tmp_path / f"a{suffix}"), "w") as out:
        stream = out.add_stream(PICTURES[suffix], rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for k in range(10):
            levels = np.full((48, 64, 3), 40 + 15 * k, np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(levels, "rgb24")))
        out.mux(stream.encode(None))
    media = Video(fps=25).read(tmp_path / f"a{suffix}")
    assert media.shape[1:] == (media.shape[1], 48, 64)
    assert media.shape[1] in (9, 10, 11)
    levels = (media.mean((0, 2, 3)) + 1) * 127.5
    np.testing.assert_allclose(levels[:9], [40 + 15 * k for k in range(9)], atol=6)
