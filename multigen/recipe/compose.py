"""From files and overrides to one plain mapping, by Hydra's compose API.

Hydra is given files that this module writes from checked data, never the user's own files, and its output is read
back as plain data. References (`${another.key}`) are resolved here, with a limit, so that no OmegaConf resolver runs.
"""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from multigen.errors import RecipeError, message
from multigen.recipe.safety import REFERENCE, check_key, check_text, check_top_key, check_value
from multigen.recipe.source import MAX_NODES, MAX_TEXT, Source

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

COMMAND_LINE = "command line"
# Where parts stand in a recipe, and of which kind they are.
PLACES: Mapping[str, str] = {
    "modality": "modality",
    "data": "dataset",
    "codec": "codec",
    "backbone": "backbone",
    "schedule": "schedule",
    "prediction": "prediction",
    "conditioner": "conditioner",
    "timesteps": "timesteps",
    "sampler": "sampler",
    "guide": "guide",
    "train.noise_level": "noise_level",
    "train.objective": "objective",
    "train.critic": "critic",
    "train.adapter": "adapter",
    "evaluate.feature": "feature",
    "evaluate.other": "dataset",
}
# Where lists of parts stand.
LISTS: Mapping[str, str] = {"evaluate.metrics": "metric", "modifiers": "modifier"}
_MAX_REFERENCES = 50  # that lead to one another


@dataclass(frozen=True)
class Change:
    """One override: what it sets (or deletes) where, and its text for Hydra."""

    kind: Literal["set", "add", "delete"]
    key: str
    value: Any
    text: str


@dataclass(frozen=True)
class Composed:
    """The whole recipe as plain data, and where each key came from ("file:line" or "command line")."""

    data: dict[str, Any]
    origins: dict[str, str]
    shown: str

    def error(self, text: str, place: str | None = None) -> RecipeError:
        """RecipeError with the file and line of `place` in front, or of the place that the text begins with."""
        keys = (text.split(":")[0] if place is None else place).split(".")
        while keys and ".".join(keys) not in self.origins:
            keys.pop()
        return RecipeError(f"{self.origins['.'.join(keys)] if keys else self.shown}: {text}")


def compose(layers: list[Source], overrides: Sequence[str] = ()) -> Composed:
    """Recipe files in the order of their merging and the overrides, as one; references resolved."""
    changes = parse_overrides(overrides)
    _drop_old_arguments(layers, changes)
    # One file and no overrides leave nothing to compose: run folders and weights load without importing Hydra.
    data = by_hydra(layers, changes) if changes or len(layers) > 1 else layers[0].data
    origins = {key: f"{s.shown}:{line}" for s in layers for key, line in s.lines.items()}
    for change in changes:
        origins |= dict.fromkeys([change.key, *_leaves(change.key, change.value)], COMMAND_LINE)
        # Sections that stand in no file are made by the override.
        for section in itertools.accumulate(change.key.split(".")[:-1], "{}.{}".format):
            origins.setdefault(section, COMMAND_LINE)
    composed = Composed(data, origins, layers[-1].shown)
    return Composed(_Resolver(composed).mapping(), origins, composed.shown)


# --- overrides --------------------------------------------------------------------------------------------------


def parse_overrides(overrides: Sequence[str]) -> list[Change]:
    """Overrides as Hydra's grammar reads them (`key=value`, `+key=value`, `~key`), checked as files are."""
    return [_parse(text) for text in overrides]


def parse_text(text: str) -> Override:
    """One override by Hydra's own grammar, unchecked; RecipeError where it is none."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(text)
    except (HydraException, ValueError, RecursionError) as error:  # too many digits; nested too deep
        reason = " ".join(str(error.__cause__ or error).split())
        raise RecipeError(
            f"{COMMAND_LINE}: {text}: this is no override. Write key=value, +key=value or ~key. ({reason})"
        ) from None


def _parse(text: str) -> Change:
    from hydra.core.override_parser.types import OverrideType

    at = f"{COMMAND_LINE}: {text}"
    check_text(text, at)
    if text.startswith("launch="):  # the short form of what is chosen most
        text = f"launch.name={text.removeprefix('launch=')}"
    override = parse_text(text)
    key = check_override_key(override.key_or_group, override.package, at)
    if override.is_sweep_override():
        raise RecipeError(f"{at}: several values make a sweep: add -m, or quote the value.")
    value = override.value()
    check_value(value, key, at)
    if override.type is OverrideType.DEL:
        return Change("delete", key, None, text)
    # A plain `key=value` may set what the recipe does not state; our own validation, not Hydra's, judges it.
    plain = override.type is OverrideType.CHANGE
    return Change(
        "add" if override.type is OverrideType.ADD else "set", key, value, f"++{text}" if plain else text
    )


def check_override_key(key: str, package: str | None, at: str) -> str:
    """The key of an override; RecipeError for Hydra's own settings, config groups and packages."""
    if key.startswith(("hydra.", "hydra/")):
        raise RecipeError(f"{at}: Hydra's own settings serve sweeps only: add -m.")
    if package is not None or "/" in key or "@" in key:
        raise RecipeError(f"{at}: config groups and packages are no part of a recipe. Write key.key=value.")
    segments = [check_key(segment, at) for segment in key.split(".")]
    check_top_key(segments[0], at)
    if segments[0] == "defaults":
        raise RecipeError(f"{at}: `defaults` is set in a file, not on the command line.")
    return key


