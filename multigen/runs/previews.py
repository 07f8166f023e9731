"""Previews of a training: what the averaged weights make at a step, in `previews/` of the run folder.

step-00000500.png      a picture of all
step-00000500-0.mp3    each medium that sounds or moves
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from multigen.modalities.media import Media
from multigen.provenance.marking import mark_picture
from multigen.storage.files import atomic, write_json

FOLDER = "previews"
_SMALL = {
    "audio": ".mp3",
    "video": ".webp",
}  # instead of a modality's usual format, to keep a long training small
_LATEST = 4  # pictures that a report shows


def write_previews(media: Sequence[Media], folder: Path, step: int) -> None:
    """Write the previews of a step."""
    if not media:
        return
    modality, stem = media[0].modality, folder / FOLDER / f"step-{step:08d}"
    with atomic(stem.with_suffix(".png")) as temporary:
        modality.preview([m.tensor for m in media]).save(temporary)
        if (made := media[0].made) is not None:
            mark_picture(temporary, made)
    if modality.suffix == ".png":
        return
    suffix = _SMALL.get(modality.name, modality.suffix)
    rows = []
    for number, medium in enumerate(media):
        path = medium.save(stem.with_name(f"{stem.name}-{number}{suffix}"))
        rows.append({"file": f"{FOLDER}/{path.name}", "prompt": medium.prompt, "seed": medium.seed})
    write_json(stem.with_suffix(".json"), rows)


def pictures(folder: Path) -> dict[str, Path]:
    """The latest pictures, oldest first, by the name of their step."""
    return {p.stem: p for p in sorted((folder / FOLDER).glob("step-*.png"))[-_LATEST:]}


def playable(folder: Path) -> list[dict[str, Any]]:
    """The rows ("file", "prompt", "seed") of the latest playable media."""
    for path in sorted((folder / FOLDER).glob("step-*.json"), reverse=True):
        try:
            rows = json.loads(path.read_text(encoding="utf-8"))
            found = [
                {"file": f"{FOLDER}/{Path(row['file']).name}", "prompt": row["prompt"], "seed": row["seed"]}
                for row in rows
            ]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        return [row for row in found if (folder / row["file"]).is_file()]
    return []
