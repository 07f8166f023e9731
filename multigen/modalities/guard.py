"""Reading strangers' files in a process of its own: a decoder that crashes makes its file unreadable, nothing else.

FFmpeg, Pillow's codecs and libheif are C code that reads data of any origin. The process is a fork of this one, which
starts within milliseconds, or where that fails a new one; results come back through shared memory. Where processes
cannot be forked safely (macOS, Windows) files are read in this process.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import warnings
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, ParamSpec, TypeVar

from multigen.errors import MediaError

if TYPE_CHECKING:
    from multigen.modalities.guard_process import Channel

AVAILABLE = sys.platform == "linux"
_MOST = 600.0  # s for one file, by default

_BIRTH = 5.0, 60.0  # s until a fork and a new process answer: the latter imports torch
_HELLO = pickle.dumps((int, (), {}), protocol=5)  # a call of nothing: it shows that the process lives

P = ParamSpec("P")
T = TypeVar("T")


class Guard:
    """A process that decodes, started at the first call, and again after it died or this process was forked.

    Threads may share a guard: their calls take turns. `close` ends the process; so does the end of this one.
    """

    _forks: ClassVar[bool] = True  # until a fork of this process does not live

    def __init__(self, most: float = _MOST) -> None:
        """`most`: seconds that one call may take."""
        self._most = most
        self._reset()

    def _reset(self) -> None:
        self._owner, self._lock = os.getpid(), threading.Lock()
        self._child: tuple[int, Channel] | None = None
        self._end: Callable[[], Any] = int  # nothing to do yet

    def __getstate__(self) -> float:
        return self._most

    def __setstate__(self, state: float) -> None:
        self._most = state
        self._reset()

    def __call__(self, where: object, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return `function(*args, **kwargs)`, computed in the other process. Its errors are raised here.

        Tensors of the result are copies. MediaError that begins with `where`, the name of the file, if the process
        died or took too long. What cannot be sent (a class that is local to a function) is computed in this process.
        """
        if not AVAILABLE:
            return function(*args, **kwargs)
        try:
            request = pickle.dumps((function, args, kwargs), protocol=5)
        except (pickle.PicklingError, AttributeError, TypeError):
            return function(*args, **kwargs)
        if self._owner != os.getpid():
            self._reset()  # the process and the lock are those of the process that this one was forked from
        with self._lock:
            known, answer = self._ask(where, request)
        if not known:  # a class that was defined after the process had started
            return function(*args, **kwargs)
        for text, category in answer.warned:
            warnings.warn(text, category, stacklevel=2)
        if isinstance(answer.value, BaseException):
            raise answer.value
        return answer.value

    def start(self) -> None:
        """Start the process now, not at the first call."""
        if AVAILABLE:
            self(None, int)

    def _ask(self, where: object, request: bytes) -> tuple[bool, Any]:
        pid, channel = self._begin(where) if self._child is None else self._child
        try:
            channel.send(request)
            return channel.receive()
        except TimeoutError:
            self.close()
            raise MediaError(f"{where}: cannot be read within {self._most:g} s") from None
        except (EOFError, ConnectionError):
            why = _ending(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
            self.close()
            raise MediaError(f"{where}: cannot be read: its decoder {why}") from None
        except BaseException:  # the answer to this call must not be taken for the answer to the next
            self.close()
            raise

    def _begin(self, where: object) -> tuple[int, Channel]:
        """Start the process: a fork, and where that does not live, as of a process with threads it may, a new one."""
        from multigen.modalities import guard_process  # Windows lacks what it imports

        ways = list(zip((guard_process.fork, guard_process.spawn), _BIRTH, strict=True))
        for begin, most in ways if Guard._forks else ways[1:]:
            pid, channel = self._child = begin()
            self._end = weakref.finalize(self, _end, self._owner, pid, channel)
            try:
                channel.wait(most)
                channel.send(_HELLO)
                channel.receive()
                channel.wait(self._most)
                return self._child
            except (EOFError, ConnectionError, TimeoutError):
                self.close()
                Guard._forks = False
            except BaseException:  # its answer must not be taken for that to a call
                self.close()
                raise
        raise MediaError(f"{where}: cannot be read: the process that decodes it does not start")

    def close(self) -> None:
        """End the process; the next call starts another."""
        self._child = None
        self._end()


def guarded(where: object, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a `Guard` once."""
    guard = Guard()
    try:
        return guard(where, function, *args, **kwargs)
    finally:
        guard.close()


def _end(owner: int, pid: int, channel: Channel) -> None:
    if owner != os.getpid():
        return
    channel.close()
    with suppress(ChildProcessError):  # it died, and was waited for
        if os.waitpid(pid, os.WNOHANG)[0] == 0:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name
    return f"was killed ({name}); is memory short?" if code == -signal.SIGKILL else f"crashed ({name})"
