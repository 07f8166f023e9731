"""`multigen sample`: media with a trained model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from multigen.cli.arguments import Parser, add_model_options, common, count, lines_of, log
from multigen.cli.request_options import add_options, given
from multigen.errors import MultigenError

if TYPE_CHECKING:
    from multigen.generation.request import Request

# The fields of a request that have an option of their own here; `common` adds --seed, `add_model_options` --prompt.
NAMES = ("negative_prompt", "steps", "guidance_scale", "size", "duration", "sliding_window", "tile")


def sample(argv: list[str]) -> int:
    """Run the command; the exit code."""
    a = parser().parse(argv)
    if a.per_class:
        return _class_folders(a)
    for option in ("trajectory", "blend", "sliding_window"):
        if getattr(a, option) and a.prompts:
            raise MultigenError(f"{_flag(option)} goes with --prompt, not with --prompts")
    for option, other in (("tile", "sliding_window"), ("clip", "trajectory")):
        if getattr(a, option) and not getattr(a, other):
            raise MultigenError(f"{_flag(option)} goes with {_flag(other)}")
    from multigen.generation.request import Request
    from multigen.runs import sample as runs

    shared = Request(**given(a, NAMES))
    requests = _requests(a)
    log(a.quiet)
    places = {"out": a.out, "device": a.device, "quiet": a.quiet}
    how = {"requests": requests, "seed": a.seed, "overrides": a.overrides, **places}
    if a.blend is not None:
        folder = runs.sample_blend(a.source, shared, n=a.blend, to_seed=a.to_seed, **how)
    else:
        folder = runs.sample(a.source, shared, n=a.n, trajectory=a.trajectory, clip=a.clip, **how)
    print(folder)
    return 0


def parser() -> Parser:
    """The parser of the command."""
    from multigen.generation.request import Request, options

    made = common("sample", "Make media with a trained model.")
    add_model_options(made)
    made.add_argument(
        "--prompts", type=Path, metavar="FILE",
        help='a text file with a prompt on each line, or {"prompt": ..., "seed": 3, "steps": 20, "overrides": [...]};'
        ' with "input" and the options of `multigen edit` the line is an edit',
    )  # fmt: skip
    add_options(made, [options(Request)[name] for name in NAMES])
    made.add_argument(
        "--per-class",
        type=count,
        metavar="N",
        help="N media of each class in sub-folders of --out, as training data",
    )
    made.add_argument(
        "--blend", type=count, metavar="N", help="N media on the way from one prompt to another"
    )
    made.add_argument("--to-seed", type=int, metavar="N", help="with --blend: the seed of the last medium")
    made.add_argument(
        "--trajectory", action="store_true", help="keep how the first medium of each prompt was made"
    )
    made.add_argument("--clip", action="store_true", help="with --trajectory: as a clip, too")
    return made


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _requests(a: argparse.Namespace) -> list[Request] | None:
    """The requests of --prompt and --prompts; None where neither is given."""
    from multigen.cli.request_file import read_request
    from multigen.generation.request import Request

    if not a.prompts:
        return [Request(prompt) for prompt in a.prompt] if a.prompt else None
    lines = enumerate(lines_of(a.prompts), 1)
    requests = [read_request(p, "--prompt") for p in a.prompt or []]
    return requests + [read_request(text, f"--prompts {a.prompts}: request {k}") for k, text in lines]


def _class_folders(a: argparse.Namespace) -> int:
    if a.out is None or a.prompt or a.prompts or a.n:
        raise MultigenError("--per-class goes with --out DIR, and without --prompt, --prompts and -n")
    from multigen.runs.class_folders import labelled_set
    from multigen.runs.sample import open_model

    log(a.quiet)
    model = open_model(a.source, a.overrides, a.device)
    seed = model.recipe.seed if a.seed is None else a.seed
    print(labelled_set(model, a.out, a.per_class, seed=seed, steps=a.steps, quiet=a.quiet))
    return 0
