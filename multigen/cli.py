"""The command `multigen`. Only the standard library is imported before a command needs more.

Results (paths, lists) go to stdout, everything else to stderr. Exit codes: 0 done, 1 a fault, 2 a mistake that the
user can mend, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from multigen.command_line import Parser, common, log, positive
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
  convert FILE OUT                the tensors of a pickled checkpoint as safetensors; runs no code
  pack SOURCE --out DIR           a folder or a built-in set as shards, which data.name=shards reads
  verify DIR                      are the media of a run folder, or its shards, as they were made?
  recipes                         list the shipped recipes
  datasets list | fetch NAME      data sets that no package carries: show them, get one
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
    from multigen.recipe import load_recipe, to_yaml
    from multigen.recipe_fit import check_combination

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


def _run(argv: list[str]) -> int:
    return _job("run", "Make what a recipe describes; train it first where nothing is trained yet.", argv)


def _train(argv: list[str]) -> int:
    return _job("train", "Train a recipe, or go on with a half-trained run folder.", argv)


# --- what uses a trained model ----------------------------------------------------------------------------------


def _sample(argv: list[str]) -> int:
    from multigen.sample_command import sample

    return sample(argv)


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


def _pack(argv: list[str]) -> int:
    from multigen.pack_command import pack

    return pack(argv)


def _verify(argv: list[str]) -> int:
    parser = Parser(prog="multigen verify", description="Hash the media of a run folder, or shards, again.")
    parser.add_argument(
        "folder", type=Path, metavar="DIR", help="a run folder, one that `sample` made, or shards"
    )
    folder = parser.parse(argv).folder
    from multigen.datasets import index
    from multigen.manifest import verify

    faults = index.faults(folder) if (folder / index.FILE).is_file() else verify(folder)
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
    parser.add_argument(
        "--merge", action="store_true", help="of a LoRA's run: base and LoRA as one model, not the LoRA alone"
    )
    parser.add_argument(
        "--ema",
        type=positive,
        metavar="SIGMA",
        help="another length of average (sigma_rel), from a run's snapshots",
    )
    a = parser.parse(argv)
    if a.file.exists():
        raise MultigenError(f"{a.file}: is there already; give another name")
    from multigen.loading import export

    log(quiet=False)
    print(export(a.source, a.file, half=a.half, merge=a.merge, ema=a.ema))
    return 0


def _convert(argv: list[str]) -> int:
    parser = Parser(
        prog="multigen convert",
        description="Write the tensors of a pickled checkpoint (.ckpt, .pt, .bin) as safetensors; runs no code.",
    )
    parser.add_argument("source", type=Path, metavar="FILE", help="the pickled checkpoint")
    parser.add_argument("target", type=Path, metavar="OUT", help="a new .safetensors file")
    parser.add_argument("--key", metavar="NAME", help="the entry that is meant, where several have tensors")
    a = parser.parse(argv)
    from multigen.convert import convert

    count, rest = convert(a.source, a.target, key=a.key)
    left = f"; left out: {', '.join(rest)}" if rest else ""
    print(f"{a.target}: {count} tensors{left}", file=sys.stderr)
    print(a.target)
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


def _datasets(argv: list[str]) -> int:
    from multigen.datasets_command import datasets

    return datasets(argv)


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "run": _run,
    "train": _train,
    "sample": _sample,
    "edit": _edit,
    "evaluate": _evaluate,
    "export": _export,
    "convert": _convert,
    "pack": _pack,
    "verify": _verify,
    "recipes": _recipes,
    "datasets": _datasets,
    "parts": _parts,
    "doctor": _doctor,
    "completion": _completion,
}
