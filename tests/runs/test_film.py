"""Films: windows of time and blocks of space against what they should add up to, and whole clips from file to file."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from multigen.cli.main import main
from multigen.errors import MultigenError
from multigen.generation.request import EditRequest, Request
from multigen.modalities.raster import from_levels
from multigen.modalities.video import Video
from multigen.model.model import Model
from multigen.provenance.reading import read_said
from multigen.recipe.load import load_recipe
from multigen.runs import film as films
from multigen.runs.film import Stopped, film
from multigen.runs.film.windows import blocks, joined, spans
from multigen.runs.film.work import Work
from multigen.training.signals import Caught

SMALL = ["weights=null", "backbone.widths=[8,16]", "backbone.attention=[false,false]"]
FRAMES = [*SMALL, "data.path=.", "modality.frames=8", "modality.size=16", "sample.duration=null"]
FILLING = [
    *SMALL,
    "data.path=.",
    "conditioner.name=none",
    "modality.size=16",
    "modality.frames=6",
    "guide.name=plain",
]


def counted(n: int) -> list[np.ndarray]:
    """Frames that say their number."""
    return [np.full((2, 2, 3), 4 * k, np.uint8) for k in range(n)]


def number(frame: np.ndarray) -> float:
    assert (frame == frame[0, 0, 0]).all()
    return float(frame[0, 0, 0])


@pytest.mark.parametrize(("size", "shared"), [(4, 2), (8, 2), (5, 1), (3, 2), (2, 1), (4, 3)])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 8, 9, 23, 24])
def test_windows_cover_a_clip_and_share_what_they_should(n: int, size: int, shared: int) -> None:
    found = list(spans(counted(n), size, shared))
    assert [one.last for one in found] == [False] * (len(found) - 1) + [True]
    assert found[0].start == 0 and found[-1].start + len(found[-1].frames) == n
    for one in found:
        assert [number(f) for f in one.frames] == [4.0 * (one.start + k) for k in range(len(one.frames))]
        assert len(one.frames) == min(size, n)
    for one, other in pairwise(found):
        assert one.start < other.start <= one.start + size - shared


@pytest.mark.parametrize(("size", "shared"), [(4, 2), (8, 3), (5, 1), (2, 1)])
@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("n", [1, 2, 4, 5, 9, 24])
def test_a_motion_goes_on_across_windows(n: int, size: int, shared: int, times: int) -> None:
    """What is linear in time stays so: no frame twice, none missing, and the last one held."""

    def between(window: list[np.ndarray]) -> list[np.ndarray]:
        values = np.arange((len(window) - 1) * times + 1) / times * 4 + number(window[0])
        return [np.full((2, 2, 3), round(v), np.uint8) for v in values]

    made = [number(f) for f in joined(counted(n), between, size=size, shared=shared, times=times)]
    assert made == [min(round(4 * k / times), 4 * (n - 1)) for k in range(n * times)]


def test_windows_that_disagree_fade_into_each_other() -> None:
    """Each window is brighter by 40; no step between frames is a jump of 40."""
    calls: list[int] = []

    def make(window: list[np.ndarray]) -> list[np.ndarray]:
        calls.append(len(window))
        return [np.full((2, 2, 3), 40 * (len(calls) % 2), np.uint8)] * len(window)

    made = [number(f) for f in joined(counted(20), make, size=8, shared=4, times=1)]
    assert len(calls) == 4
    steps = np.abs(np.diff(made))
    assert steps.max() == 8 and {0.0, 40.0} <= set(made)


@pytest.mark.parametrize(("side", "size"), [(64, 64), (65, 64), (100, 32), (144, 64), (1280, 256), (17, 16)])
def test_blocks_add_up_to_one_everywhere(side: int, size: int) -> None:
    total = torch.zeros(side)
    found = blocks(side, size)
    for start, weights in found:
        assert weights.shape == (size,) and weights.min() >= 0
        total[start : start + size] += weights
    torch.testing.assert_close(total, torch.ones(side))
    for one, other in pairwise(found):
        assert one.start + size - other.start >= size // 4


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Networks that were never trained: what starts at its condition gives linear and bicubic enlargement."""
    folder = tmp_path_factory.mktemp("models")
    frames = {"cascade": load_recipe("video_frames", FRAMES), "large": load_recipe("video_large", FRAMES)}
    frames["filling"] = load_recipe("video_folder", FILLING)
    for name, recipe in frames.items():
        Model(recipe, device="cpu").save(folder / f"{name}.safetensors")
    return folder


