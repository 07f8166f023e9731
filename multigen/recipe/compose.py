"""Compose recipe files and overrides to one plain mapping, with Hydra's compose API.

Hydra receives files that this module writes from checked data, never the user's own, and its output is read back as
plain data. References (`${another.key}`) are resolved here, with a limit, so that no OmegaConf resolver runs.
"""

from __future__ import annotations

import copy
import functools
import itertools
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from multigen.errors import RecipeError
from multigen.recipe.composed import Composed
from multigen.recipe.overrides import COMMAND_LINE, Override, parse_overrides
from multigen.recipe.places import PLACES
from multigen.recipe.reader import Source
from multigen.recipe.students import overlay


def compose(layers: list[Source], overrides: Sequence[str] = ()) -> Composed:
    """Merge recipe files, in order, and the overrides. References are resolved."""
    changes = parse_overrides(overrides)
    layers = _with_student(layers, changes)
    _drop_former_arguments(layers, changes)
    # A single file without overrides needs no composing: run folders and weights load without importing Hydra.
    data = by_hydra(layers, changes) if changes or len(layers) > 1 else layers[0].data
    origins = {key: f"{s.shown}:{line}" for s in layers for key, line in s.lines.items()}
    for change in changes:
        origins |= dict.fromkeys([change.key, *change.leaves], COMMAND_LINE)
        # Sections that are in no file come from the override.
        for section in itertools.accumulate(change.key.split(".")[:-1], "{}.{}".format):
            origins.setdefault(section, COMMAND_LINE)
    return Composed(data, origins, layers[-1].shown).resolved()


def _with_student(layers: list[Source], changes: Sequence[Override]) -> list[Source]:
    """Put how a student samples below what asks for it: the override `fast`, or the recipe file that extends another.

    A recipe that stands alone says itself how it samples. RecipeError for a student that is not there.
    """
    asked = [change.value for change in changes if change.key == "fast" and change.kind != "delete"]
    said = [k for k, layer in enumerate(layers) if k and "fast" in layer.data]
    place = len(layers) if asked else said[-1] if said else 0
    fast = asked[-1] if asked else layers[place].data.get("fast")
    if asked and fast is False and any(layer.data.get("fast") for layer in layers):
        raise RecipeError(
            f"{COMMAND_LINE}: fast: false is not allowed: the recipe samples as its student does. Take its teacher's."
        )
    if not isinstance(fast, bool | str) or not fast or not (asked or said):
        return layers  # another type is refused where all values are
    named = [layer.data["weights"] for layer in layers if "weights" in layer.data]
    named += [change.value for change in changes if change.key == "weights"]
    how = overlay(str(named[-1]) if named and named[-1] is not None else None, fast)
    return [*layers[:place], how, *layers[place:]]


def by_hydra(layers: Sequence[Source], changes: Sequence[Override]) -> dict[str, Any]:
    """Merge checked files, in order, then the overrides, with Hydra. Returns plain data, unresolved."""
    texts = tuple(json.dumps(layer.data) for layer in layers)  # JSON is YAML that every loader reads alike
    place = COMMAND_LINE if changes else layers[-1].shown
    return copy.deepcopy(_merged(texts, tuple(change.text for change in changes), place))


@functools.lru_cache(maxsize=128)
def _merged(layers: tuple[str, ...], changes: tuple[str, ...], place: str) -> dict[str, Any]:
    """As `by_hydra`, of texts. A command composes the same recipe several times, and Hydra takes 0.1 s for it."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    with tempfile.TemporaryDirectory(prefix="multigen-") as folder, _fresh_hydra():
        for number, layer in enumerate(layers):
            Path(folder, f"layer_{number}.yaml").write_text(layer, encoding="utf-8")
        names = [f"layer_{number}" for number in range(len(layers))]
        Path(folder, "whole.yaml").write_text(json.dumps({"defaults": [*names, "_self_"]}), encoding="utf-8")
        try:
            with initialize_config_dir(folder, job_name="multigen", version_base="1.3"):
                config = hydra_compose("whole", list(changes))
            data = OmegaConf.to_container(config, resolve=False)
        except (HydraException, OmegaConfBaseException) as error:
            reason = str(error.__cause__ or error).splitlines()[0].strip()
            raise RecipeError(f"{place}: the recipe cannot be composed: {reason}") from None
    assert isinstance(data, dict)
    return {str(key): value for key, value in data.items()}


@contextmanager
def _fresh_hydra() -> Iterator[None]:
    """Set Hydra's global instance (that of a sweep's job, or the caller's) aside inside the block."""
    from hydra.core.global_hydra import GlobalHydra

    kept = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        yield
    finally:  # composing replaces the instance itself
        GlobalHydra.instance().hydra = kept


def _drop_former_arguments(layers: list[Source], changes: list[Override]) -> None:
    """Drop a part's arguments in earlier files where a later file or an override names another part."""
    leaves = {k: v for c in changes if c.kind != "delete" for k, v in c.leaves.items()}
    for place in PLACES:
        before: list[dict[str, Any]] = []
        name = None
        for layer in layers:
            part = _at(layer.data, place)
            if not isinstance(part, dict):
                continue
            if "name" in part and part["name"] != name:
                name = part["name"]
                _clear(before)
            before.append(part)
        if f"{place}.name" in leaves and leaves[f"{place}.name"] != name:
            _clear(before)


def _clear(parts: list[dict[str, Any]]) -> None:
    for part in parts:
        for key in [k for k in part if k != "name"]:
            del part[key]


def _at(data: Any, place: str) -> Any:
    for key in place.split("."):
        data = data.get(key) if isinstance(data, dict) else None
    return data
