"""Behind a proxy that puts a prefix in front of all paths, and cuts it off or not."""

from __future__ import annotations

import http.client
import json
import re
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import openai
import pytest

from multigen.serving.run import root_of
from tests.serving.hosted import Hosted, hosted

NAME = "media.example.org"
SKIPPED = ("transfer-encoding", "connection", "content-length")


@pytest.fixture(scope="module")
def behind(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosted]:
    folder = tmp_path_factory.mktemp("store")
    with hosted(digits, folder, root_path=root_of("media/"), allow_hosts=[NAME]) as one:
        yield one


@pytest.fixture(params=["kept", "cut"])
def proxy(behind: Hosted, request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a proxy under which the server is /media."""

    class Handler(BaseHTTPRequestHandler):
        def _pass(self) -> None:
            if not self.path.startswith("/media/"):
                self.send_error(404)
                return
            path = self.path if request.param == "kept" else self.path.removeprefix("/media")
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {k: v for k, v in self.headers.items() if k.lower() != "host"}
            there = http.client.HTTPConnection("127.0.0.1", behind.port, timeout=30)
            there.request(self.command, path, body, {**headers, "host": NAME, "x-forwarded-proto": "https"})
            answer = there.getresponse()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in SKIPPED:
                    self.send_header(name, value)
            self.end_headers()
            while part := answer.read1():
                self.wfile.write(part)
            there.close()

        do_GET = do_POST = _pass  # noqa: N815 - as http.server names them

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/media"
    server.shutdown()
    server.server_close()
    thread.join()


def got(proxy: str, address: str) -> bytes:
    """What stands at an address that the server told, fetched through the proxy."""
    assert address.startswith(f"https://{NAME}/media/"), address
    with urllib.request.urlopen(address.replace(f"https://{NAME}/media", proxy), timeout=30) as answer:
        return answer.read()


def test_the_official_client(proxy: str) -> None:
    with openai.OpenAI(base_url=f"{proxy}/v1", api_key="x", max_retries=0) as client:
        assert [one.id for one in client.models.list()] == ["digits"]
        made = client.images.generate(prompt="3", response_format="url", extra_body={"steps": 1, "seed": 1})
        assert made.data is not None
        assert got(proxy, made.data[0].url or "").startswith(b"\x89PNG")
        *_, last = client.images.generate(
            prompt="3", stream=True, partial_images=1, extra_body={"steps": 2, "seed": 1}
        )
        assert last.type == "image_generation.completed"
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("none")


def test_jobs(proxy: str) -> None:
    body = json.dumps({"prompt": "3", "steps": 2, "n": 2}).encode()
    request = urllib.request.Request(f"{proxy}/v1/jobs", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        job = json.load(answer)
    with urllib.request.urlopen(f"{proxy}/v1/jobs/{job['id']}/events", timeout=30) as answer:
        assert b'"done"' in answer.read()
    with urllib.request.urlopen(f"{proxy}/v1/jobs/{job['id']}", timeout=30) as answer:
        for row in json.load(answer)["data"]:
            assert got(proxy, row["url"]).startswith(b"\x89PNG")


def test_the_page_and_all_that_it_names(proxy: str) -> None:
    """Its addresses are relative, so that they lead through the proxy."""
    with urllib.request.urlopen(f"{proxy}/", timeout=30) as answer:
        text = answer.read().decode()
    named = re.findall(r'(?:src|href)="([^"#]+)"', text)
    assert named and not any(one.startswith(("/", "http")) for one in named)
    for one in named:
        with urllib.request.urlopen(f"{proxy}/{one.removeprefix('./')}", timeout=30) as answer:
            assert answer.status == 200


def test_ways_to_write_it() -> None:
    assert [root_of(text) for text in ("", "/", "media", "/media", "media/", "/a/b/")] == [
        "", "", "/media", "/media", "/media", "/a/b",
    ]  # fmt: skip
