"""A training asked to stop, one that finds another in its folder, and one of many ranks killed."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

from benchmarks import ranks
from benchmarks.faults import runs


def signals(folder: Path) -> list[dict[str, Any]]:
    """SIGTERM and SIGINT in the middle of an epoch, readers and previews at work; then on to the end.

    `seconds`: from the signal to the end of the command.
    """
    overrides = ("train.workers=1", "train.preview_every=7", "train.checkpoint_every=1000", "train.steps=150")
    wanted = runs.digest(runs.undisturbed(folder / "whole", *overrides))
    rows = []
    for signum, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        place = folder / signum.name
        process, run = runs.start(place, *overrides), runs.run_of(place)
        runs.until(lambda run=run: runs.last_step(run) >= 20, process)
        begin = time.perf_counter()
        process.send_signal(signum)
        found, said = runs.end(process)
        seconds, stopped = time.perf_counter() - begin, runs.last_step(run)
        after, again = runs.train(place, *overrides)
        same = runs.digest(run) == wanted
        ok = found == code and seconds < 10 and runs.resumed(again) == stopped and after == 0 and same
        row = {"what": signum.name, "ok": ok, "exit": found, "seconds": seconds, "stopped at": stopped}
        row |= {"gone on from": runs.resumed(again), "same bits": same, "orphans": len(runs.orphans(run))}
        rows.append(row | {"said": runs.message(said)})
    return rows


def lock(folder: Path) -> list[dict[str, Any]]:
    """A second training in the folder of a first; then the first is killed, its lock is stale, and another goes on."""
    overrides, run = ("train.steps=1000000", "train.workers=1"), runs.run_of(folder)
    first = runs.start(folder, *overrides)
    runs.until(lambda: runs.last_step(run) >= 10, first)
    code, said = runs.train(folder, *overrides)
    named = f"process {first.pid}" in said
    alive = first.poll() is None
    first.kill()
    runs.end(first)
    begin = time.perf_counter()
    after, again = runs.train(folder, "train.steps=12", "train.workers=1")
    seconds = time.perf_counter() - begin
    refused = {"what": "a second run on one folder", "ok": code == 2 and named and alive, "exit": code}
    stale = {"what": "the lock of a killed run", "ok": after == 0, "exit": after, "seconds": seconds}
    return [refused | {"said": runs.message(said)}, stale | {"gone on from": runs.resumed(again)}]


def rank(folder: Path) -> list[dict[str, Any]]:
    """The kills of `benchmarks.ranks` as one row."""
    rows = ranks.measure()[1:]
    good = sum(row["same"] and row["exit"] == 0 for row in rows)
    row = {"what": "one of two ranks killed, the whole job restarted", "ok": good == len(rows)}
    return [row | {"gone on": f"{good}/{len(rows)}", "same bits": good == len(rows)}]
