"""`multigen sheet`: sprite sheets of pictures or frames, and pictures of sprite sheets."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from multigen.cli.arguments import Command, Parser, count, new_parser, path, size, whole
from multigen.errors import MultigenError

DESCRIPTION = """\
Put pictures, or the frames of a clip, on one sheet, with a JSON that says where each lies; or cut a sheet into them.

  multigen sheet runs/image_sprites/samples-1 sprites.png --columns 4 --gap 2
  multigen sheet walk.gif walk.png
  multigen sheet tileset.png my_sprites --cut --cell 32x32
"""


def parser() -> Parser:
    """The parser of the command."""
    parser = new_parser("sheet", DESCRIPTION)
    parser.add_argument(
        "source", type=path, metavar="SOURCE", help="a folder of pictures, or a clip; or a sheet"
    )
    parser.add_argument(
        "target", type=path, metavar="OUT", help="a new .png or .webp; with --cut a new folder"
    )
    parser.add_argument(
        "--columns", type=count, metavar="N", help="cells in a row (default: about as many as rows)"
    )
    parser.add_argument("--gap", type=_gap, default=0, metavar="PX", help="pixels between cells (default: 0)")
    parser.add_argument(
        "--cut", action="store_true", help="cut a sheet where the JSON beside it says, or --cell or --grid"
    )
    parser.add_argument(
        "--cell", type=size, metavar="PX", help="with --cut: side, or WIDTHxHEIGHT, of a cell"
    )
    parser.add_argument("--grid", type=size, metavar="COLUMNSxROWS", help="with --cut: how many cells")
    return parser


def run(argv: Sequence[str]) -> int:
    """Run the command; the exit code."""
    a = parser().parse(argv)
    _check(a)
    from multigen.runs import sheets

    if not a.cut:
        print(sheets.make_sheet(a.source, a.target, columns=a.columns, gap=a.gap))
        return 0
    from multigen.storage.claim import check_folder

    check_folder(a.target, str(a.target))
    sides = {name: _pair(vars(a)[name]) for name in ("cell", "grid")}
    number = sheets.cut_sheet(a.source, a.target, cell=sides["cell"], grid=sides["grid"], gap=a.gap)
    print(f"{a.target}: {number} pictures", file=sys.stderr)
    print(a.target)
    return 0


def _check(a: argparse.Namespace) -> None:
    """MultigenError for options that do not go together."""
    for name in ("cell", "grid"):
        if vars(a)[name] is not None and not a.cut:
            raise MultigenError(f"--{name} goes with --cut")
    if a.columns is not None and a.cut:
        raise MultigenError("--columns does not go with --cut")
    if a.cell is not None and a.grid is not None:
        raise MultigenError("--cell or --grid: give one of them")
    if not a.source.exists():
        raise MultigenError(f"{a.source}: no such file or folder")
    if not a.cut and a.target.suffix.lower() not in (".png", ".webp"):
        raise MultigenError(f"{a.target}: a sheet is a .png or .webp, as they keep what is clear")
    if a.cut and not a.source.is_file():
        raise MultigenError(f"{a.source}: is a folder; give the file of a sheet")


def _gap(text: str) -> int:
    if not 0 <= (value := whole(text)) <= 1024:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed; give a whole number from 0 to 1024")
    return value


def _pair(value: int | tuple[int, int] | None) -> tuple[int, int] | None:
    return (value, value) if isinstance(value, int) else value


COMMAND = Command("sheet", "SOURCE OUT", "sprite sheets of pictures or frames, and back", parser, run)
