"""`multigen edit`: vary, fill, grow or restyle one medium."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from multigen.cli.arguments import (
    Command,
    Parser,
    add_common,
    add_model,
    count,
    lines_of,
    new_parser,
    show_log,
)
from multigen.errors import MultigenError

ABOUT = """\
Vary, fill, grow or restyle one medium. Without --mask, --keep and --extend all of it is varied, by --strength.

  multigen edit image_emoji --input apple.png --prompt "green apple" --strength 0.5
  multigen edit image_emoji --input apple.png --mask white_is_new.png --prompt "slice of pizza"
  multigen edit audio_music --input start.wav --keep 0:2.5s --prompt "church organ, G major, 92 bpm"
  multigen edit audio_music --input start.wav --extend 3s
  multigen edit video_moving_emoji --input clip.mp4 --keep 0:4f,12f:16f
  multigen edit image_emoji --input small.png --restore downsample --prompt "red apple"
"""


def edit(argv: list[str]) -> int:
    """Run the command; the exit code."""
    a = _parser().parse(argv)
    lines = lines_of(a.prompts) if a.prompts else []
    if line := next((line for line in lines if line.startswith("{")), None):
        raise MultigenError(
            f"--prompts {a.prompts}: {line[:60]!r} is no prompt; requests in JSON are for multigen sample --prompts"
        )
    prompts = [*(a.prompt or []), *lines]
    from multigen.runs import sample as pipeline
    from multigen.runs.edit_options import EditText

    how = EditText(**{option.name: getattr(a, option.name) for option in dataclasses.fields(EditText)})
    for option in ("long", "wrap"):
        if a.restore is not None and getattr(a, option):
            raise MultigenError(f"--{option} does not go with --restore")
    show_log(a.quiet)
    folder = pipeline.edit(
        a.source,
        how,
        prompts=prompts or None,
        negative=a.negative,
        long=a.long,
        wrap=a.wrap,
        n=a.n or 1,
        seed=a.seed,
        steps=a.steps,
        overrides=a.overrides,
        out=a.out,
        device=a.device,
        quiet=a.quiet,
    )
    print(folder)
    return 0


def _parser() -> Parser:
    parser = new_parser("edit", ABOUT)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add_common(parser, "folder")
    add_model(parser)
    parser.add_argument("--negative")
    parser.add_argument("--steps", type=count)
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--wrap", action="store_true")
    parser.add_argument("--input", required=True, metavar="FILE", help="the medium to edit")
    parser.add_argument("--prompts", type=Path, metavar="FILE", help="a text file, one prompt a line")
    parser.add_argument("--strength", type=float, metavar="X", help="over 0 (as it was) to 1 (all new)")
    parser.add_argument("--mask", metavar="PICTURE", help="white is made anew, black is kept")
    parser.add_argument("--keep", metavar="SPANS", help="what stays of a sound or video: 0:2.5s,4s: or 0:4f")
    parser.add_argument(
        "--extend",
        metavar="N",
        help="pixels all round or left,top,right,bottom; 3s after, or 1s,3s before and after",
    )
    parser.add_argument(
        "--seam", type=float, metavar="X", help="fade between kept and new: seconds, or pixels"
    )
    parser.add_argument(
        "--resample", type=count, default=1, metavar="K", help="take each step K times (RePaint)"
    )
    parser.add_argument(
        "--invert", metavar="TEXT", help="restyle: keep the composition of the source, this its prompt"
    )
    parser.add_argument(
        "--restore", metavar="OPERATOR", help="make what gives the input: downsample, blur, frames, band_limit, or"
        " {name: downsample, factor: 4}",
    )  # fmt: skip
    return parser


COMMAND = Command("edit", "SOURCE", "make media with a trained model", _parser, edit)
