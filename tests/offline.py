"""Runs multigen's command line where a connection to another machine is noticed: `python -m tests.offline LOG`.

Reads lists of arguments from standard input, a line of JSON each, and runs one after another. Python's own attempts are
written to the file LOG, by an audit hook. Those of native code, of threads and of child processes too, end the process
with SIGSYS: the kernel kills whoever calls `connect` or `sendto` with an address of the size of an internet one.
"""

from __future__ import annotations

import ctypes
import json
import platform
import struct
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Audit events that name another machine: https://docs.python.org/3/library/audit_events.html
EVENTS = (
    "socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo",
    "socket.sendto", "socket.sendmsg", "urllib.Request", "http.client.connect", "ftplib.connect", "smtplib.connect",
)  # fmt: skip
# Of each machine: its AUDIT_ARCH, and the numbers of connect and sendto.
CALLS = {"x86_64": (0xC000003E, 42, 44), "aarch64": (0xC00000B7, 203, 206)}
SIZES = (16, 28)  # of sockaddr_in and sockaddr_in6
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_NO_NEW_PRIVILEGES, _SECCOMP, _FILTER = 38, 22, 2  # of prctl


def watch(log: Path) -> None:
    """Note Python's attempts to reach another machine, for the rest of the process."""

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event in EVENTS and not _local(args):
            with log.open("a", encoding="utf-8") as file:
                file.write(f"{event} {args[:2]!r}\n")

    sys.addaudithook(hook)


def _local(args: tuple[Any, ...]) -> bool:
    """Whether an event is about a socket of this machine alone, such as one in the file system."""
    return any(isinstance(one, str | bytes) and one[:1] in ("/", b"/", b"\0") for one in args)


def seal() -> bool:
    """Let the kernel kill whoever connects to another machine; False where it cannot."""
    found = CALLS.get(platform.machine())
    if sys.platform != "linux" or found is None:
        return False
    arch, connect, sendto = found
    rows = _program(arch, {connect: 2, sendto: 5})  # which argument is the size of the address
    code = ctypes.create_string_buffer(b"".join(rows))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(rows), ctypes.addressof(code)))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    allowed = prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0
    return allowed and prctl(_SECCOMP, _FILTER, ctypes.addressof(program), 0, 0) == 0


def _program(arch: int, calls: Mapping[int, int]) -> list[bytes]:
    """A filter of classic BPF (linux/seccomp.h): kill calls whose argument is one of `SIZES`, allow all others."""

    def step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
        return struct.pack("HBBI", code, yes, no, value)

    load, same, end = 0x20, 0x15, 0x06
    rows = [step(load, 4), step(same, arch, yes=1), step(end, _ALLOW)]
    for number, argument in calls.items():
        rows += [step(load, 0), step(same, number, no=3 + len(SIZES)), step(load, 16 + 8 * argument)]
        rows += [step(same, size, yes=len(SIZES) - k) for k, size in enumerate(SIZES)]
        rows += [step(end, _ALLOW), step(end, _KILL)]
    return [*rows, step(end, _ALLOW)]


def main(log: Path) -> int:
    """Run all; the first exit code that is not 0."""
    watch(log)
    print("sealed" if seal() else "not sealed", flush=True)
    from multigen.cli.main import main as run

    for line in sys.stdin:
        if (code := run(json.loads(line))) != 0:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
