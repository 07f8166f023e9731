"""Sweeps (`-m`) through Hydra's own machinery, so that its launchers, sweepers and their plug-ins work.

Hydra receives an empty config and the overrides that vary. Each job loads the recipe again under the fixed overrides
and its own, so it is exactly the run that the same overrides make alone. Hydra's files go to <out>/.hydra, which jobs
on other machines can reach.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from multigen.errors import Interrupted, RecipeError
from multigen.model.compatibility import check_combination
from multigen.recipe.load import load_recipe
from multigen.recipe.overrides import COMMAND_LINE
from multigen.recipe.paths import absolute
from multigen.runs.hydra_sweep import hydra_sweep
from multigen.runs.rerun import differences
from multigen.runs.sweep_overrides import combinations, sort

log = logging.getLogger(__name__)

# So many combinations are checked before the first job starts.
CHECKED = 64
_FOLDER = ".hydra"


def sweep(
    command: Literal["run", "train"],
    recipe: str,
    overrides: Sequence[str],
    *,
    out: Path | None = None,
    device: str | None = None,
    quiet: bool = False,
    force: bool = False,
) -> None:
    """Run every job of a sweep, each in the folder `out`/<its overrides>, and print each run folder.

    By default `out` is runs/<recipe name>-sweep. RecipeError before the first job if one of them would be refused.
    """
    fixed, varying, hydra = sort(overrides)
    recipe = str(Path(recipe).resolve()) if Path(recipe).exists() else recipe
    name = _check_jobs(recipe, fixed, varying)
    folder = (out or _free(Path("runs") / f"{name}-sweep", command, recipe, fixed, varying)).absolute()

    def job(_: Any) -> float:
        # Imported here: a launcher may have sent this function to another process.
        from hydra.core.hydra_config import HydraConfig

        from multigen.progress import show_log
        from multigen.runs import jobs

        show_log(quiet=quiet)
        mine = [str(o).removeprefix("++") for o in HydraConfig.get().overrides.task]
        chosen = load_recipe(recipe, [*fixed, *mine])
        check_combination(chosen)
        place = folder / (job_name(mine) or str(HydraConfig.get().job.num))
        work = jobs.run if command == "run" else jobs.train
        try:
            done = work(chosen, out=place, device=device, quiet=quiet, force=force)
        except Interrupted as stop:  # Hydra would go on with the next job
            raise KeyboardInterrupt(str(stop)) from stop
        print(done, flush=True)
        return _score(done)

    hydra_sweep(job, folder / _FOLDER, [*hydra, *(f"++{o.lstrip('+')}" for o in varying)])


def _free(
    base: Path, command: Literal["run", "train"], recipe: str, fixed: Sequence[str], varying: Sequence[str]
) -> Path:
    """The first of base, base-2 and so on in which no job of the sweep finds another recipe."""
    own = list(itertools.islice(combinations(varying), CHECKED))
    jobs = [(job_name(job), absolute(load_recipe(recipe, [*fixed, *job]))) for job in own]
    for k in itertools.count(1):
        folder = base if k == 1 else base.with_name(f"{base.name}-{k}")
        if not any(differences(folder / name, job, command).changes for name, job in jobs):
            return folder
        log.warning("%s holds jobs of another recipe: this sweep is in another folder", folder)
    raise AssertionError


def _score(folder: Path) -> float:
    """What sweepers minimise: the last held-out loss of the run, or its last loss; nan without either."""
    from multigen.training.log import read

    rows = read(folder)
    held_out = [row["held_out"]["mean"] for row in rows if "held_out" in row]
    losses = [row["loss"] for row in rows if "loss" in row]
    return float([math.nan, *losses, *held_out][-1])


def job_name(overrides: Sequence[str]) -> str:
    """A folder name from a job's overrides: guide.scale=2,train.lr=0.001. Cut, with a hash, where it is too long."""
    name = ",".join(o.lstrip("+") for o in overrides)
    safe = re.sub(r"[^\w.=,+-]", "_", name)
    if safe == name and len(name) <= 120:
        return name
    return f"{safe[:100]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _check_jobs(recipe: str, fixed: list[str], varying: list[str]) -> str:
    """The name of the first job's recipe; RecipeError if any job would be refused."""
    names = []
    for job in itertools.islice(combinations(varying), CHECKED):
        checked = load_recipe(recipe, [*fixed, *job])
        check_combination(checked)
        names.append(checked.name)
    if not names:
        raise RecipeError(f"{COMMAND_LINE}: {' '.join(varying)}: this sweep has no value.")
    return names[0]
