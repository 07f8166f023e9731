"""One job of the speed section in a process of its own: `python -m benchmarks.gpu.worker RECIPE NAME DEVICE FOLDER`.

It writes FOLDER/ready when it is, waits for FOLDER/go, and writes its rows to FOLDER/rows.jsonl one by one.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import traceback
from pathlib import Path

import torch

from benchmarks.gpu.jobs import tasks
from benchmarks.gpu.truth import exact


def main(recipe: str, name: str, device: str, folder: Path, tiny: bool) -> int:
    place = torch.device(device)
    exact(False)
    torch.set_num_threads(2)
    threading.Thread(target=_until_orphaned, args=(os.getppid(),), daemon=True).start()
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as file:

        def write(row: object) -> None:
            file.write(json.dumps(row) + "\n")
            file.flush()

        try:
            job = next(t.job for t in tasks(recipe) if t.name == name)(place, tiny)
            begin = time.monotonic()
            next(job)
            if place.type == "cuda":
                torch.cuda.synchronize()
                torch.cuda.empty_cache()
            seconds = round(time.monotonic() - begin, 1)
            (folder / "ready").write_text(str(seconds))
            while not (folder / "go").exists():
                time.sleep(0.05)
            for row in job:
                assert row is not None
                write(row | {"ready_s": seconds})
        except Exception as error:
            line = (str(error).strip().splitlines() or [""])[0][:300]
            write(
                {
                    "what": name,
                    "error": f"{type(error).__name__}: {line}",
                    "trace": traceback.format_exc()[-6000:],
                }
            )
            return 1
    return 0


def _until_orphaned(parent: int) -> None:
    """End this process, wherever it is, when the one that started it is gone."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


if __name__ == "__main__":
    _, recipe, name, device, folder, *more = sys.argv
    sys.exit(main(recipe, name, device, Path(folder), "tiny" in more))
