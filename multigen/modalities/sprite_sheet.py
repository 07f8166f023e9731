"""Sprite sheets: many pictures in one, and where each of them lies.

The places are JSON as Aseprite and TexturePacker write it, which game engines read: `frames`, a list or an object by
name, of `{"filename", "frame": {"x", "y", "w", "h"}, "duration"}` with pixels and milliseconds, and `meta`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from multigen.errors import MultigenError

MOST_CELLS = 100_000
_CLEAR = -1 + 1 / 255  # alpha under which nothing shows


@dataclass(frozen=True)
class Cell:
    """One picture of a sheet, in pixels.

    name      of the picture
    duration  ms that it is shown; None: it is no frame
    """

    name: str
    x: int
    y: int
    width: int
    height: int
    duration: float | None = None


def arranged(
    pictures: Sequence[Tensor], names: Sequence[str], *, columns: int | None = None, gap: int = 0,
    durations: Sequence[float] | None = None,
) -> tuple[Tensor, list[Cell]]:  # fmt: skip
    """Pictures [4, H, W] of one size, row by row on a clear sheet [4, H', W'], and their cells.

    columns    of the sheet; None: about as many as rows
    durations  ms of each frame
    gap        clear pixels between cells, so that what filters textures does not mix neighbours
    """
    _, height, width = pictures[0].shape
    across = min(columns or math.ceil(math.sqrt(len(pictures))), len(pictures))
    rows = -(-len(pictures) // across)
    sheet = torch.full((4, rows * (height + gap) - gap, across * (width + gap) - gap), -1.0)
    cells = []
    for place, (picture, name) in enumerate(zip(pictures, names, strict=True)):
        row, column = divmod(place, across)
        x, y = column * (width + gap), row * (height + gap)
        sheet[:, y : y + height, x : x + width] = picture
        cells.append(Cell(name, x, y, width, height, durations[place] if durations else None))
    return sheet, cells


def grid_cells(
    sides: tuple[int, int], *, cell: tuple[int, int] | None, grid: tuple[int, int] | None, gap: int = 0
) -> list[Cell]:
    """The cells of a sheet of sides (height, width), row by row, from their size or from how many (down, across).

    MultigenError for cells that do not fill the sheet evenly, with the nearest that do.
    """
    if grid is not None:
        size = [(side + gap) // n - gap for side, n in zip(sides, grid, strict=True)]
        even = all((s + gap) * n - gap == side for s, n, side in zip(size, grid, sides, strict=True))
        if not even or min(size) < 1:
            raise MultigenError(
                f"grid: {grid[1]}x{grid[0]} does not divide {sides[1]} x {sides[0]} pixels with gaps of {gap}"
            )
        cell = size[0], size[1]
    assert cell is not None
    counts = [(side + gap) // (n + gap) for side, n in zip(sides, cell, strict=True)]
    if min(counts) < 1 or any(c * (n + gap) - gap != s for c, n, s in zip(counts, cell, sides, strict=True)):
        raise MultigenError(
            f"cell: {cell[1]}x{cell[0]} does not divide {sides[1]} x {sides[0]} pixels with gaps of {gap}; give the "
            "size of one cell without its gap"
        )
    if math.prod(counts) > MOST_CELLS:
        raise MultigenError(f"cell: {math.prod(counts):,} cells; allowed: up to {MOST_CELLS:,}")
    return [
        Cell(f"{row:02d}_{column:02d}", column * (cell[1] + gap), row * (cell[0] + gap), cell[1], cell[0])
        for row in range(counts[0])
        for column in range(counts[1])
    ]


def cut(sheet: Tensor, cell: Cell) -> Tensor:
    """The picture [C, h, w] of a cell."""
    return sheet[:, cell.y : cell.y + cell.height, cell.x : cell.x + cell.width]


def is_empty(picture: Tensor) -> bool:
    """Whether [4, h, w] shows nothing: all of it is clear."""
    return float(picture[3].max()) < _CLEAR


def to_json(cells: Sequence[Cell], image: str, sides: tuple[int, int]) -> dict[str, Any]:
    """The places of cells on the sheet `image` of sides (height, width)."""
    frames = []
    for one in cells:
        frame: dict[str, Any] = {
            "filename": one.name,
            "frame": {"x": one.x, "y": one.y, "w": one.width, "h": one.height},
        }
        frames.append(frame if one.duration is None else {**frame, "duration": one.duration})
    size = {"w": sides[1], "h": sides[0]}
    return {"frames": frames, "meta": {"app": "multigen", "image": image, "size": size, "scale": "1"}}


def from_json(text: str, where: str, sides: tuple[int, int]) -> list[Cell]:
    """The cells of a sheet of sides (height, width). MultigenError for what is no such file, or lies outside."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MultigenError(f"{where}: not JSON ({error})") from None
    frames = data.get("frames") if isinstance(data, dict) else None
    if isinstance(frames, dict):
        frames = [{**one, "filename": name} for name, one in frames.items() if isinstance(one, dict)]
    if not isinstance(frames, list) or not frames or len(frames) > MOST_CELLS:
        raise MultigenError(f"{where}: no list of frames in it, as Aseprite and TexturePacker write it")
    return [_cell(one, f"{where}: frame {number}", sides) for number, one in enumerate(frames, 1)]


def _cell(data: Any, where: str, sides: tuple[int, int]) -> Cell:
    frame = data.get("frame") if isinstance(data, Mapping) else None
    given = [frame.get(key) for key in "xywh"] if isinstance(frame, Mapping) else []
    values = [value for value in given if isinstance(value, int) and not isinstance(value, bool)]
    if len(values) != 4:
        raise MultigenError(f'{where}: no "frame" of whole x, y, w and h')
    if data.get("rotated"):
        raise MultigenError(f"{where}: it is rotated; export the sheet without rotation")
    x, y, width, height = values
    if min(x, y) < 0 or min(width, height) < 1 or x + width > sides[1] or y + height > sides[0]:
        raise MultigenError(
            f"{where}: {width} x {height} at {x}, {y} lies outside {sides[1]} x {sides[0]} pixels"
        )
    return Cell(str(data.get("filename", "")), x, y, width, height)
