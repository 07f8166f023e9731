"""What one rank does in the tests: train the toy and leave what it saw and what became of it.

python -m tests.training.rank_job FOLDER SETTINGS [FAULT], alone or under torchrun. FAULT {"rank": 1, "step": 7, "how":
"SIGKILL" | "unreadable"} happens once.
SETTINGS are those of `train`, and "held_out": the losses that rank 0 measures, one after the other.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor

from multigen.errors import Interrupted
from multigen.recipe.schema import PostHoc, Train
from multigen.registry import Part
from multigen.training import checkpoint as checkpoints
from multigen.training import ranks
from multigen.training.batch import Batch
from multigen.training.trainer import Trainer
from tests.training.toys import Points, trainer

from . import test_vocoding


def _vocoder(folder: Path, settings: dict[str, Any]) -> Trainer:
    """Two networks; without feature matching, which is relative to the rows at hand, ranks change rounding alone."""
    critic = Part("spectrograms", {"ffts": [256, 128], "channels": 4, "start": 0.0, "matching": 0.0})
    return test_vocoding.trainer(folder, critic=critic, **settings)


def main(folder: Path, settings: dict[str, Any], fault: dict[str, object]) -> int:
    unreadable = fault.get("how") == "unreadable"
    data = Points(broken=frozenset(range(0, 40, 4)) if unreadable else frozenset())
    vocoder, held_out = settings.pop("vocoder", False), list(settings.pop("held_out", ()))
    common = {"steps": 20, "batch": 8, "log_every": 1, **settings}
    if "post_hoc" in common:
        common["post_hoc"] = PostHoc(**common["post_hoc"])
    with ranks.joined("cpu", Train(**common)):
        t = _vocoder(folder, common) if vocoder else trainer(folder, dataset=data, **common)
        if held_out:  # what the next measurement finds, and each after it
            t.task.measure = lambda step: {"mean": held_out.pop(0)}  # type: ignore[method-assign]
        seen: list[list[str]] = []
        inner = t.task.losses

        def losses(batch: Batch, step: int, progress: float) -> Iterator[tuple[str, Iterator[Tensor]]]:
            seen.append(batch.ids)
            once = folder / "fault"
            if fault.get("rank") == ranks.rank() and fault.get("step") == step and not once.exists():
                once.touch()
                os.kill(os.getpid(), signal.Signals[str(fault["how"])])
            return inner(batch, step, progress)

        t.task.losses = losses  # type: ignore[method-assign]
        newest = checkpoints.newest(folder / "checkpoints")
        if newest is not None:
            t.restore(checkpoints.load(newest))
        ranks.same_step(t.step)
        try:
            t.run()
        except Interrupted as stop:
            return stop.code
        digest = hashlib.sha256()
        learned = {f"{k}.{n}": p for k, net in t.learners.items() for n, p in net.parameters.items()}
        averages = {f"{k}.{n}": p for k, net in t.averages.state().items() for n, p in net.items()}
        for name, p in sorted({**learned, **t.ema.shadow, **averages}.items()):
            digest.update(name.encode() + p.detach().numpy().tobytes())
        report = {"ids": seen, "hash": digest.hexdigest(), "step": t.step, "bad": sorted(t.unreadable.files)}
        (folder / f"rank-{ranks.rank()}.json").write_text(json.dumps(report))
    return 0


if __name__ == "__main__":
    arguments = sys.argv[1:]
    faults = json.loads(arguments[2]) if len(arguments) > 2 else {}
    raise SystemExit(main(Path(arguments[0]), json.loads(arguments[1]), faults))
