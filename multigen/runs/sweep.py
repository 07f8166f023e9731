"""`-m`: sweeps through Hydra's own machinery, so that its launchers, sweepers and their plug-ins work.

Hydra is given an empty config and only what varies; each job loads the recipe anew under the fixed overrides and its
own, so a job of a sweep is exactly the run that the same overrides make alone. Hydra's own files go to <out>/.hydra,
which jobs on other machines can reach.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from hydra.core.override_parser.types import Glob, Override, Quote, QuotedString

from multigen import registry
from multigen.errors import Interrupted, MultigenError, RecipeError, message
from multigen.model.compatibility import check_combination
from multigen.recipe.compose import COMMAND_LINE, PLACES, check_override_key, parse_text
from multigen.recipe.load import load_recipe
from multigen.recipe.safety import check_text

# Combinations that are all checked before the first job starts; of larger sweeps, the first so many.
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
    """Run every job of a sweep; each prints its run folder, `out`/<its overrides>."""
    fixed, varying, hydra = _sorted(overrides)
    recipe = str(Path(recipe).resolve()) if Path(recipe).exists() else recipe
    name = _check_jobs(recipe, fixed, varying)
    folder = (out or Path("runs") / f"{name}-sweep").absolute()

    def job(_: Any) -> float:
        # Imported here: a launcher may have sent this function to another process.
        from hydra.core.hydra_config import HydraConfig

        from multigen.runs import train as pipeline
        from multigen.training.log import to_stderr

        to_stderr(quiet=quiet)
        mine = [str(o).removeprefix("++") for o in HydraConfig.get().overrides.task]
        chosen = load_recipe(recipe, [*fixed, *mine])
        check_combination(chosen)
        place = folder / (job_name(mine) or str(HydraConfig.get().job.num))
        work = pipeline.run if command == "run" else pipeline.train
        try:
            done = work(chosen, out=place, device=device, quiet=quiet, force=force)
        except Interrupted as stop:  # Hydra would go on with the next job
            raise KeyboardInterrupt(str(stop)) from stop
        print(done, flush=True)
        return _score(done)

    _hydra_main(job, folder / _FOLDER, [*hydra, *(f"++{o.lstrip('+')}" for o in varying)])


def _score(folder: Path) -> float:
    """What sweepers minimise: the last held-out loss of the run, else its last loss; nan without either."""
    from multigen.training.log import read

    rows = read(folder)
    held_out = [row["held_out"]["mean"] for row in rows if "held_out" in row]
    losses = [row["loss"] for row in rows if "loss" in row]
    return float([math.nan, *losses, *held_out][-1])


def job_name(overrides: Sequence[str]) -> str:
    """A folder name from a job's overrides: guide.scale=2,train.lr=0.001. Cut with a hash where it must change."""
    name = ",".join(o.lstrip("+") for o in overrides)
    safe = re.sub(r"[^\w.=,+-]", "_", name)
    if safe == name and len(name) <= 120:
        return name
    return f"{safe[:100]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _sorted(overrides: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Overrides that are fixed, those that vary, and those for Hydra itself."""
    fixed, varying, hydra = [], [], []
    for text in overrides:
        override = parse_text(text)
        if override.is_hydra_override():
            hydra.append(text)
        elif override.is_sweep_override():
            at = f"{COMMAND_LINE}: {text}"
            check_text(text, at)
            check_override_key(override.key_or_group, override.package, at)
            varying.append(_globbed(text, override))
        else:
            fixed.append(text)
    return fixed, varying, hydra


def _globbed(text: str, override: Override) -> str:
    """sampler.name=glob(d*) as a choice among the registered names; other overrides as they are."""
    glob = override.value()
    if not isinstance(glob, Glob):
        return text
    place, _, last = override.key_or_group.rpartition(".")
    if place not in PLACES or last != "name":
        raise RecipeError(
            f"{COMMAND_LINE}: {text}: glob() chooses among names of parts, as in sampler.name=glob(*)."
        )
    chosen = glob.filter(registry.names(PLACES[place]))
    if not chosen:
        raise RecipeError(
            message(f"{COMMAND_LINE}: {text}", text.partition("=")[2], registry.names(PLACES[place]))
        )
    return f"{override.get_key_element()}=choice({','.join(chosen)})"


def _jobs(varying: Sequence[str]) -> Iterator[list[str]]:
    """The overrides of every job of the grid. What only a sweeper can draw (an interval) is left out."""
    lists = []
    for override in map(parse_text, varying):
        if override.is_discrete_sweep():
            key = override.get_key_element()
            lists.append([f"{key}={value}" for value in override.sweep_string_iterator()])
    yield from (list(job) for job in itertools.product(*lists))


def _check_jobs(recipe: str, fixed: list[str], varying: list[str]) -> str:
    """RecipeError before the first job starts if any of them would be refused. The first one's name."""
    names = []
    for job in itertools.islice(_jobs(varying), CHECKED):
        checked = load_recipe(recipe, [*fixed, *job])
        check_combination(checked)
        names.append(checked.name)
    if not names:
        raise RecipeError(f"{COMMAND_LINE}: {' '.join(varying)}: there is no value in this sweep.")
    return names[0]


@contextmanager
def _environment(argv: list[str]) -> Iterator[None]:
    """hydra.main reads sys.argv; HYDRA_FULL_ERROR lets a job's own exception through instead of sys.exit(1)."""
    kept_argv, kept = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv, os.environ["HYDRA_FULL_ERROR"] = argv, "1"
    try:
        yield
    finally:
        sys.argv = kept_argv
        if kept is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = kept


def _hydra_main(job: Callable[[Any], Any], folder: Path, overrides: list[str]) -> None:
    import hydra
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "sweep.yaml").write_text("{}\n", encoding="utf-8")
    except OSError as error:
        raise MultigenError(f"--out {folder.parent}: cannot be written ({error})") from None
    quiet = ["hydra.output_subdir=null", "hydra/job_logging=none", "hydra/hydra_logging=none"]
    place = f"hydra.sweep.dir={QuotedString(str(folder), Quote.single).with_quotes()}"
    argv = ["multigen", "--multirun", place, *quiet, *overrides]
    try:
        with _environment(argv):
            hydra.main(config_path=str(folder), config_name="sweep", version_base="1.3")(job)()
    except (HydraException, OmegaConfBaseException) as error:
        raise MultigenError(f"-m: {' '.join(str(error).split())}") from error
    finally:
        GlobalHydra.instance().clear()
