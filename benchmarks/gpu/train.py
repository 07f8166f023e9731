"""Training from a pack within some minutes, all told: data, compiling, the held-out loss and samples of the result."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from benchmarks.gpu import made
from benchmarks.gpu.pack import unpacked
from benchmarks.gpu.report import Report, Row
from multigen import registry
from multigen.datasets import Dataset
from multigen.errors import Interrupted
from multigen.model.build import build_dataset
from multigen.model.model import Model
from multigen.model.source import base_weights
from multigen.recipe.load import override_recipe
from multigen.recipe.schema import Recipe
from multigen.runs.initial import initialize
from multigen.runs.trainer import build_task
from multigen.training import log as training_log
from multigen.training.trainer import Trainer

EVERY = 60.0  # s between two exports of the averaged weights
LOOK = 50  # steps between two looks at the clock
ENDING = 12.0  # s that the last checkpoint, the held-out loss and the first pictures take at most
GRACE = 4.0  # s after its time that a training is stopped where it stands
EXPORT = 1.0  # s that an export takes
SHARE = 0.08  # of the time that goes to pictures in the end
CACHE = "compiled.bin"


def train(
    report: Report,
    pack: Path,
    out: Path,
    device: torch.device,
    minutes: float,
    *,
    overrides: Sequence[str] = (),
    cache: Path | None = None,
    start: float | None = None,
) -> None:
    """Train what a pack describes for so many minutes from `start` on (time.monotonic; now).

    In `out`: weights in parts (`made.weights`), samples.tar and what was compiled (CACHE), to be given as `cache`.
    """
    deadline = (time.monotonic() if start is None else start) + 60 * minutes
    if cache is not None and cache.is_file():
        torch.compiler.load_cache_artifacts(cache.read_bytes())
    work = Path(tempfile.mkdtemp(prefix="multigen-gpu-"))
    recipe, public = unpacked(pack, work / "media")
    recipe = override_recipe(recipe, [*_settings(device), *overrides])
    if device.type == "cuda":
        recipe = _with_workers(recipe)
    dataset = build_dataset(recipe)
    model = Model(recipe, device=str(device))
    torch.backends.cudnn.benchmark = True
    if recipe.conditioner.name == "text":
        # The longest text first: the length that texts are padded to, and so the compiled network, stays.
        model.conditioner({"text": [" ".join(["a"] * 600)]})
    # From here on all is training, but for the exports.
    seconds = (deadline - _reserve(deadline) - time.monotonic()) * (1 - EXPORT / EVERY)
    settings = dataclasses.replace(recipe.train, minutes=max(seconds, 1.0) / 60)
    recipe = model.recipe = dataclasses.replace(recipe, train=settings)
    public = dataclasses.replace(public, train=settings, backbone=recipe.backbone)
    trainer = _trainer(model, public, dataset, work, out, report)
    end = deadline - _reserve(deadline) + GRACE
    with report.guarded("training", "training"), _stopped_at(end), contextlib.suppress(Interrupted):
        trainer.run()
    if trainer.step == 0 and settings.compile and time.monotonic() < end:
        model.recipe = dataclasses.replace(recipe, train=dataclasses.replace(settings, compile=False))
        trainer = _trainer(model, public, dataset, work, out, report)
        with report.guarded("training", "not compiled"), _stopped_at(end), contextlib.suppress(Interrupted):
            trainer.run()
    with report.guarded("training", "what was trained"):
        report.extend("training", _rows(trainer, work, recipe))
    with trainer.ema.applied():
        with report.guarded("training", "weights"):
            report.add("training", made.weights(model, public, out))
        with report.guarded("training", "samples"):
            prompts = json.loads((pack / "prompts.json").read_text(encoding="utf-8"))
            report.extend(
                "training", made.samples(model, prompts, out, deadline, log=work / training_log.FILE)
            )
    with report.guarded("training", "what was compiled"):
        report.extend("training", _compiled(out))


def _reserve(deadline: float) -> float:
    """Seconds at the end that are not for training."""
    left = max(deadline - time.monotonic(), 0.0)
    return min(ENDING + SHARE * left, left / 2)


def _settings(device: torch.device) -> list[str]:
    """How the recipe's training is run here; the command line's own settings come after them."""
    fast = device.type == "cuda"
    return [
        "train.minutes=1",
        "train.steps=null",
        f"train.compile={str(fast).lower()}",
        f"train.workers={max((os.cpu_count() or 2) - 1, 1) if fast else 0}",
        "train.precision=auto",
        f"train.checkpoint_every={10**9}",
        f"train.held_out_every={10**9}",
        f"train.preview_every={LOOK}",
        "train.tensorboard=false",
        "train.keep_best=false",
    ]


def _with_workers(recipe: Recipe) -> Recipe:
    """No more readers than shared memory has room for: each is up to three batches ahead."""
    modality = registry.build("modality", recipe.modality, where="modality")
    size = 4 * math.prod(modality.shape()) * recipe.train.batch
    place = Path("/dev/shm")
    free = shutil.disk_usage(place).free if place.is_dir() else 2**62
    workers = max(min(recipe.train.workers, int(0.8 * free / (3 * size))), 1)
    print(f"{workers} readers; {free / 2**30:.1f} GiB of shared memory", file=sys.stderr, flush=True)
    return dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, workers=workers))


def _trainer(
    model: Model, public: Recipe, dataset: Dataset, folder: Path, out: Path, report: Report
) -> Trainer:
    """The one trainer, whose previews are exports of the averaged weights."""
    recipe = model.recipe
    initialize(model, dataset, base_weights(recipe))
    last = [time.monotonic()]

    def look(step: int) -> None:
        if time.monotonic() - last[0] >= EVERY:
            with report.guarded("training", f"export at step {step}"):
                made.weights(model, public, out)
            last[0] = time.monotonic()

    return Trainer(
        task=build_task(model, dataset),
        dataset=dataset,
        settings=recipe.train,
        seed=recipe.seed,
        folder=folder,
        device=model.device,
        preview=look,
        quiet=False,
    )


@contextlib.contextmanager
def _stopped_at(moment: float) -> Iterator[None]:
    """SIGTERM to this process at a moment, at which the trainer saves and stops; nothing if the block ended before."""
    timer = threading.Timer(max(moment - time.monotonic(), 0.0) + 2, os.kill, (os.getpid(), signal.SIGTERM))
    timer.daemon = True
    before = signal.signal(signal.SIGTERM, lambda *_: None)  # too late for the trainer is no reason to die
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        signal.signal(signal.SIGTERM, before)


def _rows(trainer: Trainer, folder: Path, recipe: Recipe) -> Iterator[Row]:
    """How far it came, how fast, and the held-out loss by noise level."""
    rows = training_log.read(folder)
    steps = [r for r in rows if "items_per_s" in r]
    late = steps[len(steps) // 2 :]
    yield {
        "what": "training",
        "steps": trainer.step,
        "seconds": round(trainer.counters.seconds, 1),
        "batch": recipe.train.batch,
        "pictures": trainer.step * recipe.train.batch,
        "per_s": round(trainer.step * recipe.train.batch / max(trainer.counters.seconds, 1e-9)),
        "per_s_second_half": round(statistics.median(r["items_per_s"] for r in late)) if late else None,
        "waiting": round(statistics.mean(r["waited"] for r in late), 3) if late else None,
        "loss": late[-1]["loss"] if late else None,
    }
    for row in rows:
        if "held_out" in row:
            yield {"what": f"held-out loss at step {row['step']}", **row["held_out"]}


def _compiled(out: Path) -> Iterator[Row]:
    """What the compiler made here, for another run on such a machine."""
    found = torch.compiler.save_cache_artifacts()
    if found is not None:
        content = found[0]
        if len(content) <= made.PART:
            (out / CACHE).write_bytes(content)
        yield {"what": "compiled code", "bytes": len(content), "kept": len(content) <= made.PART}
