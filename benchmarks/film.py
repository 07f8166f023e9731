"""Films of real clips: what they take, and how near new frames are to those that were left out.

`python -m benchmarks.film memory CLIP` makes a clip of 1280 x 720 pixels (a real one, again and again), doubles its
frames or its size, and prints the peak memory of the process that did it, at one network call a block and window.

`python -m benchmarks.film frames RUN CLIP` leaves out every other frame of a clip and makes them again;
`python -m benchmarks.film large RUN CLIP` halves its size and makes it large again. The columns:

    psnr   dB, of what was made, on the mean square error over all of it
    edges  mean gradient between neighbouring pixels, as a share of the true frames'
    seams  mean difference of neighbouring pixels across the middle of what two blocks share, over that elsewhere
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
import torch.nn.functional as F
from av.filter import Graph

from benchmarks.__main__ import table
from multigen.modalities.raster import from_levels, to_levels
from multigen.modalities.video import Video
from multigen.model.model import Model
from multigen.recipe.load import load_recipe
from multigen.runs.film import film
from multigen.runs.film.windows import blocks
from multigen.runs.film.work import works
from multigen.runs.opened import open_model

SIZE = (720, 1280)


def again(path: Path, seconds: float, fps: float) -> Iterator[np.ndarray]:
    """The frames of a clip at 1280 x 720 pixels, forwards and backwards, for some seconds."""
    video = Video().native(path)
    frames = [_sized(frame) for frame in islice(video.each(path), 100)]
    there_and_back = [*range(len(frames)), *range(len(frames) - 2, 0, -1)]
    for k in range(round(seconds * fps)):
        yield frames[there_and_back[k % len(there_and_back)]]


def _sized(frame: np.ndarray) -> np.ndarray:
    return np.asarray(
        av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(SIZE[1], SIZE[0]).to_ndarray()
    )


def memory(clip: Path, seconds: float, fps: float, recipe: str, overrides: list[str]) -> list[dict[str, Any]]:
    """Peak memory of a process that makes a film of a clip of some seconds at 1280 x 720 pixels."""
    with tempfile.TemporaryDirectory() as folder:
        long, model, out = (Path(folder) / name for name in ("long.mp4", "model.safetensors", "out.mp4"))
        Video().native(clip).at(fps).write_each(again(clip, seconds, fps), SIZE, long)
        Model(load_recipe(recipe, ["data.path=.", *overrides]), device="cpu").save(model)
        before = time.monotonic()
        line = [sys.executable, "-m", "benchmarks.film", "one", str(model), str(long), str(out)]
        ran = subprocess.run(line, check=True, capture_output=True, text=True)
        took, info = time.monotonic() - before, Video().info(out)
        return [
            {
                "film": recipe,
                "seconds": round(info.duration, 2),
                "made": f"{info.width} x {info.height} at {info.fps:g} frames/s",
                "minutes": round(took / 60, 1),
                "peak MB": int(ran.stdout.split()[-1]),
            }
        ]


def one(model: Path, clip: Path, out: Path) -> int:
    """Make a film; the peak memory of this process, MB."""
    film(str(model), clip, out, device="cpu", quiet=True)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def psnr(made: np.ndarray, true: np.ndarray) -> float:
    """dB of frames, uint8 [T, H, W, 3]."""
    return float(10 * np.log10(255**2 / np.mean((made.astype(np.float64) - true) ** 2)))


def edges(frames: np.ndarray) -> float:
    """The mean gradient between neighbouring pixels."""
    frames = frames.astype(np.float32)
    return float(np.abs(np.diff(frames, axis=1)).mean() + np.abs(np.diff(frames, axis=2)).mean())


def seams(frames: np.ndarray, side: int) -> float:
    """The mean difference across the middle of what blocks of `side` pixels share, over that of all columns."""
    width = frames.shape[2]
    found = blocks(width, min(side, width))
    middles = [(a.start + len(a.weights) + b.start) // 2 for a, b in pairwise(found)]
    if not middles:
        return float("nan")
    steps = np.abs(np.diff(frames.astype(np.float32), axis=2)).mean((0, 1, 3))
    return float(np.mean([steps[m - 1] for m in middles]) / steps.mean())


def rows(made: dict[str, np.ndarray], true: np.ndarray, side: int) -> list[dict[str, Any]]:
    """A row for each way to make the true frames."""
    return [
        {
            "frames": name,
            "n": len(true),
            "psnr": round(psnr(one, true), 2) if one is not true else float("nan"),
            "edges": round(edges(one) / edges(true), 3),
            "seams": round(seams(one, side), 3),
        }
        for name, one in {**made, "true": true}.items()
    ]


def frames(run: str, clip: Path, n: int) -> list[dict[str, Any]]:
    """Every other frame of a clip, made again."""
    true = np.stack(list(islice(Video().native(clip).each(clip), n | 1)))
    known, left_out = true[::2], true[1::2]

    def film_of(path: Path, out: Path) -> np.ndarray:
        film(run, path, out, device="cpu", quiet=True, lossless=True)
        return np.stack(list(Video().native(out).each(out)))[1:-1:2]

    mean = np.rint((known[:-1].astype(np.float32) + known[1:]) / 2).astype(np.uint8)
    made = {
        "network": _filmed(known, Video().native(clip).fps / 2, film_of),
        "mean of two": mean,
        "motion compensated": _compensated(known),
        "the one before": known[:-1],
    }
    return rows(made, left_out, works(open_model(run), None, None)[0].block[1])


def large(run: str, clip: Path, n: int) -> list[dict[str, Any]]:
    """A clip at half its size, made large again."""
    true = np.stack(list(islice(Video().native(clip).each(clip), n)))
    true = true[:, : true.shape[1] // 2 * 2, : true.shape[2] // 2 * 2]
    small = to_levels(F.avg_pool2d(from_levels(true), 2))
    whole = F.interpolate(from_levels(small).transpose(0, 1), scale_factor=2, mode="bicubic").clamp(-1, 1)

    def film_of(path: Path, out: Path) -> np.ndarray:
        film(run, path, out, device="cpu", quiet=True, lossless=True)
        return np.stack(list(Video().native(out).each(out)))

    made = {
        "network": _filmed(small, Video().native(clip).fps, film_of),
        "bicubic": to_levels(whole.transpose(0, 1)),
    }
    return rows(made, true, 2 * works(open_model(run), None, None)[0].block[1])


def _filmed(given: np.ndarray, fps: float, film_of: Callable[[Path, Path], np.ndarray]) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "given.mp4"
        Video().at(fps).write_each(given, given.shape[1:3], path, lossless=True)
        return film_of(path, Path(folder) / "out.mp4")


def _compensated(known: np.ndarray) -> np.ndarray:
    """The frames between those that are known, by FFmpeg's motion compensation."""
    graph, rate, kind = Graph(), Fraction(25), av.VideoFormat("yuv444p")
    source = graph.add_buffer(width=known.shape[2], height=known.shape[1], format=kind, time_base=1 / rate)
    graph.link_nodes(
        source, graph.add("minterpolate", "fps=50:mi_mode=mci:scd=none"), graph.add("buffersink")
    )
    graph.configure()
    made: dict[int, np.ndarray] = {}
    for k, levels in enumerate([*known, *[known[-1]] * 4]):  # it holds the last ones back
        frame = av.VideoFrame.from_ndarray(levels, format="rgb24").reformat(format="yuv444p")
        frame.pts, frame.time_base = k, 1 / rate
        graph.push(frame)
        with suppress(BlockingIOError, EOFError):
            while True:
                got = graph.pull()
                assert isinstance(got, av.VideoFrame) and got.pts is not None and got.time_base is not None
                made[round(float(got.pts * got.time_base * 2 * rate))] = got.reformat(
                    format="rgb24"
                ).to_ndarray()
    return np.stack([made[2 * k + 1] for k in range(len(known) - 1)])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("memory", "frames", "large", "one"))
    parser.add_argument("files", nargs="*", help="RUN CLIP; of memory a CLIP")
    parser.add_argument("-n", type=int, default=49, help="frames of the clip")
    parser.add_argument("--seconds", type=float, default=60.0, help="of the clip for memory")
    parser.add_argument("--fps", type=float, default=10.0, help="frames/s of that clip")
    parser.add_argument("--recipe", default="video_frames", help="whose network makes the film for memory")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="overrides of that recipe"
    )
    given = parser.parse_args()
    torch.manual_seed(0)
    if given.what == "one":
        print(one(*(Path(name) for name in given.files)))
    elif given.what == "memory":
        print(table(memory(Path(given.files[0]), given.seconds, given.fps, given.recipe, given.set)))
    else:
        run, clip = given.files
        print(table({"frames": frames, "large": large}[given.what](run, Path(clip), given.n)))
