"""Faults of the disk after a checkpoint is written: bits that flip, files cut short or gone."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

from benchmarks.faults import runs
from multigen.training import checkpoint as checkpoints

BITS = 500  # in each file


def rotten(folder: Path) -> list[dict[str, Any]]:
    """One row a file: `noticed` of `faults`. And one for going on after a fault in the newest checkpoint."""
    place = runs.undisturbed(folder, "train.keep=100", "train.steps=10") / "checkpoints"
    last = checkpoints.found(place)[-1]
    rng, rows = random.Random(0), []
    for path in sorted(last.iterdir()):
        data = path.read_bytes()
        faults = [_flipped(data, rng.randrange(8 * len(data))) for _ in range(BITS)]
        faults += [
            data[:n] for n in sorted({0, 1, len(data) - 1, *(rng.randrange(len(data)) for _ in range(20))})
        ]
        faults += [data + b"\0"]
        noticed = sum(_noticed(last, path, bad) for bad in faults)
        path.write_bytes(data)
        if checkpoints.verify(last) is not None:
            raise RuntimeError(f"{last}: cannot be told from a broken one")
        row = {"what": f"{path.name}: {BITS} bits, {len(faults) - BITS} sizes", "ok": noticed == len(faults)}
        rows.append(row | {"noticed": f"{noticed}/{len(faults)}"})
    return [*rows, *(_gone_on(folder, path.name, rng) for path in sorted(last.iterdir()))]


def _noticed(checkpoint: Path, path: Path, data: bytes) -> bool:
    path.write_bytes(data)
    return checkpoints.verify(checkpoint) is not None


def _flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def _gone_on(folder: Path, name: str, rng: random.Random) -> dict[str, Any]:
    """The whole command on a copy of the run folder with one bit of that file flipped."""
    copy = folder / name.partition(".")[0]
    shutil.copytree(runs.run_of(folder), runs.run_of(copy))
    run = runs.run_of(copy)
    path = run / "checkpoints" / "step-00000010" / name
    path.write_bytes(_flipped(path.read_bytes(), rng.randrange(8 * path.stat().st_size)))
    (run / "weights.safetensors").unlink()
    code, said = runs.train(copy, "train.keep=100", "train.steps=10")
    named = "step-00000010 is broken" in said
    same = runs.digest(run) == runs.digest(runs.run_of(folder))
    row = {"what": f"{name}: going on after one bit", "exit": code, "gone on from": runs.resumed(said)}
    return row | {"ok": code == 0 and named and same and runs.resumed(said) == 5, "same bits": same}