def clip(path: Path, n: int, height: int, width: int, fps: float, *, sound: bool = False) -> np.ndarray:
    """A smooth pattern that moves, uint8 [T, H, W, 3], in a file that holds it exactly; with a tone."""
    t, y, x = np.mgrid[:n, :height, :width].astype(np.float32)
    waves = [127 + 90 * np.sin(x / 9 + t / 3 + k) * np.cos(y / 7 - t / 5) for k in range(3)]
    levels = np.stack(waves, -1).round().astype(np.uint8)
    video = Video(fps=fps)
    if sound:
        tone = path.with_name("tone.mkv")
        _tone(tone, n / fps)
        video = Video().native(tone).at(fps)
    video.write_each(levels, (height, width), path, lossless=True)
    return levels


def _tone(path: Path, seconds: float) -> None:
    rate = 8000
    with av.open(str(path), "w") as out:
        picture = out.add_stream("libx264", rate=5)
        picture.width = picture.height = 16
        picture.pix_fmt = "yuv420p"
        stream = out.add_stream("aac", rate=rate, layout="mono")
        out.mux(picture.encode(av.VideoFrame(16, 16, "yuv420p")))
        out.mux(picture.encode(None))
        samples = np.sin(np.arange(round(seconds * rate)) / rate * 2 * np.pi * 440).astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(samples, "fltp", "mono")
        frame.sample_rate, frame.pts = rate, 0
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def heard(path: Path) -> np.ndarray:
    with av.open(str(path)) as file:
        return np.concatenate([f.to_ndarray() for f in file.decode(audio=0)], 1)


def exact(path: Path) -> np.ndarray:
    return np.stack(list(Video().native(path).each(path)))


@pytest.mark.parametrize("name", ["cascade", "filling"])
def test_known_frames_come_back_bit_for_bit_with_their_sound(name: str, models: Path, tmp_path: Path) -> None:
    source = clip(tmp_path / "clip.mp4", 7, 15, 22, 30000 / 1001, sound=True)
    out = tmp_path / "out.mp4"
    line = [
        "film",
        str(models / f"{name}.safetensors"),
        "--input",
        str(tmp_path / "clip.mp4"),
        "--out",
        str(out),
    ]
    assert main([*line, "--lossless", "--device", "cpu", "--quiet"]) == 0
    made = exact(out)
    assert made.shape == (14, 15, 22, 3)
    assert (made[::2] == source).all()
    assert Video().info(out).fps == pytest.approx(2 * 30000 / 1001, rel=1e-6)
    assert np.array_equal(heard(out), heard(tmp_path / "clip.mp4"))
    said = read_said(out)
    assert said is not None and said["action"] == "c2pa.edited"


