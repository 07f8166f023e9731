"""What the commands `run` and `train` share: their arguments, and one job or a sweep."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from multigen.cli.arguments import (
    RECIPE,
    Parser,
    add_common,
    add_format,
    add_overrides,
    add_resume,
    new_parser,
    sampling_overrides,
    show_log,
)
from multigen.cli.request_options import parse
from multigen.errors import MultigenError, RecipeError
from multigen.options import Option
from multigen.provenance.known import is_medium

if TYPE_CHECKING:
    from multigen.generation.request import Request


def job_parser(name: Literal["run", "train"], description: str) -> Parser:
    """The parser of `run` or `train`."""
    parser = new_parser(name, description)
    more = "" if name == "train" else ", or a media file that holds its recipe"
    parser.add_argument("recipe", metavar="RECIPE", help=f"{RECIPE}{more}")
    add_overrides(parser, "train.steps=2000 or sampler.name=heun (Hydra's grammar)")
    add_format(parser)
    add_common(
        parser, "the run folder (default: runs/<recipe name>, or with -2 and so on where another recipe is)"
    )
    add_resume(parser)
    parser.add_argument(
        "--force", action="store_true", help="continue in a folder that holds a training with other settings"
    )
    parser.add_argument("--cfg", choices=["job"], help="print the resolved recipe and exit")
    parser.add_argument(
        "-m", "--multirun", action="store_true", help="sweep over values, such as train.lr=1e-4,1e-3"
    )
    return parser


def run_job(name: Literal["run", "train"], parser: Parser, argv: Sequence[str]) -> int:
    """Run one job, or a sweep of them; the exit code."""
    a, own = parse(parser, argv, _declared)
    overrides = [*sampling_overrides(a), *([] if a.seed is None else [f"seed={a.seed}"])]
    overrides += [f"sample.options.{key}={json.dumps(value)}" for key, value in own.items()]
    if name == "run" and is_medium(a.recipe):
        return _again(a, overrides)
    if a.multirun and not a.cfg:
        from multigen.runs.sweep import sweep

        sweep(name, a.recipe, overrides, out=a.out, device=a.device, quiet=a.quiet, force=a.force)
        return 0
    from multigen.recipe.load import draft_recipe

    draft = draft_recipe(a.recipe, overrides)
    training = next((o for o in overrides if o.startswith("train.")), None)
    if name == "run" and draft.recipe.weights is not None and training is not None:
        raise RecipeError(
            f"{training}: train.* has no effect: the recipe uses pretrained weights ({draft.recipe.weights}). "
            "To train, add weights=null, or use: multigen train"
        )
    from multigen.runs.folders import is_run_folder

    out = a.out or (Path(a.recipe).expanduser() if is_run_folder(a.recipe) else None)
    if not a.cfg:
        from multigen.runs.checks import check_job

        check_job(name, draft.recipe, out)
    from multigen.model.compatibility import check_combination
    from multigen.recipe.dump import to_yaml

    recipe = draft.checked()
    check_combination(recipe)
    if a.cfg:
        print(to_yaml(recipe), end="")
        return 0
    from multigen.runs import jobs

    show_log(a.quiet)
    work = jobs.run if name == "run" else jobs.train
    folder = work(recipe, out=out, device=a.device, quiet=a.quiet, force=a.force, resume=a.resume)
    if os.environ.get("RANK", "0") == "0" and "MULTIGEN_LAUNCHED" not in os.environ:
        print(folder)
    return 0


def _again(a: argparse.Namespace, overrides: Sequence[str]) -> int:
    """Make a medium again from its file; the exit code."""
    wrong = {"--resume": a.resume, "--force": a.force, "-m": a.multirun, "--cfg": a.cfg}
    if flag := next((flag for flag, given in wrong.items() if given), None):
        raise MultigenError(f"{flag}: it does not go with a media file ({a.recipe})")
    from multigen.cli.request_file import read_request
    from multigen.runs.checks import declared_options
    from multigen.runs.told import make_again

    show_log(a.quiet)

    def read(text: str, where: str, recipe: str) -> Request:
        return read_request(text, where, lambda: declared_options(recipe))

    print(make_again(a.recipe, overrides, read=read, out=a.out, device=a.device, quiet=a.quiet))
    return 0


def _declared(recipe: str) -> Sequence[Option]:
    """The options that the modality of a recipe declares."""
    if is_medium(recipe):
        return ()
    from multigen.runs.checks import declared_options

    return declared_options(recipe)
