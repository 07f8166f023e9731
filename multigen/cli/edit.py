"""`multigen edit`: img2img, inpainting, outpainting, restyling and restoring of one medium."""

from __future__ import annotations

import argparse
from pathlib import Path

from multigen.cli.arguments import Parser, add_model_options, common, lines_of, log
from multigen.cli.request_file import INPUT, edit_request
from multigen.cli.request_options import add_options, given
from multigen.errors import MultigenError
from multigen.generation.request import EditRequest, Request, options

ABOUT = """\
Make a variation of a medium, inpaint or extend it, restyle or restore it. With --input alone: img2img, by --strength.

  multigen edit image_emoji --input apple.png --prompt "green apple" --strength 0.5
  multigen edit image_emoji --input apple.png --mask white_is_new.png --prompt "slice of pizza"
  multigen edit audio_music --input start.wav --keep 0:2.5s --prompt "church organ, G major, 92 bpm"
  multigen edit audio_music --input start.wav --extend 3s
  multigen edit video_moving_emoji --input clip.mp4 --keep 0:4f,12f:16f
  multigen edit image_emoji --input small.png --restore downsample --prompt "red apple"
"""

NAMES = ("negative_prompt", "steps", "guidance_scale", "sliding_window", "tile")


def edit(argv: list[str]) -> int:
    """Run the command; the exit code."""
    a = parser().parse(argv)
    lines = lines_of(a.prompts) if a.prompts else []
    if line := next((line for line in lines if line.startswith("{")), None):
        raise MultigenError(
            f"--prompts {a.prompts}: {line[:60]!r} is no prompt; requests in JSON are for multigen sample --prompts"
        )
    prompts = [*(a.prompt or []), *lines]
    names = [INPUT if name == "media" else name for name in options(EditRequest)]
    change = edit_request(given(a, names))
    for option in ("sliding_window", "tile"):
        if change.restore is not None and getattr(a, option):
            raise MultigenError(f"--{option.replace('_', '-')} does not go with --restore")
    from multigen.runs import sample as runs

    log(a.quiet)
    folder = runs.sample(
        a.source,
        Request(**given(a, NAMES), edit=change),
        requests=[Request(prompt) for prompt in prompts] or None,
        n=a.n,
        seed=a.seed,
        overrides=a.overrides,
        out=a.out,
        device=a.device,
        quiet=a.quiet,
    )
    print(folder)
    return 0


def parser() -> Parser:
    """The parser of the command."""
    made = common("edit", ABOUT)
    made.formatter_class = argparse.RawDescriptionHelpFormatter
    add_model_options(made)
    made.add_argument("--input", required=True, metavar="FILE", help="the medium to edit")
    made.add_argument("--prompts", type=Path, metavar="FILE", help="a text file with a prompt on each line")
    add_options(made, [options(Request)[name] for name in NAMES])
    add_options(made, [option for name, option in options(EditRequest).items() if name != "media"])
    return made
