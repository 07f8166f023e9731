"""`multigen film`: more frames, or larger ones, of a clip of any length."""

from __future__ import annotations

from collections.abc import Sequence

from multigen.cli.arguments import (
    SOURCE,
    Command,
    Parser,
    add_overrides,
    add_quiet,
    count,
    device,
    new_parser,
    path,
    seed,
    show_log,
)
from multigen.cli.request_options import add_options, given

DESCRIPTION = """\
Make more frames between those of a clip, or larger frames, in bounded memory: window after window of time. The sound
goes along. A cascade of videos says itself what it makes; another video model fills in frames.

  multigen film runs/video_frames --input clip.mp4 --out smooth.mp4
  multigen film runs/video_frames --input clip.mp4 --times 4 --out smoother.mp4
  multigen film runs/video_large --input small.mp4 --out large.mp4
"""
NAMES = ("prompt", "negative_prompt", "steps", "guidance_scale")


def parser() -> Parser:
    """The parser of the command."""
    from multigen.generation.request import EditRequest, Request, options

    parser = new_parser("film", DESCRIPTION)
    parser.add_argument("source", metavar="SOURCE", help=SOURCE)
    add_overrides(parser, "sample.size=256, the side of the blocks in which large frames are made")
    parser.add_argument("--input", type=path, required=True, metavar="FILE", help="the clip")
    parser.add_argument("--out", type=path, required=True, metavar="FILE", help="a new .mp4 or .mov")
    parser.add_argument("--times", type=count, metavar="N", help="frames for one, 2 to 8")
    parser.add_argument("--lossless", action="store_true", help="write every value as it is: H.264 in RGB")
    add_options(parser, [options(Request)[name] for name in NAMES])
    add_options(parser, [options(EditRequest)["restore"]])
    parser.add_argument(
        "--cuts",
        metavar="WHERE",
        default="auto",
        help="where scenes begin: auto (found, the default), off, or times in s such as 2.5,7.04",
    )
    parser.add_argument("--device", type=device, metavar="DEVICE", help="cpu, cuda, mps (default: the best)")
    parser.add_argument("--seed", type=seed, metavar="N", help="random seed")
    add_quiet(parser)
    return parser


def run(argv: Sequence[str]) -> int:
    """Run the command; the exit code."""
    a = parser().parse(argv)
    from multigen.generation.request import EditRequest, Request
    from multigen.runs.checks import check_media, check_request, check_source

    check_media(str(a.input))
    edit = EditRequest(str(a.input), restore=a.restore)
    request = Request(**given(a, NAMES))
    request.check()
    edit.check()
    recipe = check_source(a.source, a.overrides)
    from multigen.runs.film import check_makes, check_out, film
    from multigen.runs.film.cuts import places

    if recipe is not None:
        check_makes(recipe.name, recipe.makes)
    check_request(recipe, Request(edit=edit))
    check_out(a.out)
    cuts = places(a.cuts)
    show_log(a.quiet)
    print(
        film(
            a.source,
            a.input,
            a.out,
            times=a.times,
            restore=a.restore,
            request=request,
            seed=a.seed,
            overrides=a.overrides,
            device=a.device,
            lossless=a.lossless,
            cuts=cuts,
            quiet=a.quiet,
        )
    )
    return 0


COMMAND = Command(
    "film", "SOURCE --input FILE --out FILE", "more or larger frames of a clip of any length", parser, run
)
