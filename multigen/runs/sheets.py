"""Sprite sheets on disk: made of pictures or of a clip's frames, and cut into pictures to train on."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from multigen.errors import MultigenError
from multigen.modalities import Limits
from multigen.modalities.animation import animation_frames
from multigen.modalities.frames import PICTURES
from multigen.modalities.guard import guarded
from multigen.modalities.image import Image
from multigen.modalities.raster import from_levels, to_channels
from multigen.modalities.sprite_sheet import Cell, arranged, cut, from_json, grid_cells, is_empty, to_json
from multigen.modalities.video import Video
from multigen.recipe.manifest import FILE as MANIFEST
from multigen.recipe.manifest import inside
from multigen.recipe.manifest import read as read_manifest
from multigen.storage.claim import check_folder, claimed
from multigen.storage.files import write_json, write_text
from multigen.storage.lock import is_free

_MOST_JSON = 16_000_000  # bytes
_RGBA = Image(channels=4)


class Pictures(NamedTuple):
    """Pictures [4, H, W] with their names; of a clip ms for each frame."""

    media: Sequence[Tensor]
    names: Sequence[str]
    durations: Sequence[float] | None = None


def make_sheet(source: Path, out: Path, *, columns: int | None = None, gap: int = 0) -> Path:
    """Write the pictures of a folder, or the frames of a clip, as the sheet `out` and its cells as JSON beside it.

    MultigenError for pictures of several sizes, and for none.
    """
    for path in (out, out.with_suffix(".json")):
        if path.exists():
            raise MultigenError(f"{path}: already exists; give another name")
    check_folder(out.parent, str(out))
    found = _of_folder(source) if source.is_dir() else _of_clip(source)
    shapes = {tuple(m.shape[1:]): name for m, name in zip(found.media, found.names, strict=True)}
    if len(shapes) > 1:
        (a, one), (b, other), *_ = shapes.items()
        raise MultigenError(
            f"{source}: {one} has {a[1]} x {a[0]} pixels and {other} has {b[1]} x {b[0]}; a sheet has cells of one size"
        )
    sheet, cells = arranged(
        found.media, _numbered(found.names), columns=columns, gap=gap, durations=found.durations
    )
    _RGBA.write(sheet, out)
    write_json(out.with_suffix(".json"), to_json(cells, out.name, (sheet.shape[-2], sheet.shape[-1])))
    return out


def cut_sheet(
    source: Path,
    out: Path,
    *,
    cell: tuple[int, int] | None = None,
    grid: tuple[int, int] | None = None,
    gap: int = 0,
) -> int:
    """Write each cell of a sheet that shows something to the folder `out`, with captions; how many there are.

    cell, grid  their size or how many, (height, width); None: the JSON beside the sheet says where they lie
    """
    sheet = guarded(source, _RGBA.read, source)
    sides = (sheet.shape[-2], sheet.shape[-1])
    named = cell is None and grid is None
    cells = _beside(source, sides) if named else grid_cells(sides, cell=cell, grid=grid, gap=gap)
    shown = [(one, part) for one in cells if not is_empty(part := cut(sheet, one))]
    if not shown:
        raise MultigenError(f"{source}: all of its {len(cells)} cells are clear")
    if not is_free(out):
        raise MultigenError(f"{out}: is not empty; give a new folder")
    with claimed(out) as claim:
        claim.keep()
        lines, names = [], {one.name for one in cells}
        for number, (one, part) in enumerate(shown):
            text = _caption(one.name, names) if named else ""
            name = f"{number:04d}_{_slug(one.name)}.png"
            _RGBA.write(part, claim.folder / name)
            lines.append(json.dumps({"file_name": name, "text": text}, ensure_ascii=False))
        if named:
            write_text(claim.folder / "metadata.jsonl", "\n".join(lines) + "\n")
    return len(shown)


def _of_folder(folder: Path) -> Pictures:
    """The pictures of a `sample` or `edit` in their order, with their prompts; or those of any folder by name."""
    manifest = read_manifest(folder)
    if manifest is not None:
        rows = [(inside(folder, str(row["file"])), str(row.get("prompt") or "")) for row in manifest["files"]]
        files = [(path, said or path.stem) for path, said in rows if path is not None]
    else:
        files = [
            (path, path.stem) for path in sorted(folder.iterdir()) if path.suffix.lower() in Image.suffixes
        ]
    if not files:
        raise MultigenError(f"{folder}: no pictures in it")
    media = [to_channels(guarded(path, _RGBA.read, path), 4) for path, _ in files]
    return Pictures(media, [name for _, name in files])


def _of_clip(path: Path) -> Pictures:
    """The frames of a video or an animation."""
    if not path.is_file():
        raise MultigenError(
            f"{path}: no such file or folder; give pictures in a folder ({MANIFEST} beside), or a clip"
        )
    media, durations = guarded(path, _read_clip, path)
    frames = [to_channels(media[:, k], 4) for k in range(media.shape[1])]
    return Pictures(frames, [f"{path.stem} {k}" for k in range(len(frames))], durations)


def _read_clip(path: Path) -> tuple[Tensor, list[float]]:
    """All frames [C, T, H, W], those of animated pictures with their alpha, and ms for each."""
    if path.suffix.lower() in PICTURES:
        shown = list(animation_frames(path, Limits()))
        levels = np.stack([frame.levels() for frame in shown])
        return from_levels(levels), [round(frame.duration * 1000, 3) for frame in shown]
    clip = Video().native(path)
    media = clip.read(path)
    return media, [round(1000 / clip.fps, 3)] * media.shape[1]


def _beside(source: Path, sides: tuple[int, int]) -> list[Cell]:
    """The cells that the JSON of a sheet names."""
    path = source.with_suffix(".json")
    if not path.is_file():
        raise MultigenError(
            f"{source}: no {path.name} beside it; say --cell WIDTHxHEIGHT or --grid COLUMNSxROWS"
        )
    if path.stat().st_size > _MOST_JSON:
        raise MultigenError(f"{path}: {path.stat().st_size:,} bytes; allowed: {_MOST_JSON:,}")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise MultigenError(f"{path}: not UTF-8 text") from None
    return from_json(text, str(path), sides)


def _numbered(names: Sequence[str]) -> list[str]:
    """Names of frames, each once: those that repeat are numbered from the second on (`red knight`, `red knight 2`)."""
    taken, counts, made = set(names), dict[str, int](), list[str]()
    for name in names:
        count = counts.get(name, 0) + 1
        while count > 1 and f"{name} {count}" in taken:
            count += 1
        counts[name] = count
        made.append(name if count == 1 else f"{name} {count}")
        taken.add(made[-1])
    return made


def _caption(name: str, names: Collection[str]) -> str:
    """The caption of a frame: its name in words, without the number of one that repeats another of `names`."""
    found = re.fullmatch(r"(.*) ([2-9]|[1-9]\d+)", name, flags=re.DOTALL)
    return _words(found[1] if found and found[1] in names else name)


def _words(name: str) -> str:
    """The name of a frame as a caption: `hero/red_knight.png` -> `red knight`."""
    stem = re.split(r"[/\\]", name)[-1]
    stem = re.sub(r"\.(png|webp|jpg|aseprite|ase)$", "", stem, flags=re.IGNORECASE)
    return " ".join(re.sub(r"[_\-.]+", " ", stem).split())


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", _words(name)).strip("-")[:48] or "cell"
