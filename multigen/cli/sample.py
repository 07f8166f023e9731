"""`multigen sample`: media with a trained model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from multigen.cli.arguments import (
    Command,
    Parser,
    add_common,
    add_model,
    count,
    lines_of,
    new_parser,
    positive,
    show_log,
    size,
)
from multigen.errors import MultigenError

if TYPE_CHECKING:
    from multigen.generation.request import Wish


def sample(argv: list[str]) -> int:
    """Run the command; the exit code."""
    a = _parser().parse(argv)
    if a.per_class:
        return _labelled(a)
    for option in ("trajectory", "blend", "long"):
        if getattr(a, option) and a.prompts:
            raise MultigenError(f"--{option} goes with --prompt, not with --prompts")
    for option, with_ in (("wrap", "long"), ("clip", "trajectory")):
        if getattr(a, option) and not getattr(a, with_):
            raise MultigenError(f"--{option} goes with --{with_}")
    from multigen.runs import sample as pipeline

    wishes = _wishes(a)
    show_log(a.quiet)
    folder = pipeline.sample(
        a.source,
        prompts=None if wishes else a.prompt or None,
        wishes=wishes,
        n=a.n,
        seed=a.seed,
        steps=a.steps,
        negative=a.negative,
        size=a.size,
        duration=a.duration,
        overrides=a.overrides,
        trajectory=a.trajectory,
        clip=a.clip,
        long=a.long,
        wrap=a.wrap,
        blend=None if a.blend is None else (a.blend, a.to_seed),
        out=a.out,
        device=a.device,
        quiet=a.quiet,
    )
    print(folder)
    return 0


def _parser() -> Parser:
    parser = new_parser("sample", "Make media with a trained model.")
    add_common(parser, "folder")
    add_model(parser)
    parser.add_argument("--negative")
    parser.add_argument("--steps", type=count)
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--wrap", action="store_true")
    parser.add_argument(
        "--prompts", type=Path, metavar="FILE",
        help='a text file, one prompt a line, or {"prompt": ..., "seed": 3, "steps": 20, "overrides": [...]},'
        ' with "input" and the options of `multigen edit` an edit',
    )  # fmt: skip
    parser.add_argument("--size", type=size, metavar="PX", help="side, or HEIGHTxWIDTH, in pixels")
    parser.add_argument("--duration", type=positive, metavar="S", help="seconds of audio or video")
    parser.add_argument(
        "--per-class",
        type=count,
        metavar="N",
        help="N media of each class in sub-folders of --out, for training on",
    )
    parser.add_argument(
        "--blend", type=count, metavar="N", help="N media on the way from a prompt to another"
    )
    parser.add_argument("--to-seed", type=int, metavar="N", help="with --blend: on the way to this seed, too")
    parser.add_argument(
        "--trajectory", action="store_true", help="keep how the first medium of each prompt came about"
    )
    parser.add_argument("--clip", action="store_true", help="with --trajectory: as a clip, too")
    return parser


def _wishes(a: argparse.Namespace) -> list[Wish] | None:
    """The requests of --prompt and --prompts; None where no file is given."""
    if not a.prompts:
        return None
    from multigen.cli.request_file import wish

    lines = enumerate(lines_of(a.prompts), 1)
    wishes = [wish(p, "--prompt") for p in a.prompt or []]
    return wishes + [wish(text, f"--prompts {a.prompts}: request {k}") for k, text in lines]


def _labelled(a: argparse.Namespace) -> int:
    if a.out is None or a.prompt or a.prompts or a.n:
        raise MultigenError("--per-class goes with --out DIR, and without --prompt, --prompts and -n")
    from multigen.runs.class_folders import labelled_set
    from multigen.runs.sample import open_model

    show_log(a.quiet)
    model = open_model(a.source, a.overrides, a.device)
    seed = model.recipe.seed if a.seed is None else a.seed
    print(labelled_set(model, a.out, a.per_class, seed=seed, steps=a.steps, quiet=a.quiet))
    return 0


COMMAND = Command("sample", "SOURCE", "make media with a trained model", _parser, sample)
