"""Making media again from what their files tell of how they were made."""

from __future__ import annotations

import dataclasses
import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from multigen.errors import MultigenError
from multigen.generation.request import Request
from multigen.provenance.told import told
from multigen.recipe.dump import to_yaml
from multigen.runs.told_recipe import check_request, told_recipe

log = logging.getLogger(__name__)


def make_again(
    source: str,
    overrides: Sequence[str] = (),
    *,
    read: Callable[[str, str, str], Request],
    out: Path | None = None,
    device: str | None = None,
    quiet: bool = False,
) -> Path | str:
    """Make a medium again from the recipe in its file; the folder that it is in.

    read  makes a request of a line of JSON, of where that stands, and of the file of its recipe

    MultigenError where the file has no recipe, where that is not enough, and where the model at hand is another.
    """
    path = Path(source).expanduser()
    found = told(path)
    said = found["said"]
    _check(path, said)
    if found["state"] not in ("trusted", "signed"):
        log.warning("%s: what it says is not signed, or altered: anybody could have written its recipe", path)
    recipe = told_recipe(str(said["recipe"]), f"{path}: recipe", overrides)
    seed = said.get("seed")
    if not isinstance(seed, int):
        raise MultigenError(f"{path}: its seed is {seed!r}, which is no whole number")
    from multigen.runs.sample import sample

    with tempfile.TemporaryDirectory(prefix="multigen-again-") as folder:
        file = Path(folder, "recipe.yaml")
        file.write_text(to_yaml(recipe), encoding="utf-8")
        line, where = str(said.get("request", "{}")), f"{path}: request"
        check_request(line, where, str(file))
        request = read(line, where, str(file))
        return sample(
            str(file),
            requests=[dataclasses.replace(request, prompt=str(said.get("prompt", "")), seed=seed)],
            n=1,
            out=out,
            device=device,
            quiet=quiet,
            weights_hash=str(said.get("weights_hash", "")),
        )


def _check(path: Path, said: Mapping[str, Any]) -> None:
    """MultigenError for a file that does not say how to make it again."""
    if not said:
        raise MultigenError(f"{path}: it does not say how it was made; there is no recipe to run")
    if "recipe" not in said:
        raise MultigenError(
            f"{path}: it says that {said.get('model')} made it, but holds no recipe. "
            "Files that do are made with provenance.embed_recipe=true"
        )
    if not said.get("weights_hash"):
        raise MultigenError(f"{path}: it does not say which weights made it; its weights_hash is missing")
    if needs := said.get("needs"):
        raise MultigenError(f"{path}: its recipe is not enough to make it again: it lacks {str(needs)[:80]}")
