"""Starting a training in several processes: `launch` of a recipe.

torchrun's own engine (torch.distributed.launcher) starts the ranks, watches them, and restarts them all when one
dies; each is `multigen train` and goes on from the newest checkpoint. The command that launched them waits, and says
what there is to say.
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
from multigen.training.rank_errors import LAUNCHED, heard

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
# How long ranks may take to save after a signal, in s.
_PATIENCE = 300


def launches(recipe: Recipe) -> bool:
    """Whether this process starts ranks to train the recipe, and is none of them itself."""
    return recipe.launch.name != "none" and "RANK" not in os.environ


def torchrun(
    recipe: Recipe, folder: Path, *, device: str | None, quiet: bool, force: bool
) -> tuple[Recipe, dict[str, str]]:
    """Train in `launch.nproc` ranks on this machine until they end.

    The recipe with what the data filled in, and the media that could not be read. Raises what the ranks raised,
    Interrupted after a signal, TrainingError if one died without a word.
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
                raise (heard(Path(scratch)) or _silent(error.failures)) from None
            except SignalException as stop:
                signum = int(stop.sigval)
                how = f"Resume with: multigen run {folder}"
                raise (heard(Path(scratch)) or Interrupted(signum, _saved(folder), how)) from None
    newest = checkpoints.newest(folder / "checkpoints")
    bad = {} if newest is None else dict(checkpoints.load(newest).state.get("bad", {}))
    # The ranks were told to train, not to use weights.
    return dataclasses.replace(load_recipe(str(folder / "recipe.yaml")), weights=recipe.weights), bad


def _environment(nproc: int, device: str | None) -> dict[str, str]:
    threads = max((os.cpu_count() or 1) // nproc, 1) if choose_device(device).type == "cpu" else 1
    return {
        LAUNCHED: "1",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)),
        # The ranks of a restart must not find what those before them left in the agent's store.
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(_PATIENCE),
    }


@contextmanager
def _surroundings(environment: Mapping[str, str]) -> Iterator[None]:
    """The ranks' environment; the engine's log, which says what we say, silent; signal handlers put back."""
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
    """What to say of ranks that died without a word: of those that a signal killed, if there are such."""
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

    ended = {r: f.exitcode for r, f in failures.items() if isinstance(f, ProcessFailure)}
    killed = {r: code for r, code in ended.items() if code < 0} or ended
    rows = [
        f"rank {r} was killed by {signal.Signals(-code).name}" if code < 0 else f"rank {r} ended with {code}"
        for r, code in sorted(killed.items())
    ]
    return TrainingError(
        f"{'; '.join(rows)}. Checkpoints are intact: the same command goes on from the newest, "
        "launch.restarts=3 does so by itself."
    )


def _saved(folder: Path) -> int:
    """The step of the newest checkpoint, 0 without one."""
    steps = [checkpoints.step_of(p) for p in checkpoints.found(folder / "checkpoints")]
    return max(steps, default=0)
