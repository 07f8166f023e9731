"""`multigen serve --ray`: two replicas on this machine, of which one is killed under load."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from multigen.cli.main import main
from multigen.serving.engine.store import Store

NO_RAY = "Ray is not installed: pip install -c constraints.txt -e '.[ray]'"
ray_only = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason=NO_RAY)
SERVE = """
import sys
from pathlib import Path
from multigen.serving.cluster.run import serve_on_ray
from multigen.serving.cluster.scaling import Replicas
from multigen.serving.run import Options
options = Options(port=0, device="cpu", store=Path(sys.argv[2]), lost=4, drain=20)
serve_on_ray([f"digits={sys.argv[1]}"], options, replicas=Replicas(2, 2))
"""


def test_what_is_missing_or_does_not_go_together_is_said(
    digits: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ray" else find(name))
    for argv, said in (
        (["serve", str(digits), "--ray"], "multigen serve --ray needs the package ray"),
        (["serve", str(digits), "--replicas", "2"], "--replicas goes with --ray"),
        (["serve", str(digits), "--ray", "--replicas", "4-1"], "give a number such as 2, or a range"),
        (["serve", str(digits), "--ray", "--open"], "--open does not go with --ray"),
        (["serve", str(digits), "--store", "nope://x"], "nope"),
        (["sample", str(digits), "--ray"], "multigen sample --ray needs the package ray"),
        (["sample", str(digits), "--out", "nope://x"], "nope"),
        (["sample", str(digits), "--ray", "--blend", "3"], "--blend does not go with --ray"),
        (["sample", str(digits), "--per-class", "2", "--out", "memory://x"], "not to a bucket"),
    ):
        assert main(argv) == 2, argv
        told = capsys.readouterr().err
        assert said in told and "Traceback" not in told, told


@pytest.fixture(scope="module")
def cluster(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path, Any]]:
    folder = tmp_path_factory.mktemp("ray")
    argv = [sys.executable, "-c", SERVE, str(digits), str(folder / "store")]
    with (folder / "log").open("w") as log:
        one = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=log, text=True)
    assert one.stdout is not None
    try:
        line = next((text for text in one.stdout if text.startswith("multigen: http")), "")
        assert line, (folder / "log").read_text()[-3000:]
        threading.Thread(target=one.stdout.read, daemon=True).start()
        yield line.removeprefix("multigen: ").strip(), folder / "store", one
    finally:
        one.send_signal(signal.SIGTERM)
        try:
            one.wait(90)
        finally:
            one.kill()


def replicas() -> list[psutil.Process]:
    """The replicas of the model."""
    found = []
    for process in psutil.process_iter():
        try:
            if any("ServeReplica:multigen:digits" in word for word in process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.mark.slow
@ray_only
def test_nothing_is_lost_or_doubled_when_a_replica_is_killed(cluster: tuple[str, Path, Any]) -> None:
    url, place, _ = cluster
    there = replicas()
    assert len(there) == 2
    jobs: list[httpx.Response] = []
    pictures: list[httpx.Response] = []

    def begin(number: int) -> None:
        body = {"model": "digits", "prompt": str(number % 10), "steps": 150, "seed": number, "n": 2}
        jobs.append(httpx.post(f"{url}/v1/jobs", json=body, timeout=120))

    def make(number: int) -> None:
        body = {"model": "digits", "prompt": str(number % 10), "steps": 100, "seed": number}
        pictures.append(httpx.post(f"{url}/v1/images/generations", json=body, timeout=120))

    threads = [threading.Thread(target=one, args=(k,)) for k in range(8) for one in (begin, make)]
    for thread in threads:
        thread.start()
    time.sleep(1.5)
    os.kill(there[0].pid, signal.SIGKILL)
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in pictures] == [200] * 8, [a.text[:200] for a in pictures]
    assert [answer.status_code for answer in jobs] == [201] * 8, [a.text[:200] for a in jobs]
    names = {answer.json()["id"] for answer in jobs}
    end = time.monotonic() + 180
    ended: dict[str, Any] = {}
    while len(ended) < 8 and time.monotonic() < end:
        for name in names - ended.keys():
            job = httpx.get(f"{url}/v1/jobs/{name}", timeout=30).json()
            if job["status"] not in ("queued", "in_progress"):
                ended[name] = job
        time.sleep(0.5)
    assert [job["status"] for job in ended.values()] == ["completed"] * 8
    store = Store(place)
    assert set(store.names("job")) == names and len(store.names("file")) == 16
    for job in ended.values():
        assert [row["index"] for row in job["data"]] == [0, 1]
        assert all(httpx.get(row["url"], timeout=30).content[:4] == b"\x89PNG" for row in job["data"])


@pytest.mark.slow
@ray_only
def test_streams_and_cancels_go_through(cluster: tuple[str, Path, Any]) -> None:
    url, _, _ = cluster
    body = {"model": "digits", "prompt": "3", "steps": 200, "n": 8, "stream": True, "partial_images": 2}
    with httpx.stream("POST", f"{url}/v1/images/generations", json=body, timeout=60) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        first = next(line for line in answer.iter_lines() if line.startswith("event:"))
        assert first == "event: image_generation.partial_image"
    end = time.monotonic() + 20
    while True:  # the client is gone: nothing runs or waits
        rows = httpx.get(f"{url}/metrics", timeout=30).text.splitlines()
        media = [row for row in rows if row.startswith(("multigen_running_media{", "multigen_queue_media{"))]
        assert any('replica="digits/' in row for row in media)
        if all(row.endswith(" 0.0") for row in media):
            break
        assert time.monotonic() < end, media
        time.sleep(0.2)
    assert any(row.startswith("multigen_cancelled_total{") and row.endswith(" 1.0") for row in rows)
    job = {key: value for key, value in body.items() if key not in ("stream", "partial_images")}
    name = httpx.post(f"{url}/v1/jobs", json=job, timeout=60).json()["id"]
    assert httpx.delete(f"{url}/v1/jobs/{name}", timeout=60).json()["status"] == "cancelled"
