"""`multigen edit`: img2img, inpainting, outpainting, restyling and restoration of one medium."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from multigen.cli.arguments import (
    Command,
    Parser,
    add_common,
    add_format,
    add_model,
    add_resume,
    lines_of,
    new_parser,
    path,
    sampling_overrides,
    show_log,
)
from multigen.cli.request_options import IMAGES, add_images, add_options, given, parse
from multigen.errors import MultigenError

DESCRIPTION = """\
Vary, inpaint, extend, restyle or restore a medium. With --input alone: img2img, by --strength.

  multigen edit image_emoji --input apple.png --prompt "green apple" --strength 0.5
  multigen edit image_emoji --input apple.png --mask white_is_new.png --prompt "slice of pizza"
  multigen edit audio_music --input start.wav --keep 0:2.5s --prompt "church organ, G major, 92 bpm"
  multigen edit audio_music --input start.wav --extend 3s
  multigen edit video_moving_emoji --input clip.mp4 --keep 0:4f,12f:16f
  multigen edit video_moving_emoji --input first.png --extend 15f --last last.png
  multigen edit image_emoji --input small.png --restore downsample --prompt "red apple"
"""
# The fields of a request that have an option of their own here.
NAMES = (
    "negative_prompt", "steps", "guidance_scale", "sampler", "guide", "cache", "sliding_window", "tile", "loop",
)  # fmt: skip


def parser() -> Parser:
    """The parser of the command."""
    from multigen.generation.request import EditRequest, Request, options

    parser = new_parser("edit", DESCRIPTION)
    add_model(parser)
    add_format(parser)
    add_common(parser, "folder for the media (default: a new edits-N in the run folder)")
    add_resume(parser)
    parser.add_argument("--input", required=True, metavar="FILE", help="the medium to edit")
    parser.add_argument("--prompts", type=path, metavar="FILE", help="a text file, one prompt a line")
    add_options(parser, [options(Request)[name] for name in NAMES])
    add_images(parser)
    add_options(parser, [option for name, option in options(EditRequest).items() if name != "media"])
    return parser


def run(argv: Sequence[str]) -> int:
    """Run the command; the exit code."""
    a, own = parse(parser(), argv, _declared)
    from multigen.cli.request_file import INPUT, edit_request
    from multigen.generation.request import EditRequest, Request, options

    lines = lines_of(a.prompts) if a.prompts else []
    if line := next((line for line in lines if line.startswith("{")), None):
        raise MultigenError(
            f"--prompts {a.prompts}: {line[:60]!r} is no prompt; requests in JSON are for multigen sample --prompts"
        )
    prompts = [*(a.prompt or []), *lines]
    edit = edit_request(given(a, [INPUT if name == "media" else name for name in options(EditRequest)]))
    common = Request(**given(a, (*NAMES, IMAGES)), options=own, edit=edit)
    common.check()
    for name in ("tile", "loop"):
        if edit.restore is not None and vars(a)[name]:
            raise MultigenError(f"--{name} does not go with --restore")
    from multigen.runs.checks import check_request, check_source
    from multigen.storage.claim import check_folder

    if a.out is not None:
        check_folder(a.out, f"--out {a.out}")
    check_request(check_source(a.source, sampling_overrides(a)), common)
    from multigen.runs import sample as runs

    show_log(a.quiet)
    folder = runs.sample(
        a.source,
        common,
        requests=[Request(prompt) for prompt in prompts] or None,
        n=a.n,
        seed=a.seed,
        overrides=sampling_overrides(a),
        out=a.out,
        resume=a.resume,
        device=a.device,
        quiet=a.quiet,
    )
    print(folder)
    return 0


def _declared(source: str) -> Any:
    from multigen.runs.checks import request_options

    return request_options(source)


COMMAND = Command(
    "edit", "SOURCE --input FILE", "vary, inpaint, extend, restyle or restore a medium", parser, run
)
