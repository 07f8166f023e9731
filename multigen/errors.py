"""Errors for users: where, what was given, what is allowed, what is nearest."""

from __future__ import annotations

import difflib
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class MultigenError(ValueError):
    """A mistake that the user can mend. The command line prints it without a traceback and exits with `code`."""

    code = 2


class RecipeError(MultigenError):
    """Something in a recipe or an override is wrong; raised before any work is done."""


class MediaError(MultigenError):
    """A media file is missing, unreadable, truncated or over a limit."""


class TrainingError(MultigenError):
    """Training had to stop; what was saved is intact."""

    code = 1


class Lost(TrainingError):
    """Another rank of the same training ended; it has said why."""


class Interrupted(Exception):
    """Work was asked to stop by a signal; everything is saved. Not a mistake: the exit code is 128 + signum."""

    def __init__(self, signum: int, step: int, how: str = "") -> None:
        super().__init__(
            f"stopped by {signal.Signals(signum).name} at step {step}; all is saved. {how}".strip()
        )
        self.code = 128 + signum
        self.step, self.how = step, how


def message(where: str, given: object, allowed: Iterable[object] = (), hint: str = "") -> str:
    """One sentence each for the place, what was given, what is allowed and what is nearest.

    >>> message("sampler.name", "ddimm", ["ddim", "heun"])
    "sampler.name: 'ddimm' is not allowed. Allowed: ddim, heun. Did you mean 'ddim'?"
    """
    names = [str(a) for a in allowed]
    text = f"{where}: {given!r} is not allowed."
    if names:
        text += f" Allowed: {', '.join(names)}."
        close = difflib.get_close_matches(str(given), names, n=1, cutoff=0.5)
        if close:
            text += f" Did you mean {close[0]!r}?"
    return f"{text} {hint}" if hint else text


@contextmanager
def refused(where: str, kind: type[MultigenError] = MultigenError) -> Iterator[None]:
    """A part's own refusal, a ValueError, as an error of that kind with the place in front."""
    try:
        yield
    except kind:
        raise
    except ValueError as error:
        raise kind(f"{where}: {error}") from error
