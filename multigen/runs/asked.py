"""What a command asks for, as plain data: two commands that ask for the same make the same media."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from multigen.generation.declared import media_options
from multigen.generation.request import EditRequest, Request
from multigen.modalities.media import Media
from multigen.model.model import Model
from multigen.recipe.dump import to_data
from multigen.registry import Part
from multigen.storage.files import sha256

# Sections of a recipe that media follow from, beside the weights.
_SECTIONS = (
    "modality", "codec", "conditioner", "backbone", "schedule", "prediction", "timesteps", "sampler", "guide",
    "modifiers", "masked", "cascade", "fast", "loras", "adapters", "sample", "watermark", "safety",
    "provenance",
)  # fmt: skip
# Settings of `sample` that media do not follow from, or that the requests say.
_LEFT = ("batch", "n", "prompts")
STAGES = "stages"  # in a manifest: the models that came before, in a cascade
_ROWS = 12  # how many differences a message lists


def asked(
    model: Model, command: str, requests: Sequence[Request], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """The settings of a command that makes media with a model, flat: dotted key -> value.

    command   "sample", "blend", "run" and so on
    requests  what is made; what they have in common is said once
    settings  the rest: n, seed
    """
    recipe = to_data(model.recipe)
    recipe["sample"] = {k: v for k, v in recipe["sample"].items() if k not in _LEFT}
    found: dict[str, Any] = {"command": command, "weights": model.known_hash(), **settings}
    if any(request.edit is None for request in requests):
        found |= stage_facts(model)
    for section in _SECTIONS:
        if section in recipe:
            found |= _flat(section, recipe[section])
    media = media_options(model.recipe)
    rows = [_fields(request, media) for request in requests]
    for key in sorted({key for row in rows for key in row}):
        values = [row.get(key) for row in rows]
        found[key] = values[0] if all(value == values[0] for value in values) else values
    found["requests"] = len(rows)
    return json.loads(json.dumps(found))


def stage_facts(model: Model) -> dict[str, Any]:
    """The stages before a model, the first of them first, with their weights; empty where there are none."""
    rows: list[dict[str, str]] = []
    stage = model.former
    while stage is not None:
        rows.insert(0, {"recipe": stage.recipe.name, "weights_hash": stage.weights_hash()})
        stage = stage.former
    return {STAGES: rows} if rows else {}


def differences(there: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Where two commands differ, each as "key: there -> now"."""
    keys = [key for key in {**now, **there} if there.get(key) != now.get(key)]
    return [f"{key}: {shown(there.get(key))} -> {shown(now.get(key))}" for key in keys]


def listed(rows: Sequence[str]) -> str:
    """Differences as a part of a sentence."""
    more = f"; and {len(rows) - _ROWS} more" if len(rows) > _ROWS else ""
    return "; ".join(rows[:_ROWS]) + more


def shown(value: Any) -> str:
    """A value in a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _flat(key: str, value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping) and value:
        return {k: v for name, child in value.items() for k, v in _flat(f"{key}.{name}", child).items()}
    return {key: value}


def _fields(request: Request, media: Collection[str]) -> dict[str, Any]:
    """What a request says. `media`: its options that are media."""
    empty = Request()
    names = [f.name for f in dataclasses.fields(Request) if f.name not in ("options", "edit", "images")]
    found = {k: v for k in names if (v := getattr(request, k)) != getattr(empty, k)}
    found |= {"prompt": request.prompt}
    found |= {name: _plain(value, file=name in media) for name, value in request.options.items()}
    if request.images:
        found["images"] = [_plain(picture, file=True) for picture in request.images]
    return found | ({} if request.edit is None else _edit_fields(request.edit))


def _edit_fields(edit: EditRequest) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in edit.given.items():
        key = "input" if name == "media" else name
        found[key] = _plain(value, file=name in ("media", "mask", "last"))
    return found


def _plain(value: Any, *, file: bool) -> Any:
    """A value as plain data: a file as its name and content, a tensor as its content."""
    if isinstance(value, Media):
        value = value.tensor
    if isinstance(value, Tensor):
        digest = hashlib.sha256(value.detach().cpu().contiguous().numpy().tobytes()).hexdigest()
        return f"tensor {list(value.shape)} {digest[:16]}"
    if isinstance(value, Part):
        return {"name": value.name, **value.args}
    if file and isinstance(value, str | Path):
        path = Path(value)
        return f"{path.name} (sha256 {sha256(path)[:16]})" if path.is_file() else str(value)
    return str(value) if isinstance(value, Path) else value
