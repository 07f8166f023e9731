"""The command `multigen`. Only the standard library is imported before a command needs more.

Results (paths, lists) go to stdout, everything else to stderr. Exit codes: 0 done, 1 a fault, 2 a mistake that the
user can mend, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NoReturn

from multigen.errors import Interrupted, MultigenError, RecipeError, message
from multigen.version import __version__

HELP = """\
usage: multigen COMMAND ...

Make images, audio and video with diffusion models; train them on your own files.

  run RECIPE [key=value ...]      make what a recipe describes; train it first where nothing is trained yet
  train RECIPE [key=value ...]    train, or go on with a half-trained run folder
  sample SOURCE [key=value ...]   media from a run folder, a weights file or a trained recipe
  edit SOURCE --input FILE        vary, fill, grow or restyle a medium
  evaluate SOURCE [key=value ...] how good they are, in numbers, beside real media and noise
  export SOURCE FILE              a trained model as one safetensors file
  verify DIR                      are the media of a run folder as they were made?
  recipes                         list the shipped recipes
  parts [KIND]                    list every part that a recipe can name, with its arguments
  doctor                          what is installed here, which devices and codecs, where the cache is
  completion SHELL                a completion script for bash, zsh or fish

RECIPE is a YAML file, a run folder or the name of a shipped recipe. key=value overrides are Hydra's.

  multigen run image_digits
  multigen run audio_music guide.scale=2
  multigen run image_digits -m guide.scale=1,2,4
  multigen train audio_folder data.path=./my_songs train.minutes=60

