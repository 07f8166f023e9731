"""The report of a run folder: report.html, from what the folder holds.

recipe.yaml · log.jsonl · checkpoints/ · weights.safetensors · previews/ · media/ · manifest.json · preview.png ·
evaluation.json · trajectories/ · report.html
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from multigen.errors import MediaError
from multigen.evaluation.groups_picture import GROUPS
from multigen.evaluation.html_report import write_report
from multigen.evaluation.html_report.page import FILE as FILE
from multigen.evaluation.memorisation import PAIRS
from multigen.evaluation.report import read_report
from multigen.evaluation.style import SHEET
from multigen.evaluation.tables import bars, tables
from multigen.model.model import Model
from multigen.recipe.dump import to_yaml
from multigen.recipe.manifest import inside
from multigen.recipe.manifest import read as read_manifest
from multigen.runs import previews
from multigen.training import log as training_log
from multigen.training.heldout import LEVELS

log = logging.getLogger(__name__)

_EMBEDDED = 4 * 1024**2  # bytes: larger sources of edits are linked, not embedded
TRACES = "trajectories"  # folder of the traces that `multigen sample --trajectory` writes
_TRACE_PICTURES = {
    "noisy.png": "what the network saw",
    "clean.png": "x0 as it was predicted then",
    "clip.webp": "both, query by query",
    "attention.png": "attention to words",
}


def report(model: Model, folder: Path, bad: Mapping[str, str], made: str | None = None) -> Path:
    """Write report.html, and tell the log what was made and which file to open.

    bad   media that training could not read, each with the reason
    made  what the command made; by default the media of the folder
    """
    media = _media(model, folder)
    rows = training_log.read(folder)
    found = read_report(folder)
    pictures = previews.pictures(folder)
    if found is not None:
        if "memorisation" in found.facts:
            pictures["closest pairs of a sample and a training item"] = folder / PAIRS
        if "groups" in found.facts:
            pictures["shares of groups, with 95% intervals"] = folder / GROUPS
        if "style" in found.facts:
            pictures["the base model alone, and with what the tuning added, from the same noise"] = (
                folder / SHEET
            )
    path = write_report(
        folder,
        title=model.recipe.name,
        recipe_yaml=to_yaml(model.recipe),
        log=rows,
        media=media,
        bad_media=dict(bad),
        facts=model.facts,
        held_out_by_level=_held_out(rows),
        trained="training loss" if model.recipe.train.huber is None else "training loss, by train.huber",
        tables=None if found is None else tables(found),
        bars=() if found is None else bars(found),
        pictures=pictures,
        guidance=_add_traces(folder, pictures),
        previews=previews.playable(folder),
    )
    log.info("%s. Open %s", f"{len(media)} media in {folder / 'media'}" if made is None else made, path)
    return path


def _media(model: Model, folder: Path) -> list[dict[str, Any]]:
    """The media that the folder's manifest lists, as the report shows them."""
    manifest = read_manifest(folder)
    media, seen = [], dict[str, dict[str, Any]]()
    for entry in manifest["files"] if manifest else []:
        path = inside(folder, entry["file"])
        if path is None:  # a name that leads out of the folder: somebody else's manifest
            continue
        row: dict[str, Any] = dict(entry)
        picture = path.with_suffix(".png")
        if picture != path and picture.is_file():
            row["preview"] = str(picture)
        try:
            medium = model.modality.read(path)
            row |= {"html": model.modality.html(medium), "facts": model.modality.facts(medium)}
        except MediaError as error:
            log.warning("not in the report: %s", error)
        media.append(row | _source(model, folder, entry, seen))
    return media


def _source(
    model: Model, folder: Path, entry: Mapping[str, Any], seen: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """What the report shows of the copy of an edit's source; `seen` has those of before. Large ones are linked.

    What was made for a medium shows that, which may be of another kind than the model's.
    """
    edit, media = entry.get("edit"), entry.get("media")
    name = edit.get("source_file") if isinstance(edit, Mapping) else None
    if name is None and isinstance(media, Mapping):
        others = [one for one in media.values() if isinstance(one, Mapping)]
        return _condition(folder, next((one.get("source_file") for one in others), None))
    path = inside(folder, name) if isinstance(name, str) else None
    if path is None or name is None or not path.is_file():
        return {}
    if name not in seen:
        seen[name] = {"source": name}
        try:
            if path.stat().st_size <= _EMBEDDED:
                seen[name]["source_html"] = model.modality.html(model.modality.read(path))
        except MediaError as error:
            log.warning("not in the report: %s", error)
    return seen[name]


def _condition(folder: Path, name: object) -> dict[str, Any]:
    """The copy of a medium for which another was made."""
    path = inside(folder, name) if isinstance(name, str) else None
    return {} if path is None or not path.is_file() else {"source": name}


def _held_out(rows: Sequence[Mapping[str, Any]]) -> list[tuple[float, float]]:
    """The last held-out loss at each noise level."""
    held_out = [r["held_out"] for r in rows if "held_out" in r]
    known = {str(level) for level in LEVELS}
    return sorted((float(k), v) for k, v in held_out[-1].items() if k in known) if held_out else []


def _add_traces(folder: Path, pictures: dict[str, Path]) -> list[tuple[str, list[tuple[float, float]]]]:
    """Add the pictures of traces; the strength of guidance at each t, by the name of the trace."""
    charts = []
    for path in sorted((folder / TRACES).glob("*.json")):
        for kind, about in _TRACE_PICTURES.items():
            picture = path.with_name(f"{path.stem}-{kind}")
            if picture.is_file():
                pictures[f"trajectory {path.stem}: {about}"] = picture
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            charts.append((path.stem, list(zip(found["times"], found["guidance"], strict=False))))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return charts
