"""The files that edits are made from: kept once each, beside the media, whatever they are called."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from multigen.errors import MultigenError
from multigen.generation.request import EditRequest, Request
from multigen.runs.sources import Sources


def request(path: Path) -> Request:
    return Request(edit=EditRequest(path))


def test_each_content_is_copied_once_and_other_files_keep_their_names_apart(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, two, same = tmp_path / "a/apple.png", tmp_path / "b/apple.png", tmp_path / "b/copy.png"
    one.write_bytes(b"one")
    two.write_bytes(b"two")
    same.write_bytes(b"one")
    out = tmp_path / "out"
    asked = [request(p) for p in (one, two, one, same)] + [
        Request("new"),
        Request(edit=EditRequest(torch.zeros(1))),
    ]
    sources = Sources(out, asked)
    assert not out.exists()  # before there is something to keep
    sources.copy()
    found = [sources.facts(r) for r in asked]
    files = [f.get("source_file") for f in found]
    assert files[0] == files[2] == files[3] == "sources/apple.png"
    assert str(files[1]).startswith("sources/apple-") and files[4:] == [None, None]
    assert [f["source"] for f in found[:4]] == ["apple.png", "apple.png", "apple.png", "copy.png"]
    assert [(out / str(f)).read_bytes() for f in files[:2]] == [b"one", b"two"]
    assert len(list((out / "sources").iterdir())) == 2
    # The same command again finds its copies, under the same names.
    again = Sources(out, asked)
    again.copy()
    assert [again.facts(r) for r in asked] == found and len(list((out / "sources").iterdir())) == 2


def test_files_of_somebody_else_are_not_replaced(tmp_path: Path) -> None:
    source, theirs = tmp_path / "apple.png", tmp_path / "out/sources/apple.png"
    source.write_bytes(b"mine")
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"theirs")
    sources = Sources(tmp_path / "out", [request(source)])
    sources.copy()
    assert theirs.read_bytes() == b"theirs"
    assert (tmp_path / "out" / sources.facts(request(source))["source_file"]).read_bytes() == b"mine"


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    source, out = tmp_path / "apple.png", tmp_path / "out"
    source.write_bytes(b"mine")
    out.mkdir()
    (out / "sources").write_bytes(b"a file where the folder goes")
    with pytest.raises((MultigenError, OSError), match="sources"):
        Sources(out, [request(source)]).copy()
