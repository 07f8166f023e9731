"""Notes on a server: jobs make them, edit them from MIDI and MusicXML, and give the files that they promise."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from multigen.modalities.notes import Notes
from multigen.modalities.roll import piece_of
from tests.serving.notes_model import saved_notes, written_piece
from tests.serving.servers import LIMITS, Running, running
from tests.serving.test_jobs import events

BODY: dict[str, Any] = {"prompt": "G major, 92 bpm", "steps": 1, "seed": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("notes")


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Running]:
    limits = replace(LIMITS, seconds=60.0)
    with running({"notes": saved_notes(folder)}, folder / "store", limits=limits) as one:
        yield one


def made(served: Running, **more: Any) -> httpx.Response:
    """The file of a job that went well."""
    begun = httpx.post(f"{served.url}/v1/jobs", json={**BODY, **more}, timeout=60)
    assert begun.status_code == 201, begun.text
    events(served.url, begun.json()["id"])
    (row,) = httpx.get(f"{served.url}/v1/jobs/{begun.json()['id']}", timeout=60).json()["data"]
    file = httpx.get(row["url"], timeout=60)
    assert file.status_code == 200, file.text
    return file


def refused(served: Running, status: int, **more: Any) -> str:
    answer = httpx.post(f"{served.url}/v1/jobs", json={**BODY, **more}, timeout=60)
    assert answer.status_code == status, answer.text
    return answer.json()["error"]["message"]


def read(content: bytes, folder: Path, suffix: str) -> torch.Tensor:
    (folder / f"read{suffix}").write_bytes(content)
    return Notes().read(folder / f"read{suffix}")


def test_each_format_is_given_as_what_it_is(served: Running, folder: Path) -> None:
    kinds = {
        "mid": ("audio/midi", b"MThd"),
        "musicxml": ("application/vnd.recordare.musicxml+xml", b"<?xml"),
        "wav": ("audio/wav", b"RIFF"),
    }
    rolls = []
    for name, (kind, begin) in kinds.items():
        file = made(served, format=name, options={"bpm": 100, "instrument": "oboe"}, duration=8)
        assert file.headers["content-type"] == kind and file.content.startswith(begin)
        if name != "wav":
            rolls.append(piece_of(read(file.content, folder, f".{name}")))
    assert rolls[0].parts == rolls[1].parts and rolls[0].tempi == rolls[1].tempi == ((0, 600_000),)
    assert set(rolls[0].programs) == {68}


def test_a_users_notes_are_edited(served: Running, folder: Path) -> None:
    """From a file of each kind, known by its content: bars that are kept come back as they were."""
    mine = written_piece(folder)
    before = Notes().read(mine)
    Notes().write(before, folder / "mine.musicxml")
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr(
            "META-INF/container.xml",
            '<container><rootfiles><rootfile full-path="a.xml"/></rootfiles></container>',
        )
        archive.writestr("a.xml", (folder / "mine.musicxml").read_text())
    for content in (mine.read_bytes(), (folder / "mine.musicxml").read_bytes(), zipped.getvalue()):
        edit = {"media": base64.b64encode(content).decode(), "keep": "all but bars 3-4"}
        after = read(made(served, edit=edit).content, folder, ".mid")
        assert torch.equal(after[:, :32, :4], before[:, :32, :4])
        assert not torch.equal(after[:, 32:64, :4], before[:, 32:64, :4])


def test_what_does_not_fit_is_said_before_anything_is_made(served: Running, folder: Path) -> None:
    mine = base64.b64encode(written_piece(folder).read_bytes()).decode()
    assert "tuba of doom" in refused(served, 400, options={"instrument": "tuba of doom"})
    assert "instrument: 3 are not allowed" in refused(served, 400, options={"instrument": "oboe, oboe, oboe"})
    assert "give a duration in quarters" in refused(served, 400, size=32)
    assert "the piece has bars 1 to" in refused(served, 400, edit={"media": mine, "keep": "bars 1-900"})
    for junk, status in (
        (b"MThd" + bytes(30), 400),
        (b"<?xml version='1.0'?><a/>", 415),
        (b"PK\3\4junk", 415),
    ):
        refused(served, status, edit={"media": base64.b64encode(junk).decode(), "strength": 0.5})
    for route in ("images/generations", "audio/generations"):
        assert httpx.post(f"{served.url}/v1/{route}", json={**BODY, "model": "notes"}).status_code in (
            400,
            404,
        )


def test_lengths_are_said_in_quarters(served: Running, folder: Path) -> None:
    """The limit of 60 s of the server is one of 60 quarters: asked for, added, in a file, or outside of one."""
    mine = written_piece(folder)
    text = base64.b64encode(mine.read_bytes()).decode()
    assert "duration: 80 quarters is not allowed; give over 0 to 60" in refused(served, 400, duration=80)
    said = refused(served, 400, edit={"media": text, "extend": 16})
    assert said == "extend: it makes the medium larger or longer than 60 quarters"
    said = refused(served, 400, edit={"media": text, "keep": "0:80"})
    assert "lies outside; the medium has 48 quarters" in said and "frames" not in said
    roll = Notes().read(mine)
    Notes().write(torch.cat([roll] * 6, 1), folder / "long.mid")
    long = base64.b64encode((folder / "long.mid").read_bytes()).decode()
    said = refused(served, 400, edit={"media": long, "strength": 0.5})
    assert said == "edit.media: 288 quarters; allowed: up to 256 quarters"  # sixteen of what the model makes


def test_a_client_learns_how_long_notes_are_and_in_which_unit(served: Running) -> None:
    (row,) = httpx.get(f"{served.url}/v1/models", timeout=60).json()["data"]
    assert (row["duration"], row["time_unit"], row["modality"]) == (16.0, "quarters", "notes")
    assert {o["name"]: o["text"] for o in row["options"]} == {"bpm": False, "instrument": True}
