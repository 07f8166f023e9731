"""The process behind a `Guard`, which answers calls, and the channel to it.

It is a fork of this process, or a Python of its own: that takes a second, and starts whatever this process is doing.
"""

from __future__ import annotations

import faulthandler
import gc
import io
import json
import mmap
import os
import pickle
import resource
import signal
import socket
import stat
import struct
import sys
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from multigen.modalities.allocator import give_back
from multigen.modalities.threads import DECODERS

_SHARED = 16 * 1024**2  # bytes of memory that both processes see; larger results come in several pieces
_LOOK = 1.0  # s between two looks whether the parent lives
_BEGIN = """import json, sys
sys.path[:] = json.loads(sys.argv[1])
from multigen.modalities.guard_process import answer
answer(*map(int, sys.argv[2:]))"""  # what a Python of its own is given
_HEAD = struct.Struct("<BQI")  # kind of the answer, bytes of its pickle, number of its buffers
_ANSWER, _UNKNOWN = 0, 1


class Outcome(NamedTuple):
    """What a call returned or raised, and its warnings: the other process has nobody to show them to."""

    value: Any
    warned: list[tuple[str, type[Warning]]]


class Channel:
    """One end of a connection: requests one way, answers with tensors the other way."""

    def __init__(self, connection: socket.socket, shared: mmap.mmap) -> None:
        self._connection, self._shared = connection, shared

    def close(self) -> None:
        """Close this end."""
        self._connection.close()

    def wait(self, most: float) -> None:
        """From now on, wait `most` s for an answer."""
        self._connection.settimeout(most)

    def send(self, request: bytes) -> None:
        """Send a request."""
        self._connection.sendall(struct.pack("<Q", len(request)) + request)

    def receive(self) -> tuple[bool, Any]:
        """Wait for the answer: whether the request was understood, and what came of it.

        TimeoutError after the limit; EOFError or ConnectionError if the process is gone.
        """
        kind, length, count = _HEAD.unpack(self._take(_HEAD.size))
        body = self._take(length)
        sizes = struct.unpack(f"<{count}Q", self._take(8 * count))
        buffers = [self._fetch(size) for size in sizes]
        return kind != _UNKNOWN, pickle.loads(body, buffers=buffers)

    def _fetch(self, size: int) -> np.ndarray:
        out = np.empty(size, np.uint8)
        for begin in range(0, size, _SHARED):
            part = out[begin : begin + _SHARED]
            self._take(1)
            part[:] = np.frombuffer(self._shared, np.uint8, len(part))
            self._connection.sendall(b"+")
        return out

    def _take(self, size: int, idle: Callable[[], None] | None = None) -> bytes:
        """The next `size` bytes. `idle` is called while none come; without it, that is a TimeoutError."""
        out = bytearray(size)
        view = memoryview(out)
        while view:
            try:
                got = self._connection.recv_into(view)
            except TimeoutError:
                if idle is None:
                    raise
                idle()
                continue
            if not got:
                raise EOFError
            view = view[got:]
        return bytes(out)

    # --- the other end ----------------------------------------------------------------------------------------

    def serve(self, idle: Callable[[], None]) -> None:
        """Answer requests without end. EOFError when the other end is closed."""
        busy = False

        def rest() -> None:
            nonlocal busy
            if busy:
                give_back()
            busy = False
            idle()

        while True:
            (size,) = struct.unpack("<Q", self._take(8, rest))
            request = self._take(size, idle)
            try:
                function, args, kwargs = pickle.loads(request)
            except (AttributeError, ImportError):
                self._answer(_UNKNOWN, None, idle)
                continue
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                outcome = _outcome(function, args, kwargs)
            self._answer(_ANSWER, Outcome(outcome, [(str(w.message), w.category) for w in said]), idle)
            function = args = kwargs = outcome = request = None
            busy = True

    def _answer(self, kind: int, value: Any, idle: Callable[[], None]) -> None:
        buffers: list[pickle.PickleBuffer] = []
        body = _pickled(value, buffers)
        raw = [np.frombuffer(b.raw(), np.uint8) for b in buffers]
        head = _HEAD.pack(kind, len(body), len(raw))
        self._connection.sendall(head + body + struct.pack(f"<{len(raw)}Q", *map(len, raw)))
        for array in raw:
            for begin in range(0, len(array), _SHARED):
                part = array[begin : begin + _SHARED]
                np.frombuffer(self._shared, np.uint8, len(part))[:] = part
                self._connection.sendall(b".")
                self._take(1, idle)


