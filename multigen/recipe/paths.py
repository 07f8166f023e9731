"""Paths in a recipe: made absolute for a run folder, so that it runs from anywhere; removed for publication."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

from multigen.recipe.home import expanded_path as expanded_path
from multigen.recipe.schema import Recipe, Train, WeightedAdapter
from multigen.recipe.sections import Safety
from multigen.registry import Part
from multigen.storage.hub_id import is_id

PATHS = ("path", "config", "soundfont", "motion", "controls")  # arguments of parts that are paths
_WEIGHTS = ("vocoder", "weights")  # arguments of parts that are weights, by path or by a word
WEIGHTS = "weights.safetensors"  # file in a run folder, and in each folder of shipped weights
RECIPE = "recipe.yaml"  # file in a run folder


def expanded(recipe: Recipe) -> Recipe:
    """The recipe with `~` at the beginning of its paths as the home folder."""

    def part(old: Part) -> Part:
        paths = {k: expanded_path(v) for k, v in old.args.items() if isinstance(v, str)}
        return Part(old.name, {**old.args, **paths}) if paths else old

    def path(text: str | None) -> str | None:
        return None if text is None else expanded_path(text)

    def parts(section: Any) -> Any:
        """The section with the paths in all of its parts."""
        values = {f.name: getattr(section, f.name) for f in dataclasses.fields(section)}
        found = {k: part(v) for k, v in values.items() if isinstance(v, Part)}
        found |= {
            k: tuple(part(one) if isinstance(one, Part) else one for one in v)
            for k, v in values.items()
            if isinstance(v, tuple)
        }
        return dataclasses.replace(section, **found)

    whole = parts(recipe)
    return dataclasses.replace(
        whole,
        train=_with_sources(
            dataclasses.replace(parts(recipe.train), init=path(recipe.train.init)), expanded_path, part
        ),
        evaluate=parts(recipe.evaluate),
        safety=dataclasses.replace(parts(recipe.safety), log=path(recipe.safety.log)),
        weights=path(recipe.weights),
        fast=expanded_path(recipe.fast) if isinstance(recipe.fast, str) else recipe.fast,
        loras=tuple(dataclasses.replace(one, path=expanded_path(one.path)) for one in recipe.loras),
        adapters=_with_paths(recipe.adapters, expanded_path),
        stages=tuple(map(expanded_path, recipe.stages)),
    )


def _with_paths(
    adapters: tuple[WeightedAdapter, ...], path: Callable[[str], str]
) -> tuple[WeightedAdapter, ...]:
    """The adapters with other paths each."""

    def optional(text: str | None) -> str | None:
        return None if text is None else path(text)

    return tuple(
        dataclasses.replace(
            one, path=path(one.path), image=optional(one.image), encoder=optional(one.encoder)
        )
        for one in adapters
    )


def shipped_weights() -> dict[str, Path]:
    """Return the weights in the package, by name."""
    folder = Path(str(resources.files("multigen"))) / "weights"
    return {p.parent.name: p for p in sorted(folder.glob(f"*/{WEIGHTS}"))}


def absolute(recipe: Recipe) -> Recipe:
    """Make every path absolute. Names of shipped weights, ids on the hub and missing files stay as they are."""

    def part(old: Part) -> Part:
        given = {k: v for k, v in old.args.items() if k in PATHS and isinstance(v, str)}
        paths = {k: v if is_id(v) else _full(v) for k, v in given.items()}
        paths |= {k: str(weights(v)) for k, v in old.args.items() if k in _WEIGHTS and isinstance(v, str)}
        return Part(old.name, {**old.args, **paths})

    def weights(source: str | None) -> str | None:
        if source is None or source in shipped_weights() or not Path(source).expanduser().exists():
            return source  # messages name a missing file as it was given
        return _full(source)

    return dataclasses.replace(
        _changed(recipe, part),
        train=_with_sources(
            dataclasses.replace(recipe.train, init=weights(recipe.train.init)), weights, part
        ),
        weights=weights(recipe.weights),
        fast=str(weights(recipe.fast)) if isinstance(recipe.fast, str) else recipe.fast,
        loras=tuple(dataclasses.replace(one, path=str(weights(one.path))) for one in recipe.loras),
        adapters=_with_paths(recipe.adapters, lambda path: str(weights(path))),
        safety=_safety(recipe.safety, part),
        stages=tuple(str(weights(one)) for one in recipe.stages),
    )


def public(recipe: Recipe) -> Recipe:
    """Return the recipe for published weights: only the last part of paths, and no `train.init`, weights or LoRAs."""

    def part(old: Part) -> Part:
        paths = {k: v for k, v in old.args.items() if k in (*PATHS, *_WEIGHTS) and isinstance(v, str)}
        names = {k: v if is_id(v) else Path(v).name for k, v in paths.items()}
        return Part(old.name, {**old.args, **names})

    return dataclasses.replace(
        _changed(recipe, part),
        train=_with_sources(dataclasses.replace(recipe.train, init=None), lambda path: Path(path).name, part),
        weights=None,
        fast=False,
        loras=(),
        adapters=(),
        safety=Safety(),
        stages=tuple(Path(one).name for one in recipe.stages),
    )


def _safety(safety: Safety, part: Callable[[Part], Part]) -> Safety:
    """Filters that find their files from anywhere."""
    log = None if safety.log is None else _full(safety.log)
    return dataclasses.replace(safety, filters=tuple(map(part, safety.filters)), log=log)


def _with_sources(train: Train, path: Callable[[str], str | None], part: Callable[[Part], Part]) -> Train:
    """Settings of a training with the path of its teacher and the data of its replay as functions give them."""
    if train.replay is not None and train.replay.data is not None:
        train = dataclasses.replace(
            train, replay=dataclasses.replace(train.replay, data=part(train.replay.data))
        )
    if train.distill is None:
        return train
    distill = dataclasses.replace(train.distill, teacher=str(path(train.distill.teacher)))
    return dataclasses.replace(train, distill=distill)


def _changed(recipe: Recipe, part: Callable[[Part], Part]) -> Recipe:
    """Apply a function to the parts of a recipe that may contain paths."""
    places = ["data", "codec", "conditioner"] + (["backbone"] if recipe.trains == "denoiser" else [])
    places += ["cascade"] if recipe.cascade is not None else []
    return dataclasses.replace(recipe, **{place: part(getattr(recipe, place)) for place in places})


def _full(path: str) -> str:
    return str(Path(path).expanduser().resolve())
