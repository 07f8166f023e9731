"""`multigen serve` as a process: what it refuses, how it starts, drains and ends."""

from __future__ import annotations

import importlib.util
import json
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import HTTPError

import pytest

from multigen.cli.main import main
from multigen.errors import MultigenError
from multigen.serving.run import check_reach, loras_in, named

MAKE = "/v1/images/generations"


def test_ids_of_sources() -> None:
    assert named(["image_emoji", "my=runs/x", "runs/y", "a/b.safetensors"]) == {
        "image_emoji": "image_emoji", "my": "runs/x", "y": "runs/y", "b": "a/b.safetensors",
    }  # fmt: skip
    for wrong, said in (
        (["a", "b/a"], "two models"), (["=x"], "no id"), (["a b=x"], "no id"), ([], "SOURCE"), (["../=x"], "no id"),
    ):  # fmt: skip
        with pytest.raises(MultigenError, match=said):
            named(wrong)


def test_beyond_this_machine_only_with_keys() -> None:
    for host in ("0.0.0.0", "::", "192.168.0.2", "media"):
        with pytest.raises(MultigenError, match="serve keys add"):
            check_reach(host, None)
        check_reach(host, Path("keys.json"))
    check_reach("127.0.0.1", None)


def test_loras_are_those_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.yaml").write_text("")
    (tmp_path / "other").mkdir()
    assert set(loras_in(tmp_path)) == {"a", "run"}
    with pytest.raises(MultigenError, match="--loras"):
        loras_in(tmp_path / "none")


