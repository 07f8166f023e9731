"""A process that decodes: what it returns and raises, and that its death is an unreadable file."""

from __future__ import annotations

import ctypes
import gc
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from multigen.errors import MediaError
from multigen.modalities import guard, guard_process
from multigen.modalities.guard import Guard, guarded
from multigen.modalities.image import Image

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="files are read in this process there")


def where_am_i() -> int:
    return os.getpid()


def crash() -> None:
    ctypes.string_at(0)


def end(how: int) -> None:
    os.kill(os.getpid(), how)


def doubled(media: Tensor, note: dict[str, int]) -> tuple[Tensor, dict[str, int]]:
    return media * 2, {**note, "seen": media.numel()}


def refuse(text: str) -> None:
    raise MediaError(text)


def stumble() -> None:
    raise ZeroDivisionError("a fault of ours")


def linger(seconds: float) -> None:
    time.sleep(seconds)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_calls_run_elsewhere_and_return_what_they_would_here() -> None:
    ask = Guard()
    assert ask("f", where_am_i) == ask("f", where_am_i) != os.getpid()
    # Over the shared memory's size, not contiguous, empty.
    for media in (torch.rand(3, 1500, 1300), torch.rand(4, 6).T, torch.zeros(1, 0)):
        out, note = ask("f", doubled, media, {"a": 1})
        assert torch.equal(out, media * 2)
        assert note == {"a": 1, "seen": media.numel()}
        out += 1  # it is writable, and ours
    ask.close()


@pytest.mark.parametrize(
    ("how", "said"),
    [(signal.SIGSEGV, r"crashed \(SIGSEGV\)"), (signal.SIGABRT, r"crashed \(SIGABRT\)"),
     (signal.SIGKILL, r"was killed \(SIGKILL\); is memory short\?")],
)  # fmt: skip
def test_a_death_is_an_unreadable_file_and_the_next_is_read(how: int, said: str) -> None:
    ask = Guard()
    before = ask("a.mp4", where_am_i)
    with pytest.raises(MediaError, match=rf"^a\.mp4: cannot be read: its decoder {said}"):
        ask("a.mp4", end, how)
    assert ask("b.mp4", where_am_i) not in (before, os.getpid())


def test_a_real_fault_of_memory_is_survived(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(MediaError, match=r"SIGSEGV"):
        guarded("a.flac", crash)
    assert "Fatal Python error" not in capfd.readouterr().err  # nothing is printed beside the message


def test_errors_come_back_as_they_are() -> None:
    ask = Guard()
    with pytest.raises(MediaError, match="^b.wav: the file is empty$"):
        ask("b.wav", refuse, "b.wav: the file is empty")
    with pytest.raises(ZeroDivisionError, match="a fault of ours"):
        ask("b.wav", stumble)


def test_a_decoder_that_hangs_is_ended() -> None:
    ask = Guard(most=0.3)
    begun = time.monotonic()
    with pytest.raises(MediaError, match="^c.mkv: cannot be read within 0.3 s$"):
        ask("c.mkv", linger, 60)
    assert time.monotonic() - begun < 5
    assert ask("d.mkv", where_am_i) != os.getpid()


def test_threads_take_turns() -> None:
    ask, got = Guard(), {}

    def work(k: int) -> None:
        for _ in range(20):
            out, _ = ask("f", doubled, torch.full((100,), float(k)), {})
            got.setdefault(k, set()).add(float(out[0]))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(30)
    assert got == {k: {2.0 * k} for k in range(4)}


def test_a_copy_and_a_forked_process_have_a_process_of_their_own() -> None:
    ask = Guard()
    first = ask("f", where_am_i)
    copy = pickle.loads(pickle.dumps(ask))
    assert copy("f", where_am_i) not in (first, os.getpid())
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, str(ask("f", where_am_i)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert int(os.read(read, 20)) not in (first, child, os.getpid())
    assert ask("f", where_am_i) == first


def test_the_process_ends_with_its_guard_and_with_this_process() -> None:
    ask = Guard()
    pid = ask("f", where_am_i)
    del ask
    gc.collect()
    assert not alive(pid)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, str(Guard()("f", where_am_i)).encode())
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    orphan = int(os.read(read, 20))
    deadline = time.monotonic() + 10
    while alive(orphan) and time.monotonic() < deadline and "Z" not in _state(orphan):
        time.sleep(0.05)
    assert not alive(orphan) or "Z" in _state(orphan)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def test_what_cannot_be_sent_is_read_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Mine(Image):
        """Local to this function, so it cannot be pickled."""

    Image(size=4).write(torch.zeros(3, 4, 4), tmp_path / "a.png")
    assert Guard()("a.png", Mine(size=4).read, tmp_path / "a.png").shape == (3, 4, 4)
    monkeypatch.setattr(guard, "AVAILABLE", False)
    assert Guard()("a.png", where_am_i) == os.getpid()


def test_it_holds_no_connection_of_this_process() -> None:
    one, other = socket.socketpair()
    reads = Guard()
    reads.start()
    one.close()
    other.settimeout(10)
    assert other.recv(1) == b"", "closed for both"
    assert reads("a.png", where_am_i) != os.getpid(), "but its own is open"
    other.close()
    reads.close()


@pytest.mark.parametrize("how", [signal.SIGSEGV, signal.SIGSTOP], ids=["dies", "hangs"])
def test_where_a_fork_does_not_live_a_new_process_reads(how: int, monkeypatch: pytest.MonkeyPatch) -> None:
    born: list[int] = []

    def dying(fork: Any = guard_process.fork) -> Any:
        born.append((child := fork())[0])
        os.kill(child[0], how)
        return child

    monkeypatch.setattr(Guard, "_forks", True)
    monkeypatch.setattr(guard_process, "fork", dying)
    monkeypatch.setattr(guard, "_BIRTH", (0.5, 60.0))
    ask = Guard()
    pid = ask("a.png", where_am_i)
    assert pid not in (os.getpid(), *born) and len(born) == 1 and not alive(born[0])
    media = torch.rand(3, 1500, 1300)  # over the shared memory's size
    assert torch.equal(ask("b.png", doubled, media, {})[0], media * 2)
    with pytest.raises(MediaError, match=r"c\.png: cannot be read: its decoder crashed \(SIGSEGV\)"):
        ask("c.png", crash)
    ask.start()
    again = ask("d.png", where_am_i)
    ask.close()
    assert len(born) == 1, "no fork is tried again"
    assert again != pid and not alive(again) and not alive(pid)


def test_a_process_that_cannot_start_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Guard, "_forks", True)
    monkeypatch.setattr(guard_process, "_BEGIN", "raise SystemExit(3)")
    monkeypatch.setattr(guard_process, "fork", guard_process.spawn)
    with pytest.raises(
        MediaError, match=r"^a\.png: cannot be read: the process that decodes it does not start"
    ):
        Guard()("a.png", len, "abc")


def test_a_process_whose_libraries_do_not_survive_a_fork_reads(tmp_path: Path) -> None:
    """A group of gloo is kept by the thread that made it; in a fork its end waits for threads that are not there."""
    code = f"""
import threading, torch.distributed as dist
from multigen.modalities.guard import Guard
dist.init_process_group("gloo", init_method="file://{tmp_path}/store", rank=0, world_size=1)
kept = threading.local()
kept.group = dist.group.WORLD
dist.destroy_process_group()
found = []
def read():
    found.append(Guard()("a", len, "abc"))
thread = threading.Thread(target=read)
thread.start(), thread.join()
print(found)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["[3]"], done.stderr