def _leaves(key: str, value: Any) -> dict[str, Any]:
    """Dotted leaves of an override's value: sampler={name: heun} sets sampler.name."""
    if not isinstance(value, dict):
        return {key: value}
    return {k: v for name, child in value.items() for k, v in _leaves(f"{key}.{name}", child).items()}


# --- names drop arguments ---------------------------------------------------------------------------------------


def _drop_old_arguments(layers: list[Source], changes: list[Change]) -> None:
    """Where a later file or the command line names another part, earlier files' arguments of it go."""
    leaves = {k: v for c in changes if c.kind != "delete" for k, v in _leaves(c.key, c.value).items()}
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


# --- Hydra ------------------------------------------------------------------------------------------------------


@contextmanager
def _fresh_hydra() -> Iterator[None]:
    """Hydra's global instance set aside (a sweep's job, or the caller's own) and put back afterwards."""
    from hydra.core.global_hydra import GlobalHydra

    kept = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        yield
    finally:  # composing replaces the instance itself
        GlobalHydra.instance().hydra = kept


def by_hydra(layers: Sequence[Source], changes: Sequence[Change]) -> dict[str, Any]:
    """Checked files, merged in order, then the overrides: Hydra's compose, its output as plain data, unresolved."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    with tempfile.TemporaryDirectory(prefix="multigen-") as folder, _fresh_hydra():
        for number, layer in enumerate(layers):
            # JSON is YAML that every loader reads alike.
            Path(folder, f"layer_{number}.yaml").write_text(json.dumps(layer.data), encoding="utf-8")
        names = [f"layer_{number}" for number in range(len(layers))]
        Path(folder, "whole.yaml").write_text(json.dumps({"defaults": [*names, "_self_"]}), encoding="utf-8")
        try:
            with initialize_config_dir(folder, job_name="multigen", version_base="1.3"):
                config = hydra_compose("whole", [change.text for change in changes])
            data = OmegaConf.to_container(config, resolve=False)
        except (HydraException, OmegaConfBaseException) as error:
            reason = str(error.__cause__ or error).splitlines()[0].strip()
            place = COMMAND_LINE if changes else layers[-1].shown
            raise RecipeError(f"{place}: the recipe cannot be composed: {reason}") from None
    assert isinstance(data, dict)
    return {str(key): value for key, value in data.items()}


# --- references -------------------------------------------------------------------------------------------------


class _Resolver:
    """`${another.key}`: the whole value where it stands alone, its text where it stands in a text."""

    def __init__(self, composed: Composed) -> None:
        self.composed = composed
        self.nodes = self.characters = 0

    def mapping(self) -> dict[str, Any]:
        return {key: self._value(value, key, ()) for key, value in self.composed.data.items()}

    def _value(self, value: Any, place: str, via: tuple[str, ...]) -> Any:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            raise self.composed.error(f"{place}: references unfold to more than {MAX_NODES:,} values.")
        if isinstance(value, dict):
            return {k: self._value(v, f"{place}.{k}", via) for k, v in value.items()}
        if isinstance(value, list):
            return [self._value(v, f"{place}.{i}", via) for i, v in enumerate(value)]
        return self._text(value, place, via) if isinstance(value, str) else value

    def _text(self, text: str, place: str, via: tuple[str, ...]) -> Any:
        self.characters += len(text)
        if self.characters > MAX_TEXT:
            raise self.composed.error(f"{place}: references unfold to more than {MAX_TEXT:,} characters.")
        alone = REFERENCE.fullmatch(text)
        if alone:
            return self._look(alone[1], place, via)
        joined = REFERENCE.sub(lambda match: self._word(match[1], place, via), text)
        self.characters += len(joined)
        return joined

    def _word(self, path: str, place: str, via: tuple[str, ...]) -> str:
        value = self._look(path, place, via)
        if isinstance(value, dict | list):
            raise self.composed.error(
                f"{place}: ${{{path}}} is not a single value, so it cannot stand in a text."
            )
        return value if isinstance(value, str) else json.dumps(value)

    def _look(self, path: str, place: str, via: tuple[str, ...]) -> Any:
        if path in via or len(via) > _MAX_REFERENCES:
            raise self.composed.error(f"{place}: ${{{path}}} leads back to itself.")
        via = (*via, path)
        value: Any = self.composed.data
        keys = path.split(".")
        for depth, key in enumerate(keys):
            if depth and isinstance(value, str):  # on the way through another reference
                value = self._text(value, place, via)
            if isinstance(value, list) and key.isdigit() and int(key) < len(value):
                value = value[int(key)]
            elif isinstance(value, dict) and key in value:
                value = value[key]
            else:
                known = value if isinstance(value, dict) else []
                parent = ".".join(keys[:depth])
                raise self.composed.error(
                    message(place, f"${{{path}}}", [f"{parent}.{k}".lstrip(".") for k in known])
                )
        return self._value(value, path, via)