def fork() -> tuple[int, Channel]:
    """Start a copy of this process that answers calls, within milliseconds: its number, and the channel to it.

    It may die or hang at once: what libraries of this process do when their threads are gone is theirs. A group of
    gloo, for one, waits for its threads.
    """
    ours, theirs = socket.socketpair()
    shared = mmap.mmap(-1, _SHARED)
    parent, threads = os.getpid(), DECODERS.get() or torch.get_num_threads()
    with warnings.catch_warnings():
        # Python warns that a lock of another thread may stay closed. The child takes none but its own.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        try:
            ours.close()
            _let_go(theirs.fileno())
            _serve(theirs, shared, parent, threads)
        finally:
            os._exit(0)  # not the parent's way out: its buffers and its clean-up are not ours
    theirs.close()
    return pid, Channel(ours, shared)


def spawn() -> tuple[int, Channel]:
    """Start a new Python that answers calls, as `fork` does; it takes as long as `import torch`."""
    ours, theirs = socket.socketpair()
    memory = os.memfd_create("multigen")
    try:
        os.ftruncate(memory, _SHARED)
        shared = mmap.mmap(memory, _SHARED)
        kept = [theirs.fileno(), memory]
        numbers = [*kept, os.getpid(), DECODERS.get() or torch.get_num_threads()]
        command = [sys.executable, "-c", _BEGIN, json.dumps(sys.path), *map(str, numbers)]
        # A file duplicated onto its own number stays open in the new process.
        actions = [(os.POSIX_SPAWN_DUP2, number, number) for number in kept]
        pid = os.posix_spawn(sys.executable, command, os.environ, file_actions=actions)
    finally:
        os.close(memory)
        theirs.close()
    return pid, Channel(ours, shared)


def answer(connection: int, memory: int, parent: int, threads: int) -> None:
    """What the Python of `spawn` does. The numbers of two open files, of its parent, and of threads that decode."""
    try:
        _serve(socket.socket(fileno=connection), mmap.mmap(memory, _SHARED), parent, threads)
    finally:
        os._exit(0)


def _serve(connection: socket.socket, shared: mmap.mmap, parent: int, threads: int) -> None:
    _settle(threads)
    connection.settimeout(_LOOK)
    Channel(connection, shared).serve(lambda: _leave_if_alone(parent))


def _settle(threads: int) -> None:
    """Leave behind what is the parent's: its reaction to signals, its thread pool, its garbage."""
    for s in (signal.SIGINT, signal.SIGTERM):  # they reach every process of a terminal; the parent decides
        signal.signal(s, signal.SIG_IGN)
    faulthandler.disable()
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    gc.freeze()
    torch.set_num_threads(1)  # a pool of threads does not outlive a fork
    DECODERS.set(threads)


def _let_go(kept: int) -> None:
    """Replace the parent's sockets: a connection that it closes would stay open here, and an address stay taken.

    Their numbers stay in use, so that objects of the parent that close them close nothing else.
    """
    nothing = os.open(os.devnull, os.O_RDWR)
    for name in os.listdir("/proc/self/fd"):
        number = int(name)
        with suppress(OSError):  # the one that listed the folder is closed
            if number > 2 and number != kept and stat.S_ISSOCK(os.fstat(number).st_mode):
                os.dup2(nothing, number)


def _leave_if_alone(parent: int) -> None:
    if os.getppid() != parent:
        os._exit(0)


def _outcome(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What the function returns, or the error that it raises."""
    try:
        return function(*args, **kwargs)
    except Exception as error:
        error.__traceback__, text = None, traceback.format_exc()
        with suppress(Exception):
            pickle.loads(pickle.dumps(error))
            return error
        return RuntimeError(f"{error!r}\n{text}")


class _Pickler(pickle.Pickler):
    """Tensors go as arrays, whose values lie outside the pickle."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, Tensor):
            return torch.from_numpy, (obj.detach().contiguous().numpy(),)
        return NotImplemented


def _pickled(value: Any, buffers: list[pickle.PickleBuffer]) -> bytes:
    file = io.BytesIO()
    _Pickler(file, protocol=5, buffer_callback=buffers.append).dump(value)
    return file.getvalue()
