"""Hydra's own sweep machinery, which reads sys.argv and ends the process on errors, as a function."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString

from multigen.errors import MultigenError, reason


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


def hydra_sweep(job: Callable[[Any], Any], folder: Path, overrides: list[str]) -> None:
    """Run `job` for every combination of the overrides; Hydra's files go to `folder`.

    MultigenError for what Hydra refuses; a job's own exception passes through.
    """
    import hydra
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "sweep.yaml").write_text("{}\n", encoding="utf-8")
    except OSError as error:
        raise MultigenError(f"--out {folder.parent}: cannot be written ({reason(error)})") from None
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
