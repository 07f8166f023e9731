"""Training in several processes: the `launch` section of a recipe.

torchrun's engine (torch.distributed.launcher) starts the ranks, watches them, and restarts all of them when one dies.
Each rank runs `multigen train` and resumes from the newest checkpoint. The launching command waits, and prints.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from multigen.device import choose_device
from multigen.errors import Interrupted, TrainingError
from multigen.recipe.dump import to_yaml
from multigen.recipe.load import load_recipe
from multigen.recipe.schema import Recipe
from multigen.storage.files import write_text
from multigen.training import checkpoint as checkpoints
from multigen.training.rank_errors import LAUNCHED, read_report

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_PATIENCE = 300  # s that ranks may take to save after a signal


def launches(recipe: Recipe) -> bool:
    """Return whether this process has to start ranks for the recipe, and is not one of them."""
    return recipe.launch.name != "none" and "RANK" not in os.environ


def torchrun(
    recipe: Recipe, folder: Path, *, device: str | None, quiet: bool, force: bool
) -> tuple[Recipe, dict[str, str]]:
    """Train in `launch.nproc` ranks on this machine until they end.

    Returns the recipe, completed from the data, and the files that could not be read. Raises the error of the ranks,
    Interrupted after a signal, or TrainingError if a rank died without a message.
    """
    from torch.distributed.elastic.multiprocessing.api import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    launch = recipe.launch
    with tempfile.TemporaryDirectory(prefix="multigen-") as scratch:
        path = Path(scratch, "recipe.yaml")
        write_text(path, to_yaml(recipe))
        command = ["-u", "-m", "multigen", "train", str(path), "--out", str(folder)]
        command += [] if device is None else ["--device", device]
        command += [flag for flag, given in (("--quiet", quiet), ("--force", force)) if given]
        with _surroundings(_environment(launch.nproc, device)):
            config = LaunchConfig(
                min_nodes=1,
                max_nodes=1,
                nproc_per_node=launch.nproc,
                run_id="multigen",
                rdzv_backend="c10d",
                rdzv_endpoint=f"localhost:{launch.port or 0}",
                max_restarts=launch.restarts,
                logs_specs=DefaultLogsSpecs(log_dir=scratch),
            )
            try:
                elastic_launch(config, sys.executable)(*command)
            except ChildFailedError as error:
                raise (read_report(Path(scratch)) or _silent(error.failures)) from None
            except SignalException as stop:
                signum = int(stop.sigval)
                how = f"Resume with: multigen run {folder}"
                raise (read_report(Path(scratch)) or Interrupted(signum, _saved(folder), how)) from None
    newest = checkpoints.newest(folder / "checkpoints")
    bad = {} if newest is None else dict(checkpoints.load(newest).state.get("bad", {}))
    # The ranks ran with weights=null.
    return dataclasses.replace(load_recipe(str(folder / "recipe.yaml")), weights=recipe.weights), bad


def _environment(nproc: int, device: str | None) -> dict[str, str]:
    threads = max((os.cpu_count() or 1) // nproc, 1) if choose_device(device).type == "cpu" else 1
    return {
        LAUNCHED: "1",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)),
        # After a restart the ranks must not find the entries of the former ones in the agent's store.
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(_PATIENCE),
    }


@contextmanager
def _surroundings(environment: Mapping[str, str]) -> Iterator[None]:
    """Set the environment of the ranks, silence the log of the engine, and restore signal handlers afterwards."""
    logger = logging.getLogger("torch.distributed.elastic")
    level, before = logger.level, dict(os.environ)
    handlers = {s: signal.getsignal(s) for s in _SIGNALS}
    os.environ.update(environment)
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)
        os.environ.clear()
        os.environ.update(before)
        for s, handler in handlers.items():
            signal.signal(s, handler)


def _silent(failures: Mapping[int, object]) -> TrainingError:
    """The error for ranks that died without a message; those killed by a signal count first."""
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

    ended = {r: f.exitcode for r, f in failures.items() if isinstance(f, ProcessFailure)}
    killed = {r: code for r, code in ended.items() if code < 0} or ended
    rows = [
        f"rank {r} was killed by {signal.Signals(-code).name}" if code < 0 else f"rank {r} ended with {code}"
        for r, code in sorted(killed.items())
    ]
    return TrainingError(
        f"{'; '.join(rows)}. Checkpoints are intact. Re-run the same command to resume from the newest; "
        "launch.restarts=3 does that automatically."
    )


def _saved(folder: Path) -> int:
    """Return the step of the newest checkpoint, 0 without one."""
    steps = [checkpoints.step_of(p) for p in checkpoints.found(folder / "checkpoints")]
    return max(steps, default=0)