@contextmanager
def process(source: Path, folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server of its own process, and its address."""
    argv = [sys.executable, "-m", "multigen", "serve", f"digits={source}", "--port", "0", "--device", "cpu",
            "--store", str(folder / "store"), *options]  # fmt: skip
    with (folder / "log").open("w") as log:
        one = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=log, text=True)
    assert one.stdout is not None
    try:
        line = one.stdout.readline()
        assert line.startswith("multigen: http://127.0.0.1:"), (folder / "log").read_text()
        yield one, line.removeprefix("multigen: ").strip()
    finally:
        one.kill()
        one.wait()


def ask(address: str, body: object = None, path: str = MAKE) -> tuple[int, bytes]:
    sent = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address + path, sent, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except HTTPError as error:
        return error.code, error.read()


def ready(address: str) -> None:
    until = time.monotonic() + 60
    while ask(address, path="/ready")[0] != 200:
        assert time.monotonic() < until
        time.sleep(0.05)


def later(address: str, body: object) -> tuple[threading.Thread, list[tuple[int, bytes]]]:
    found: list[tuple[int, bytes]] = []
    thread = threading.Thread(target=lambda: found.append(ask(address, body)))
    thread.start()
    return thread, found


@pytest.mark.slow
def test_a_signal_drains_and_what_runs_ends(digits: Path, tmp_path: Path) -> None:
    with process(digits, tmp_path) as (one, address):
        ready(address)
        thread, found = later(address, {"prompt": "3", "steps": 200})
        time.sleep(0.3)
        one.send_signal(signal.SIGTERM)
        time.sleep(0.25)
        if not found:  # it is still being made
            assert ask(address, path="/ready")[0] == 503
            status, body = ask(address, {"prompt": "3", "steps": 2})
            assert status == 503 and json.loads(body)["error"]["code"] == "draining"
        thread.join(60)
        assert found[0][0] == 200 and b"b64_json" in found[0][1]
        assert one.wait(30) == 0
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert any("draining" in line.get("message", "") for line in lines)


@pytest.mark.slow
def test_what_does_not_end_in_time_fails_with_the_reason(digits: Path, tmp_path: Path) -> None:
    with process(digits, tmp_path, "--drain", "0.2") as (one, address):
        ready(address)
        thread, found = later(address, {"prompt": "3", "steps": 200, "n": 10})
        time.sleep(0.3)
        one.send_signal(signal.SIGTERM)
        thread.join(60)
        status, body = found[0]
        assert status == 503 and "did not end within" in json.loads(body)["error"]["message"]
        assert one.wait(30) == 0


@pytest.mark.slow
def test_a_second_signal_ends_at_once(digits: Path, tmp_path: Path) -> None:
    with process(digits, tmp_path) as (one, address):
        ready(address)
        body = json.dumps({"prompt": "3", "steps": 200, "n": 10}).encode()
        thread = threading.Thread(target=lambda: _ignored(address, body))
        thread.start()
        time.sleep(0.3)
        one.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        begun = time.monotonic()
        one.send_signal(signal.SIGTERM)
        assert one.wait(10) == 128 + signal.SIGTERM
        assert time.monotonic() - begun < 2
        thread.join(10)


def _ignored(address: str, body: bytes) -> None:
    request = urllib.request.Request(address + MAKE, body, {"content-type": "application/json"})
    with suppress(OSError):
        urllib.request.urlopen(request, timeout=30).read()


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--host", "0.0.0.0"], "asks for keys"),
        (["--keys", "none.json"], "there is no such file"),
        (["--port", "99999"], "65535"),
        (["--device", "tpu"], "tpu"),
        (["--max-batch", "0"], "at least 1"),
        (["--drain", "-1"], "above 0"),
        (["--keyz", "x"], "--keys"),
        (["no_such_recipe"], "no_such_recipe"),
    ],
)
def test_mistakes_are_one_line(
    digits: Path, argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", str(digits), *argv]) == 2
    told = capsys.readouterr().err
    assert said in told and "Traceback" not in told


def test_a_port_that_is_taken(digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as there:
        port = str(there.getsockname()[1])
        assert main(["serve", str(digits), "--port", port, "--store", str(tmp_path)]) == 2
    assert "cannot listen there" in capsys.readouterr().err


def test_a_missing_package_is_named_with_its_extra(
    digits: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "uvicorn" else find(name))
    assert main(["serve", str(digits)]) == 2
    assert "uvicorn" in (told := capsys.readouterr().err) and "[serve]" in told


def test_keys_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "keys.json")
    assert main(["serve", "keys", "add", path, "ana", "--scope", "read", "--requests-per-minute", "60"]) == 0
    secret = capsys.readouterr().out.strip()
    assert secret.startswith("mg_") and secret not in Path(path).read_text()
    assert main(["serve", "keys", "list", path]) == 0
    listed = capsys.readouterr().out
    assert "ana  read; 60 requests and any units a minute" in listed and secret not in listed
    assert main(["serve", "keys", "revoke", path, "ana"]) == 0
    for argv in (
        ["add", path],
        ["list", path, "ana"],
        ["revoke", path, "ana", "--scope", "read"],
        ["revoke", path, "x"],
        ["ad", path, "x"],
        ["add", path, "x", "--scope", "all"],
        [],
    ):
        assert main(["serve", "keys", *argv]) == 2, argv


@pytest.mark.slow
def test_no_collection_holds_up_a_server_that_is_ready(digits: Path, tmp_path: Path) -> None:
    """Of the half million objects of the packages nothing is looked at again."""
    code = (
        "import gc, runpy, sys, threading, time, urllib.request\n"
        "def look(address):\n"
        "    while True:\n"
        "        try:\n"
        "            urllib.request.urlopen(address + '/ready').read()\n"
        "            break\n"
        "        except OSError:\n"
        "            time.sleep(0.05)\n"
        "    kept, frozen = len(gc.get_objects()), gc.get_freeze_count()\n"
        "    print(kept, frozen, flush=True)\n"
        "class Out:\n"
        "    def write(self, text):\n"
        "        if text.startswith('multigen: '):\n"
        "            threading.Thread(target=look, args=(text[10:].strip(),), daemon=True).start()\n"
        "        return sys.__stdout__.write(text)\n"
        "    def flush(self):\n"
        "        sys.__stdout__.flush()\n"
        "sys.stdout = Out()\n"
        "from multigen.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    argv = [sys.executable, "-c", code, "serve", f"digits={digits}", "--port", "0", "--device", "cpu",
            "--store", str(tmp_path / "store")]  # fmt: skip
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as one:
        assert one.stdout is not None
        try:
            assert one.stdout.readline().startswith("multigen: ")
            kept, frozen = map(int, one.stdout.readline().split())
        finally:
            one.kill()
    assert frozen > 100_000 > kept
