"""`multigen train`: train a recipe."""

from __future__ import annotations

from collections.abc import Sequence

from multigen.cli.arguments import Command, Parser
from multigen.cli.job import job_parser, run_job

DESCRIPTION = """\
Train a recipe. Re-running the same command resumes an interrupted training.

  multigen train image_digits weights=null train.minutes=10
  multigen train audio_folder data.path=./my_songs train.minutes=60
  multigen train runs/audio_folder train.minutes=120
"""


def parser() -> Parser:
    """The parser of the command."""
    return job_parser("train", DESCRIPTION)


def run(argv: Sequence[str]) -> int:
    """Run the command; the exit code."""
    return run_job("train", parser(), argv)


COMMAND = Command("train", "RECIPE [key=value ...]", "train, or continue in a run folder", parser, run)
