"""Errors for users. Each message says where, what was given, what is allowed, and what is nearest."""

from __future__ import annotations

import difflib
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class MultigenError(ValueError):
    """A mistake that the user can fix. The command line prints it without a traceback and exits with `code`."""

    code = 2


class RecipeError(MultigenError):
    """A mistake in a recipe or an override, raised before any work is done."""


class MediaError(MultigenError):
    """A media file that is missing, unreadable, truncated or over a limit."""


class TrainingError(MultigenError):
    """Training had to stop. What was saved is intact."""

    code = 1


class RankLost(TrainingError):
    """Another rank of the same training ended. Its own error gives the reason."""


class Interrupted(Exception):
    """A signal stopped the work, and everything is saved. The exit code is 128 + signum.

    signum  of the signal
    step    of the training, at which it stopped
    how     how to continue, for the message
    """

    def __init__(self, signum: int, step: int, how: str = "") -> None:
        super().__init__(
            f"stopped by {signal.Signals(signum).name} at step {step}; all is saved. {how}".strip()
        )
        self.code = 128 + signum
        self.step, self.how = step, how


def message(where: str, given: object, allowed: Iterable[object] = (), hint: str = "") -> str:
    """Write an error message: the place, what was given, what is allowed, the nearest match and a hint.

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
def errors_at(where: str, kind: type[MultigenError] = MultigenError) -> Iterator[None]:
    """Turn a ValueError inside the block into an error of this kind, with the place in front of its message."""
    try:
        yield
    except kind:
        raise
    except ValueError as error:
        raise kind(f"{where}: {error}") from error