multigen COMMAND --help tells the rest.
"""


class Parser(argparse.ArgumentParser):
    """argparse whose refusals are MultigenErrors, with the nearest option."""

    def error(self, message: str) -> NoReturn:
        # In mixed order argparse counts `key=value ...` among the required, although none need be given.
        raise MultigenError(f"{message.replace(', key=value', '')}. See: {self.prog} --help")

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """Options and positional arguments in any order."""
        arguments, rest = self.parse_known_intermixed_args(argv)
        if rest:
            options = [o for a in self._actions for o in a.option_strings if o.startswith("--")]
            raise MultigenError(message("option", rest[0], options))
        return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in argv or bool(os.environ.get("MULTIGEN_DEBUG"))
    argv = [a for a in argv if a != "--debug"]
    try:
        code = _dispatch(argv)
        sys.stdout.flush()
        return code
    except MultigenError as error:
        if debug:
            traceback.print_exc()
        _tell(error, f"error: {error}")
        return error.code
    except (Interrupted, KeyboardInterrupt) as stop:
        return _stopped(stop)
    except BrokenPipeError:
        # The reader went away (`multigen parts | head`): say nothing, and keep Python from flushing into the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141

    except OSError as error:  # a full disk, a folder that cannot be written
        if debug:
            traceback.print_exc()
        _tell(error, f"error: {error}. What was already written is intact.")
        return 1


def _tell(error: BaseException, text: str) -> None:
    """Say on stderr why the command ends, unless it is one of many ranks and another of them says it."""
    if "RANK" in os.environ:
        from multigen.training.told import told

        if told(error):
            return
    print(f"multigen: {text}", file=sys.stderr)


def _stopped(stop: Interrupted | KeyboardInterrupt) -> int:
    _tell(stop, str(stop) or "stopped")
    return stop.code if isinstance(stop, Interrupted) else 130


def _dispatch(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0
    if argv[0] == "--version":
        print(f"multigen {__version__}")
        return 0
    if argv[0] not in COMMANDS:
        raise MultigenError(message("command", argv[0], COMMANDS))
    return COMMANDS[argv[0]](argv[1:])


# --- run and train ----------------------------------------------------------------------------------------------


def common(name: str, does: str) -> Parser:
    parser = Parser(prog=f"multigen {name}", description=does, allow_abbrev=False)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder to write to (default: runs/<recipe name>)"
    )
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1, mps (default: the best here)")
    parser.add_argument("--seed", type=int, metavar="N", help="the same as seed=N")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _job(name: Literal["run", "train"], does: str, argv: list[str]) -> int:
    """`run` and `train`: the same arguments, one job or a sweep."""
    parser = common(name, does)
    parser.add_argument(
        "recipe", metavar="RECIPE", help="a YAML file, a run folder or a shipped recipe's name"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="overrides as Hydra reads them")
    parser.add_argument("--force", action="store_true", help="go on in a folder that holds other settings")
    parser.add_argument("--cfg", choices=["job"], help="print the resolved recipe and end")
    parser.add_argument("-m", "--multirun", action="store_true", help="sweep: train.lr=1e-4,1e-3 and so on")
    a = parser.parse(argv)
    overrides = [*a.overrides, *([] if a.seed is None else [f"seed={a.seed}"])]
    if a.multirun and not a.cfg:
        from multigen.sweep import sweep

        sweep(name, a.recipe, overrides, out=a.out, device=a.device, quiet=a.quiet, force=a.force)
        return 0
    from multigen.recipe import check_combination, load_recipe, to_yaml

    recipe = load_recipe(a.recipe, overrides)
    check_combination(recipe)
    if name == "run" and recipe.weights is not None and any(o.startswith("train.") for o in overrides):
        raise RecipeError(
            f"{next(o for o in overrides if o.startswith('train.'))}: nothing is trained, for the recipe names "
            f"weights ({recipe.weights}). Train with: multigen train, or weights=null"
        )
    if a.cfg:
        print(to_yaml(recipe), end="")
        return 0
    from multigen import run as pipeline

    log(a.quiet)
    # A run folder is gone on with where it is.
    out = a.out or (Path(a.recipe) if Path(a.recipe, "recipe.yaml").is_file() else None)
    job = pipeline.run if name == "run" else pipeline.train
    folder = job(recipe, out=out, device=a.device, quiet=a.quiet, force=a.force)
    if os.environ.get("RANK", "0") == "0" and "MULTIGEN_LAUNCHED" not in os.environ:
        print(folder)
    return 0


def log(quiet: bool) -> None:
    from multigen.training.log import to_stderr

    to_stderr(quiet=quiet)


def _run(argv: list[str]) -> int:
    return _job("run", "Make what a recipe describes; train it first where nothing is trained yet.", argv)


def _train(argv: list[str]) -> int:
    return _job("train", "Train a recipe, or go on with a half-trained run folder.", argv)


# --- sample -----------------------------------------------------------------------------------------------------


def _sample(argv: list[str]) -> int:
    parser = common("sample", "Make media with a trained model.")
    parser.add_argument("source", metavar="SOURCE", help="a run folder, a weights file or a trained recipe")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="sampler.name=heun guide.scale=4 ..."
    )
    parser.add_argument(
        "--prompt", action="append", metavar="TEXT", help="what to make; may be given many times"
    )
    parser.add_argument(
        "--prompts", type=Path, metavar="FILE",
        help='a text file, one prompt a line, or {"prompt": ..., "seed": 3, "steps": 20, "overrides": [...]}',
    )  # fmt: skip
    parser.add_argument("--negative", metavar="TEXT", help="what guidance leads away from")
    parser.add_argument("-n", type=count, metavar="N", help="media for each prompt")
    parser.add_argument("--steps", type=count, metavar="K", help="sampler steps")
    parser.add_argument("--size", type=_size, metavar="PX", help="side, or HEIGHTxWIDTH, in pixels")
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
    parser.add_argument("--long", action="store_true", help="larger than the model's own, in windows")
    parser.add_argument("--wrap", action="store_true", help="with --long: the last axis is a circle")
    parser.add_argument(
        "--trajectory", action="store_true", help="keep how the first medium of each prompt came about"
    )
    a = parser.parse(argv)
    if a.per_class:
        return _labelled(a)
    for option in ("trajectory", "blend", "long"):
        if getattr(a, option) and a.prompts:
            raise MultigenError(f"--{option} goes with --prompt, not with --prompts")
    if a.wrap and not a.long:
        raise MultigenError("--wrap goes with --long")
    from multigen import run as pipeline

    wishes = None
    if a.prompts:
        from multigen.wishes import wish

        lines = enumerate(lines_of(a.prompts), 1)
        wishes = [wish(p, "--prompt") for p in a.prompt or []]
        wishes += [wish(text, f"--prompts {a.prompts}: request {k}") for k, text in lines]
    log(a.quiet)
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
        long=a.long,
        wrap=a.wrap,
        blend=None if a.blend is None else (a.blend, a.to_seed),
        out=a.out,
        device=a.device,
        quiet=a.quiet,
    )
    print(folder)
    return 0


def _labelled(a: argparse.Namespace) -> int:
    if a.out is None or a.prompt or a.prompts or a.n:
        raise MultigenError("--per-class goes with --out DIR, and without --prompt, --prompts and -n")
    from multigen.labelled import labelled_set
    from multigen.loading import build, find, sampling_recipe

    log(a.quiet)
    found = find(a.source)
    recipe = sampling_recipe(found.recipe, a.overrides)
    model = build(found, recipe, device=a.device)
    seed = recipe.seed if a.seed is None else a.seed
    print(labelled_set(model, a.out, a.per_class, seed=seed, steps=a.steps, quiet=a.quiet))
    return 0


def count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed; give a whole number, at least 1")
    return int(text)


def positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed; give a number above 0")
    return value


def _size(text: str) -> int | tuple[int, int]:
    height, by, width = text.partition("x")
    return (count(height), count(width)) if by else count(text)


def lines_of(path: Path) -> list[str]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise MultigenError(f"--prompts {path}: cannot be read ({error})") from None
    prompts = [line for line in lines if line]
    if not prompts:
        raise MultigenError(f"--prompts {path}: there is no prompt in it; give one a line")
    return prompts


def _edit(argv: list[str]) -> int:
    from multigen.edit_command import edit

    return edit(argv)


def _evaluate(argv: list[str]) -> int:
    parser = common("evaluate", "Measure a trained model: meaning, distances, copies, loss, speed.")
    parser.add_argument("source", metavar="SOURCE", help="a run folder, a weights file or a trained recipe")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="evaluate.n=100 evaluate.metrics=[hue] sample.steps=20 ...",
    )
    parser.add_argument(
        "--media", type=Path, metavar="DIR", help="measure these files in place of what the model makes"
    )
    parser.add_argument(
        "--convert", action="store_true", help="with --media: fit other sizes and rates first"
    )
    a = parser.parse(argv)
    if a.convert and a.media is None:
        raise MultigenError("--convert goes with --media")
    from multigen import run as pipeline

    log(a.quiet)
    folder, lines = pipeline.evaluate(
        a.source,
        overrides=a.overrides,
        seed=a.seed,
        media=a.media,
        convert=a.convert,
        out=a.out,
        device=a.device,
        quiet=a.quiet,
    )
    for line in lines:
        print(line)
    print(folder)
    return 0


def _verify(argv: list[str]) -> int:
    parser = Parser(prog="multigen verify", description="Hash the media of a run folder again.")
    parser.add_argument("folder", type=Path, metavar="DIR", help="a run folder, or one that `sample` made")
    folder = parser.parse(argv).folder
    from multigen.manifest import verify

    faults = verify(folder)
    for fault in faults:
        print(fault)
    print(
        f"{folder}: {len(faults)} files are missing or changed"
        if faults
        else f"{folder}: all is as it was made"
    )
    return 1 if faults else 0


def _export(argv: list[str]) -> int:
    parser = Parser(prog="multigen export", description="Write a trained model to one safetensors file.")
    parser.add_argument("source", metavar="SOURCE", help="a run folder, a weights file or a trained recipe")
    parser.add_argument("file", type=Path, metavar="FILE", help="where to: a new .safetensors file")
    parser.add_argument("--half", action="store_true", help="float16: half the size")
    a = parser.parse(argv)
    if a.file.exists():
        raise MultigenError(f"{a.file}: is there already; give another name")
    from multigen.loading import export

    print(export(a.source, a.file, half=a.half))
    return 0


# --- lists ------------------------------------------------------------------------------------------------------


def _recipes(argv: list[str]) -> int:
    Parser(prog="multigen recipes", description="List the shipped recipes.").parse(argv)
    from multigen.recipe_source import read, shipped

    for name, path in shipped().items():
        print(f"{name:22} {read(path).data.get('description', '')}")
    return 0


def _parts(argv: list[str]) -> int:
    parser = Parser(prog="multigen parts", description="List every part that a recipe can name.")
    parser.add_argument(
        "kind", nargs="?", metavar="KIND", help="one kind only: sampler, schedule, dataset, ..."
    )
    kind = parser.parse(argv).kind
    from multigen.listing import parts

    for line in parts(kind):
        print(line)
    return 0


def _doctor(argv: list[str]) -> int:
    Parser(prog="multigen doctor", description="What is installed and what this machine can do.").parse(argv)
    from multigen.doctor import report

    print(report())
    return 0


def _completion(argv: list[str]) -> int:
    parser = Parser(
        prog="multigen completion", description='Print a completion script: eval "$(multigen ...)"'
    )
    parser.add_argument("shell", choices=["bash", "zsh", "fish"])
    shell = parser.parse(argv).shell
    from multigen.completion import script

    print(script(shell), end="")
    return 0


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "run": _run,
    "train": _train,
    "sample": _sample,
    "edit": _edit,
    "evaluate": _evaluate,
    "export": _export,
    "verify": _verify,
    "recipes": _recipes,
    "parts": _parts,
    "doctor": _doctor,
    "completion": _completion,
}
