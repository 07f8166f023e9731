"""The command `multigen`: its commands, and the exit codes of what goes wrong.

Only the standard library is imported before a command needs more. Results (paths, lists) go to stdout, everything else
to stderr. Exit codes: 0 done, 1 a fault, 2 a mistake that the user can correct, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Mapping, Sequence

from multigen.cli import (
    completion,
    convert,
    datasets,
    doctor,
    edit,
    evaluate,
    explain,
    export,
    film,
    info,
    pack,
    parts,
    recipes,
    run,
    sample,
    serve,
    sheet,
    shrink,
    train,
    verify,
)
from multigen.cli.arguments import Command
from multigen.errors import Interrupted, MultigenError, message, reason
from multigen.version import __version__

_COMMANDS = (
    run, train, sample, edit, film, serve, evaluate, explain, export, shrink, convert, pack, sheet, verify, info,
    recipes, datasets, parts, doctor,
)  # fmt: skip
COMMANDS: Mapping[str, Command] = {m.COMMAND.name: m.COMMAND for m in _COMMANDS} | {
    "completion": completion.command(lambda: COMMANDS)
}

# What other tools have a command for.
_EDIT = "multigen edit SOURCE --input FILE"
_HINTS = {
    "upscale": f"Write: {_EDIT} --restore downsample",
    "upsample": f"Write: {_EDIT} --restore downsample",
    "img2img": f"Write: {_EDIT} --prompt TEXT",
    "inpaint": f"Write: {_EDIT} --mask PICTURE",
    "outpaint": f"Write: {_EDIT} --extend 8",
}

HELP = """\
usage: multigen COMMAND ...

Make images, audio and video with diffusion models, and train them on your own files.

{commands}

RECIPE is a YAML file, a run folder or the name of a shipped recipe. SOURCE is a run folder, a weights file or a
trained recipe. Overrides (key=value) follow Hydra's grammar.

  multigen run image_digits
  multigen sample image_emoji --prompt "red apple"
  multigen train audio_folder data.path=./my_songs train.minutes=60

multigen COMMAND --help lists the options of a command.
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
        _print(error, f"error: {error}")
        return error.code
    except Interrupted as stop:
        _print(stop, str(stop))
        return stop.code
    except KeyboardInterrupt as stop:
        _print(stop, str(stop) or "stopped")
        return 130
    except BrokenPipeError:
        # The reader is gone (`multigen parts | head`): print nothing, and keep Python from flushing into the pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:  # a full disk, a folder that cannot be written
        if debug:
            traceback.print_exc()
        where = f"{error.filename}: " if error.filename else ""
        _print(error, f"error: {where}{reason(error)}. What was already written is intact.")
        return 1


def _print(error: BaseException, text: str) -> None:
    """Print on stderr why the command ends, unless it is one of several ranks and another of them does."""
    if "RANK" in os.environ:
        from multigen.training.rank_errors import reported

        if reported(error):
            return
    print(f"multigen: {text}", file=sys.stderr)


def _dispatch(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(HELP.format(commands=overview()), end="")
        return 0
    if argv[0] == "--version":
        print(f"multigen {__version__}")
        return 0
    if argv[0] not in COMMANDS:
        raise MultigenError(message("command", argv[0], COMMANDS, _HINTS.get(argv[0], "")))
    return COMMANDS[argv[0]].run(argv[1:])


def overview() -> str:
    """A line for each command."""
    rows = [(f"{c.name} {c.usage}".rstrip(), c.summary) for c in COMMANDS.values()]
    width = max(len(left) for left, _ in rows)
    return "\n".join(f"  {left:{width}}  {right}" for left, right in rows)
