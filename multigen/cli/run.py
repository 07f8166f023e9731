"""`multigen run`: make what a recipe describes."""

from __future__ import annotations

from collections.abc import Sequence

from multigen.cli.arguments import Command, Parser
from multigen.cli.job import job_parser, run_job

DESCRIPTION = """\
Make the media that a recipe describes, and train it first where nothing is trained yet.

  multigen run image_digits
  multigen run audio_music guide.scale=2
  multigen run image_digits -m guide.scale=1,2,4
"""


def parser() -> Parser:
    """The parser of the command."""
    return job_parser("run", DESCRIPTION)


def run(argv: Sequence[str]) -> int:
    """Run the command; the exit code."""
    return run_job("run", parser(), argv)


COMMAND = Command(
    "run",
    "RECIPE [key=value ...]",
    "make what a recipe describes; train first where nothing is trained yet",
    parser,
    run,
)