def test_a_clip_of_a_phone_held_upright_stays_upright(models: Path, tmp_path: Path) -> None:
    """Stored lying, with a note that it is to be turned: frames come back as they are shown."""
    shown = np.random.default_rng(0).integers(0, 256, (3, 32, 18, 3), np.uint8)
    with av.open(str(tmp_path / "phone.mp4"), "w") as out:
        stream = out.add_stream("libx264rgb", rate=8, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = 32, 18, "rgb24"
        stream.set_display_rotation(90)
        for frame in shown:
            lying = np.ascontiguousarray(np.rot90(frame, -1))
            out.mux(stream.encode(av.VideoFrame.from_ndarray(lying, format="rgb24")))
        out.mux(stream.encode(None))
    assert Video().native(tmp_path / "phone.mp4").size == (32, 18)
    film(models / "filling.safetensors", clip=tmp_path / "phone.mp4", out=tmp_path / "out.mp4", lossless=True,
         device="cpu", quiet=True)  # fmt: skip
    made = exact(tmp_path / "out.mp4")
    assert made.shape == (6, 32, 18, 3)
    assert (made[::2] == shown).all()


@pytest.mark.parametrize("side", [16, 256])
def test_a_network_that_starts_at_its_condition_shows_the_mean_of_two_frames(
    side: int, models: Path, tmp_path: Path
) -> None:
    """Across windows of time and blocks of space: no seam is left of them."""
    source = clip(tmp_path / "clip.mp4", 11, 40, 37, 12.5).astype(float)
    film(
        str(models / "cascade.safetensors"),
        tmp_path / "clip.mp4",
        tmp_path / "out.mp4",
        overrides=[f"sample.size={side}"],
        device="cpu",
        lossless=True,
    )
    made = exact(tmp_path / "out.mp4")
    wanted = (source[:-1] + source[1:]) / 2
    assert np.abs(made[1:-1:2] - wanted).max() <= 1
    assert (made[-1] == source[-1]).all()


def test_four_times_is_twice_twice(models: Path, tmp_path: Path) -> None:
    source = clip(tmp_path / "clip.mp4", 6, 16, 16, 10)
    out = tmp_path / "out.mov"
    film(
        str(models / "cascade.safetensors"), tmp_path / "clip.mp4", out, times=4, device="cpu", lossless=True
    )
    made = exact(out)
    assert len(made) == 24 and Video().info(out).fps == 40
    assert (made[::4] == source).all()
    mean = source[:-1] * 0.75 + source[1:] * 0.25
    assert np.abs(made[1:-4:4] - mean).max() <= 1.5


def test_larger_frames_have_no_seam(models: Path, tmp_path: Path) -> None:
    """Blocks and windows together give what bicubic enlargement gives of whole frames."""
    source = clip(tmp_path / "clip.mp4", 9, 30, 45, 25)
    out = tmp_path / "out.mp4"
    small = ["sample.size=32"]
    film(
        str(models / "large.safetensors"),
        tmp_path / "clip.mp4",
        out,
        overrides=small,
        device="cpu",
        lossless=True,
    )
    made = exact(out).astype(float)
    assert made.shape == (9, 60, 90, 3)
    whole = F.interpolate(from_levels(source).transpose(0, 1), scale_factor=2, mode="bicubic").clamp(-1, 1)
    wanted = (whole.permute(0, 2, 3, 1).numpy() + 1) * 127.5
    assert np.abs(made - wanted).max() <= 3


def test_an_operator_is_undone_in_windows(models: Path, tmp_path: Path) -> None:
    clip(tmp_path / "clip.mp4", 5, 8, 12, 10)
    line = [
        "film",
        str(models / "filling.safetensors"),
        "sample.steps=2",
        "--input",
        str(tmp_path / "clip.mp4"),
    ]
    assert main([*line, "--restore", "downsample", "--out", str(tmp_path / "out.mp4"), "--quiet"]) == 0
    assert exact(tmp_path / "out.mp4").shape == (5, 16, 24, 3)


def test_a_damaged_clip_keeps_what_comes_before(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip(tmp_path / "whole.mkv", 60, 48, 48, 10)
    content = (tmp_path / "whole.mkv").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(content[: len(content) // 2])
    out = tmp_path / "out.mp4"
    line = [
        "film",
        str(models / "large.safetensors"),
        "--input",
        str(tmp_path / "cut.mkv"),
        "--out",
        str(out),
    ]
    assert main([*line, "--quiet", "--device", "cpu"]) == 2
    assert "truncated" in (said := capsys.readouterr().err) and "holds what comes before" in said
    assert 5 < len(exact(out)) < 50


def test_a_film_that_is_stopped_before_its_first_frame_leaves_nothing(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip(tmp_path / "clip.mp4", 4, 16, 16, 10)

    @contextmanager
    def at_once() -> Iterator[Caught]:
        yield Caught([signal.SIGINT])

    monkeypatch.setattr(films, "signals", at_once)
    with pytest.raises(Stopped, match="nothing was finished"):
        film(str(models / "cascade.safetensors"), tmp_path / "clip.mp4", tmp_path / "out.mp4", device="cpu")
    assert [one.name for one in tmp_path.iterdir()] == ["clip.mp4"]


@pytest.mark.parametrize("error", [MultigenError("no more"), torch.OutOfMemoryError("no more")])
@pytest.mark.parametrize("whole", [0, 2])
def test_what_fails_late_keeps_what_comes_before(
    whole: int, error: Exception, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip(tmp_path / "clip.mp4", 30, 16, 16, 10)
    real, calls = films._window, []

    def fails(*given: object) -> list[np.ndarray]:
        calls.append(given)
        if len(calls) > whole:
            raise type(error)(*error.args)
        return real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(films, "_window", fails)
    out = tmp_path / "out.mp4"
    with pytest.raises(type(error), match=f"no more{'.*holds what comes before' if whole else '$'}"):
        film(str(models / "cascade.safetensors"), tmp_path / "clip.mp4", out, device="cpu")
    assert out.exists() == bool(whole)
    if whole:
        assert 4 < len(exact(out)) < 60 and read_said(out) is not None


def test_the_last_seeds_go_on_from_zero() -> None:
    work = Work(2, (4, 4), (1, 1, 1), EditRequest)
    block = blocks(4, 4)[0]
    asked = films._asked(work, Request(seed=2**62 - 1), np.zeros((2, 4, 4, 3), np.uint8), block, block, 2)
    assert asked.seed == 1


@pytest.mark.parametrize(
    ("name", "more", "said"),
    [
        ("cascade", ["--times", "3"], "2 times as many frames, and powers of that"),
        ("large", ["--times", "2"], "makes 1 times as many"),
        ("filling", ["--times", "9"], "from 2 to 8"),
        ("filling", ["--times", "4"], "too few"),
        ("filling", ["--restore", "downsampel"], "downsample"),
        ("cascade", ["--out", "there.mp4"], "there already"),
        ("cascade", ["--out", "film.webm"], ".mp4"),
        ("cascade", ["--input", "none.mp4"], "none.mp4"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said(
    name: str, more: list[str], said: str, models: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    clip(tmp_path / "clip.mp4", 4, 16, 16, 10)
    (tmp_path / "there.mp4").write_bytes(b"mine")
    line = ["film", str(models / f"{name}.safetensors"), "--input", "clip.mp4", "--out", "out.mp4", *more]
    assert main(line) == 2
    assert said in capsys.readouterr().err
    assert not Path("out.mp4").exists() and Path("there.mp4").read_bytes() == b"mine"


def test_a_model_of_pictures_makes_no_film(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip(tmp_path / "clip.mp4", 4, 16, 16, 10)
    line = ["film", "image_emoji", "--input", str(tmp_path / "clip.mp4"), "--out", str(tmp_path / "out.mp4")]
    assert main(line) == 2
    assert "image" in capsys.readouterr().err


# Of the process alone: `ru_maxrss` would begin with what the process had that started it.
PEAK = """
import sys
from pathlib import Path
from multigen.runs.film import film
film(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), device="cpu", quiet=True)
line = next(one for one in open("/proc/self/status") if one.startswith("VmHWM:"))
print(int(line.split()[1]) // 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="it reads Linux's own count")
def test_memory_does_not_grow_with_length(models: Path, tmp_path: Path) -> None:
    """A clip eight times as long takes as much, but for what an allocator leaves: its frames are 221 MB as floats."""
    peaks = []
    for n in (40, 320):
        clip(tmp_path / f"{n}.mp4", n, 160, 360, 25, sound=True)
        line = [
            str(models / "cascade.safetensors"),
            str(tmp_path / f"{n}.mp4"),
            str(tmp_path / f"out{n}.mp4"),
        ]
        ran = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(PEAK), *line], capture_output=True, text=True, check=True
        )
        peaks.append(int(ran.stdout.split()[-1]))
    assert peaks[1] < peaks[0] + 60, peaks
