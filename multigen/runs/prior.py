"""Media that a model makes itself before its training, once, and keeps in the run folder.

Those of a class for prior preservation, and those of what it knows for a training that shall not forget it.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from multigen import registry
from multigen.datasets import Dataset
from multigen.generation.request import Request
from multigen.model.model import Model
from multigen.registry import Part
from multigen.storage.files import write_text
from multigen.training import ranks

log = logging.getLogger(__name__)

FOLDER = "prior"
_MADE = "made.json"  # what they were made from
_CAPTIONS = "metadata.jsonl"


def class_media(model: Model, folder: Path) -> Dataset | None:
    """The class's media of a training in a run folder; what is missing of them is made, each from a seed of its own.

    The model has the weights that the training begins from. None where the recipe asks for none.
    """
    prior = model.recipe.train.prior
    if prior is None:
        return None
    facts = {"prompt": prior.prompt, "seed": model.recipe.seed}
    made = [prior.prompt] * prior.count
    return own_media(model, folder / FOLDER, made, facts, "train.prior")


def own_media(
    model: Model,
    place: Path,
    prompts: Sequence[str],
    facts: Mapping[str, Any],
    where: str,
    *,
    told: bool = False,
) -> Dataset:
    """Media that the model makes of `prompts`, in a folder; what is missing of them is made.

    Medium k has the recipe's seed + k, so that it is the same however often the making is stopped.

    facts  what they are made from; media of other facts that stand there are removed
    told   their prompts are their captions
    """
    with ranks.in_turn():
        if ranks.first():
            _make(model, place, prompts, facts, where)
            if told:
                rows = [{"file_name": _name(model, k), "text": one} for k, one in enumerate(prompts)]
                text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
                write_text(place / _CAPTIONS, text)
    captions = "metadata" if told else "none"
    part = Part("folder", {"path": str(place), "captions": captions, "labels": "none", "held_out": 0.0})
    return registry.build("dataset", part, where=where, given={"modality": model.modality})


def _name(model: Model, number: int) -> str:
    return f"{number:05d}{model.modality.suffix}"


def _make(model: Model, place: Path, prompts: Sequence[str], facts: Mapping[str, Any], where: str) -> None:
    """Make what is missing; all of it where other media stand there. What is there beyond the prompts is removed."""
    said = json.dumps(dict(facts))
    if place.exists() and (not (place / _MADE).is_file() or (place / _MADE).read_text("utf-8") != said):
        shutil.rmtree(place)
    place.mkdir(parents=True, exist_ok=True)
    write_text(place / _MADE, said)
    wanted = {_name(model, k) for k in range(len(prompts))}
    for path in place.glob(f"*{model.modality.suffix}"):
        if path.name not in wanted:  # of a larger number, which was asked for before
            path.unlink()
    missing = [k for k in range(len(prompts)) if not (place / _name(model, k)).is_file()]
    if not missing:
        return
    some = list(dict.fromkeys(prompts))
    from_what = repr(some[0]) if len(some) == 1 else f"{len(some)} prompts"
    log.info(
        "%s: %s: the model makes %d media first, from %s", model.recipe.name, where, len(missing), from_what
    )
    asked = [Request(prompts[k], seed=model.recipe.seed + k) for k in missing]
    for k, media in zip(missing, model.stream(asked), strict=True):
        model.modality.write(media.tensor, place / _name(model, k))
