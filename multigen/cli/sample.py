"""`multigen sample`: media with a trained model."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multigen.cli.arguments import (
    Command,
    Parser,
    add_common,
    add_format,
    add_model,
    add_resume,
    count,
    lines_of,
    new_parser,
    path,
    sampling_overrides,
    seed,
    show_log,
)
from multigen.cli.request_options import IMAGES, add_images, add_options, given, parse
from multigen.errors import MultigenError

if TYPE_CHECKING:
    from multigen.generation.request import Request

DESCRIPTION = """\
Make media with a trained model.

  multigen sample image_digits --prompt 7 -n 16
  multigen sample image_emoji --prompt "red apple" --prompt "green apple" --guidance-scale 3
  multigen sample audio_music --prompt "church organ, G major" --duration 12 --sliding-window
  multigen sample runs/image_digits --prompts requests.txt
"""
# The fields of a request that have an option of their own here; `add_common` adds --seed, `add_model` --prompt.
NAMES = (
    "negative_prompt",
    "steps",
    "guidance_scale",
    "sampler",
    "guide",
    "cache",
    "size",
    "duration",
    "sliding_window",
    "tile",
    "loop",
)
# Options, and those that they go with.
_GO_WITH = {"clip": "trajectory", "to_seed": "blend"}


def parser() -> Parser:
    """The parser of the command."""
    from multigen.generation.request import Request, options

    parser = new_parser("sample", DESCRIPTION)
    add_model(parser)
    add_format(parser)
    add_common(parser, "folder for the media, or a bucket: s3://... (default: a new samples-N)", bucket=True)
    add_resume(parser)
    parser.add_argument(
        "--prompts", type=path, metavar="FILE",
        help='a text file, one prompt a line. A line may be JSON: {"prompt": ..., "seed": 3, "steps": 20, "overrides": '
        '[...]}; with "input" and the options of `multigen edit` it is an edit',
    )  # fmt: skip
    add_options(parser, [options(Request)[name] for name in NAMES])
    add_images(parser)
    parser.add_argument(
        "--per-class",
        type=count,
        metavar="N",
        help="make N media of each class in sub-folders of --out, as training data",
    )
    parser.add_argument(
        "--blend",
        type=count,
        metavar="N",
        help="make N media from one prompt to another, or between two seeds or pictures (--image)",
    )
    parser.add_argument("--to-seed", type=seed, metavar="N", help="with --blend: the seed of the last medium")
    parser.add_argument(
        "--trajectory",
        action="store_true",
        help="keep pictures of how the first medium of each prompt is made",
    )
    parser.add_argument(
        "--ray",
        action="store_true",
        help="in workers: on the Ray cluster of $RAY_ADDRESS, or on all cores or GPUs of this machine",
    )
    parser.add_argument("--clip", action="store_true", help="with --trajectory: write a clip, too")
    return parser


def run(argv: Sequence[str]) -> int:
    """Run the command; the exit code."""
    a, own = parse(parser(), argv, _declared)
    _check(a)
    from multigen.generation.request import Request
    from multigen.runs.checks import check_request, check_source

    common = Request(**given(a, (*NAMES, IMAGES)), options=own)
    common.check()
    requests = _requests(a)
    _check_place(a.out)
    recipe = check_source(a.source, sampling_overrides(a))
    for request in (common, *(requests or ())):
        check_request(recipe, request)
    if a.blend is not None:
        _check_blend(a, [r.prompt for r in requests] if requests else recipe and recipe.sample.prompts)
    if a.per_class:
        return _class_folders(a, common)
    from multigen.runs import sample as runs

    show_log(a.quiet)
    how: dict[str, Any] = {"requests": requests, "seed": a.seed, "overrides": sampling_overrides(a)}
    how |= {"out": a.out, "resume": a.resume, "device": a.device, "quiet": a.quiet}
    if a.blend is not None:
        folder = runs.sample_blend(a.source, common, n=a.blend, to_seed=a.to_seed, **how)
    else:
        folder = runs.sample(a.source, common, n=a.n, trajectory=a.trajectory, clip=a.clip, ray=a.ray, **how)
    print(folder)
    return 0


def _check_blend(a: argparse.Namespace, prompts: Sequence[str] | None) -> None:
    """MultigenError for too few media or prompts, or too many, as far as they are known."""
    if a.blend < 2:
        raise MultigenError(f"--blend: {a.blend} is not allowed; a blend has 2 ends, so give 2 or more")
    if prompts is not None and len(prompts) > 2:
        raise MultigenError(
            f"--blend takes two prompts, or one and two seeds; {len(prompts)} prompts are given"
        )
    if prompts is not None and len(set(prompts)) == 1 and a.to_seed is None and len(a.images or ()) != 2:
        raise MultigenError("--blend needs two prompts, a second seed, --to-seed N, or two pictures")


def _check_place(out: Path | str | None) -> None:
    """MultigenError for a folder or bucket that cannot be written to, as far as that is known without asking."""
    from multigen.storage.claim import check_folder

    if isinstance(out, str):
        from multigen.storage.bucket import check_address

        check_address(out, f"--out {out}")
    elif out is not None:
        check_folder(out, f"--out {out}")


def _declared(source: str) -> Any:
    from multigen.runs.checks import request_options

    return request_options(source)


def _check(a: argparse.Namespace) -> None:
    """MultigenError for options that do not go together."""
    values: Mapping[str, Any] = vars(a)
    if a.per_class and (a.out is None or a.prompt or a.prompts or a.n):
        raise MultigenError("--per-class goes with --out DIR, and without --prompt, --prompts and -n")
    if a.per_class and isinstance(a.out, str):
        raise MultigenError("--per-class writes to a folder, not to a bucket")
    for option in ("trajectory", "blend", "per_class"):
        if values[option] and a.ray:
            raise MultigenError(f"{_flag(option)} does not go with --ray")
    if a.ray:
        from multigen.storage.packages import check_installed

        check_installed("ray", "multigen sample --ray", "ray")
    for option in ("trajectory", "blend", "sliding_window"):
        if values[option] and a.prompts:
            raise MultigenError(f"{_flag(option)} goes with --prompt, not with --prompts")
    for option, other in _GO_WITH.items():
        if values[option] not in (None, False) and not values[other]:
            raise MultigenError(f"{_flag(option)} goes with {_flag(other)}")


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _requests(a: argparse.Namespace) -> list[Request] | None:
    """The requests of --prompt and --prompts; None where neither is given."""
    from multigen.cli.request_file import read_request
    from multigen.generation.request import Request

    if not a.prompts:
        return [Request(prompt) for prompt in a.prompt] if a.prompt else None
    declared = functools.cache(lambda: _declared(a.source))
    requests = [read_request(text, "--prompt", declared) for text in a.prompt or []]
    lines = enumerate(lines_of(a.prompts), 1)
    return requests + [read_request(t, f"--prompts {a.prompts}: request {k}", declared) for k, t in lines]


def _class_folders(a: argparse.Namespace, common: Request) -> int:
    from multigen.runs.class_folders import labelled_set
    from multigen.runs.opened import open_model

    show_log(a.quiet)
    model = open_model(a.source, sampling_overrides(a), a.device)
    seed = model.recipe.seed if a.seed is None else a.seed
    print(labelled_set(model, a.out, a.per_class, common, seed=seed, quiet=a.quiet))
    return 0


COMMAND = Command("sample", "SOURCE [key=value ...]", "make media with a trained model", parser, run)
