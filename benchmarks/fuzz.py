"""Mutated media files through the readers: does a damaged file end, hang or swell the process that reads it?

Small files of every container and picture format that multigen reads are mutated (bits flipped, cut, spliced with each
other, stretches zeroed, doubled or overwritten with extreme numbers), and read as training does: the header, the whole,
a span. `unnamed`: errors that do not say what is wrong with which file. `died`: files on which the decoding process
ended; the process that asked must survive, and name the file. `slow`: files that took over 10 s. `growth_mb`: resident
memory of the decoding process at the end over that after the first 500 files. The bars are 0, 0, 0 and 200; `ended`,
the exit code of the process that asked, must be 0.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile
import torch
from PIL import Image as PillowImage

from benchmarks.__main__ import table
from multigen.errors import MediaError
from multigen.modalities import Modality
from multigen.modalities.audio import Audio
from multigen.modalities.guard import Guard
from multigen.modalities.image import Image
from multigen.modalities.video import Video

COUNT = 20_000
SLOW = 10.0  # s
WARM = 500  # files after which memory is looked at first

# suffix -> codec
SOUNDS = {
    ".wav": "pcm_s16le", ".float.wav": "pcm_f32le", ".adpcm.wav": "adpcm_ima_wav", ".w64": "pcm_s24le",
    ".flac": "flac", ".mp3": "libmp3lame", ".oga": "flac", ".opus": "libopus", ".m4a": "aac",
    ".alac.m4a": "alac", ".aac": "aac", ".aif": "pcm_s16be", ".au": "pcm_s16be", ".caf": "pcm_s16be",
    ".wma": "wmav2", ".mka": "libopus", ".sound.webm": "libopus", ".sound.mpg": "mp2",
}  # fmt: skip
MOVING = {
    ".mp4": "libx264", ".mov": "mjpeg", ".mkv": "libx264", ".ffv1.mkv": "ffv1", ".webm": "libvpx",
    ".vp9.webm": "libvpx-vp9", ".avi": "mpeg4", ".mpg": "mpeg2video", ".ts": "libx264", ".flv": "flv1",
    ".wmv": "wmv2", ".3gp": "mpeg4", ".m4v": "mpeg4", ".ogv": "libvpx",
}  # fmt: skip
ANIMATED = {".gif": {}, ".webp": {"lossless": True}, ".png": {}}
STILL = {
    ".png": "PNG", ".jpg": "JPEG", ".webp": "WEBP", ".gif": "GIF", ".bmp": "BMP", ".tif": "TIFF", ".avif": "AVIF",
    ".jp2": "JPEG2000", ".pcx": "PCX", ".ppm": "PPM", ".tga": "TGA", ".qoi": "QOI",
}  # fmt: skip


# --- files ----------------------------------------------------------------------------------------------------


MANY = {".7.1.flac": "flac", ".7.1.caf": "pcm_s16be", ".7.1.m4a": "aac", ".12.wav": "pcm_s16le"}  # channels


def sound(path: Path, codec: str, channels: int = 2, rate: int = 16000) -> None:
    """Half a second of a chord."""
    rate = 48000 if codec == "libopus" else 44100 if codec in ("wmav2", "mp2") else rate
    t = np.arange(rate // 2) / rate
    wave = np.stack([0.3 * np.sin(2 * np.pi * (220 + 110 * c) * t) for c in range(channels)]).astype(
        np.float32
    )
    layout = {1: "mono", 2: "stereo", 8: "7.1"}.get(channels, f"{channels} channels")
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=rate, layout=layout)
        context = stream.codec_context
        context.bit_rate = 128_000
        context.open()
        packed = np.ascontiguousarray(wave.T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
        frame.sample_rate, frame.pts = rate, 0
        pieces = av.AudioResampler(context.format, layout, rate, frame_size=context.frame_size or 1024)
        for piece in [*pieces.resample(frame), *pieces.resample(None), None]:
            out.mux(stream.encode(piece))


def film(path: Path, codec: str, frames: int = 10) -> None:
    """Moving bars."""
    size = (176, 144) if path.suffix == ".3gp" else (64, 48)
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=Fraction(25))
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for frame in _bars(frames, *size):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        out.mux(stream.encode(None))


def _bars(frames: int, width: int, height: int) -> np.ndarray:
    x, k = np.arange(width)[None, None, :, None], np.arange(frames)[:, None, None, None]
    wave = 127 + 100 * np.sin((x + 4 * k) / 5 + np.arange(3))
    return np.broadcast_to(wave, (frames, height, width, 3)).astype(np.uint8).copy()


def originals(folder: Path) -> list[tuple[str, Path]]:
    """A small file of every kind, each with its modality's name. Kinds that cannot be written here are left out."""
    made: list[tuple[str, Path]] = []

    def add(kind: str, path: Path, write: Callable[[], object]) -> None:
        try:
            write()
        except (OSError, ValueError, KeyError) as error:
            print(f"left out: {path.name} ({error})", file=sys.stderr)
            return
        made.append((kind, path))

    for suffix, codec in SOUNDS.items():
        path = folder / f"sound{suffix}"
        add("audio", path, lambda path=path, codec=codec: sound(path, codec, 1 + len(made) % 2))
    for suffix, codec in MANY.items():
        path, channels = folder / f"many{suffix}", 12 if "12" in suffix else 8
        add("audio", path, lambda path=path, codec=codec, n=channels: sound(path, codec, n))
    vorbis, wave = folder / "sound.ogg", 0.3 * np.sin(np.arange(8000)[:, None] / np.array([6.0, 9.0]))
    add("audio", vorbis, lambda: soundfile.write(vorbis, wave, 16000, format="OGG", subtype="VORBIS"))
    for suffix, codec in MOVING.items():
        path = folder / f"film{suffix}"
        add("video", path, lambda path=path, codec=codec: film(path, codec))
    pictures = [PillowImage.fromarray(one) for one in _bars(6, 24, 16)]
    for suffix, options in ANIMATED.items():
        path = folder / f"moving{suffix}"
        how = {"save_all": True, "append_images": pictures[1:], "duration": 80, "loop": 0, **options}
        add("video", path, lambda path=path, how=how: pictures[0].save(path, **how))
    for suffix, name in STILL.items():
        path = folder / f"still{suffix}"
        add("image", path, lambda path=path, name=name: pictures[0].save(path, name))
    deep = PillowImage.fromarray(np.linspace(0, 1, 384, dtype=np.float32).reshape(16, 24))
    add("image", folder / "float.tif", lambda: deep.save(folder / "float.tif"))
    return made


# --- mutations ------------------------------------------------------------------------------------------------

EXTREME = (
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\x80\0\0\0",
    b"\0\0\0\x80",
    b"\xff\xff\xff\x7f",
)


def mutated(content: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """One to four mutations of a file; `other` is a file to splice it with."""
    data = bytearray(content)
    for _ in range(int(rng.choice([1, 1, 1, 2, 4]))):
        if not data:
            break
        # Half of the damage falls on the first bytes, where headers are.
        size = len(data) if rng.random() < 0.5 else min(len(data), 256)
        at = int(rng.integers(size))
        length = int(rng.integers(1, max(2, min(len(data) - at, 4096))))
        match int(rng.integers(6)):
            case 0:
                for place in rng.integers(size, size=int(rng.integers(1, 9))):
                    data[place] ^= 1 << int(rng.integers(8))
            case 1:
                data[at:] = b"" if rng.random() < 0.5 else data[at + length :]
            case 2:
                begin = int(rng.integers(len(other)))
                data[at:] = other[begin:] if rng.random() < 0.5 else other[begin : begin + length] + data[at:]
            case 3:
                data[at : at + length] = bytes(length)
            case 4:
                data[at:at] = data[at : at + length] * int(rng.integers(1, 4))
            case _:
                data[at : at + 4] = EXTREME[int(rng.integers(len(EXTREME)))]
    return bytes(data)


def read(modality: Modality, path: Path) -> str:
    """As training reads it: the header, the whole, a span. What came of it."""
    try:
        modality.info(path)
        modality.read(path)
        if modality.name != "image":
            modality.read(path, start=0.2, duration=0.1)
    except MediaError:
        return "refused"
    return "read"


MODALITIES: dict[str, Modality] = {
    "audio": Audio(rate=16000),
    "video": Video(size=16),
    "image": Image(size=16),
}


# --- the run --------------------------------------------------------------------------------------------------


def fuzz(count: int, seed: int, folder: Path, *, warm: int = WARM, say: bool = False) -> dict[str, Any]:
    """Read `count` mutated files; counts of what came of them, and the memory that they took."""
    (folder / "whole").mkdir(parents=True)
    files = [(kind, path, path.read_bytes()) for kind, path in originals(folder / "whole")]
    guard, outcomes, worst, slow = Guard(most=6 * SLOW), Counter[str](), 0.0, 0
    kinds: dict[str, Counter[str]] = {}
    memory: list[float] = []
    for k in range(count):
        rng = np.random.default_rng([seed, k])
        kind, origin, content = files[k % len(files)]
        path = folder / f"{k:06d}-{origin.name}"
        path.write_bytes(mutated(content, files[int(rng.integers(len(files)))][2], rng))
        begun = time.perf_counter()
        try:
            outcome = guard(path, read, MODALITIES[kind], path)
        except MediaError as error:
            outcome = "died"
            print(error, file=sys.stderr, flush=True)
        except Exception as error:  # a fault that the reader does not name
            outcome = "unnamed"
            print(f"{path}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        seconds = time.perf_counter() - begun
        worst, slow = max(worst, seconds), slow + (seconds > SLOW)
        outcomes[outcome] += 1
        kinds.setdefault(origin.suffix, Counter())[outcome] += 1
        if outcome in ("read", "refused") and seconds <= SLOW:
            path.unlink()
        if k + 1 in (warm, count) or (k + 1) % 1000 == 0:
            memory.append(guard(path, resident))
            if say:
                print(
                    f"{k + 1}: {dict(outcomes)}, {memory[-1]:.0f} MB, worst {worst:.1f} s",
                    file=sys.stderr,
                    flush=True,
                )
    return {
        "files": count, "kinds": len(files), "read": outcomes["read"], "refused": outcomes["refused"],
        "unnamed": outcomes["unnamed"], "died": outcomes["died"], "slow": slow, "worst_s": round(worst, 2),
        "growth_mb": round(memory[-1] - memory[0], 1), "highest_mb": round(max(memory) - memory[0], 1),
        "by_suffix": {s: dict(c) for s, c in sorted(kinds.items())},
    }  # fmt: skip


def resident() -> float:
    """Resident MB of the process that is asked."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def measure(count: int = COUNT, seed: int = 0) -> list[dict[str, Any]]:
    """One row. The files are read by a process of its own, whose end would show."""
    with tempfile.TemporaryDirectory(prefix="multigen-fuzz-") as work:
        command = [
            sys.executable,
            "-m",
            "benchmarks.fuzz",
            "--here",
            work,
            "--count",
            str(count),
            "--seed",
            str(seed),
        ]
        begun = time.perf_counter()
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            return [{"files": count, "ended": done.returncode}]
        row = json.loads(done.stdout.splitlines()[-1])
        row.pop("by_suffix")
        return [{**row, "ended": 0, "seconds": round(time.perf_counter() - begun)}]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--here", type=Path, metavar="DIR", help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # Pillow's, of each damaged tag
    if given.here is None:
        print(table(measure(given.count, given.seed)))
    else:
        print(json.dumps(fuzz(given.count, given.seed, given.here / "files", say=True)))
