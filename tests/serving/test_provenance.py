"""What a server sends says how it was made."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import httpx
import pytest

from multigen.provenance.made import COMPOSITE, GENERATED
from multigen.provenance.reading import read_said, read_signed
from tests.serving.servers import Running

pytest.importorskip("c2pa")
QUICK = {"steps": 2, "seed": 5}


def kept(folder: Path, suffix: str, content: bytes) -> Path:
    path = folder / f"sent{suffix}"
    path.write_bytes(content)
    return path


def pictures(served: Running, **more: Any) -> bytes:
    body = {"model": "digits", "prompt": "7", **QUICK, **more}
    answer = httpx.post(f"{served.url}/v1/images/generations", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    return base64.b64decode(answer.json()["data"][0]["b64_json"])


def test_pictures_and_their_edits_are_signed(served: Running, tmp_path: Path) -> None:
    for kind, suffix, more in (
        ("png", ".png", {}),
        ("webp", ".webp", {"output_compression": 80}),
        ("jpeg", ".jpg", {"output_compression": 80}),
    ):
        found = read_signed(kept(tmp_path, suffix, pictures(served, output_format=kind, **more)))
        assert found.state == "trusted" and found.said["model"] == "image_digits", kind
        assert found.said["digital_source_type"] == GENERATED and "prompt" not in found.said
    source = pictures(served)
    with served.client() as client:
        made = client.images.edit(
            image=("mine.png", source), prompt="3", extra_body={**QUICK, "model": "digits"}
        )
    found = read_signed(kept(tmp_path, ".png", base64.b64decode(made.data[0].b64_json or "")))
    assert found.state == "trusted" and found.said["digital_source_type"] == COMPOSITE
    assert found.sources == ("source.png",)


def test_a_request_cannot_leave_it_out(served: Running) -> None:
    for path, body in (
        ("images/generations", {"model": "digits", "prompt": "7", "provenance": {"sign": "off"}}),
        ("jobs", {"model": "digits", "prompt": "7", "overrides": ["provenance.sign=off"]}),
    ):
        answer = httpx.post(f"{served.url}/v1/{path}", json=body, timeout=60)
        assert answer.status_code == 400 and "provenance" in answer.text, answer.text


def test_sounds_say_it_in_every_format_and_streams_in_plain_metadata(served: Running, tmp_path: Path) -> None:
    short = {"model": "music", "prompt": "flute", "seconds": 0.4, **QUICK}
    for kind, state in (("wav", "trusted"), ("mp3", "trusted"), ("flac", "trusted"), ("opus", "unsigned")):
        body = {**short, "response_format": kind}
        sent = httpx.post(f"{served.url}/v1/audio/generations", json=body, timeout=60).content
        path = kept(tmp_path, f".{kind}", sent)
        assert read_signed(path).state == state and (read_said(path) or {})["model"] == "audio_music", kind
    for kind in ("wav", "mp3", "flac", "opus"):
        body = {**short, "seconds": 3.2, "stream": True, "response_format": kind}
        sent = httpx.post(f"{served.url}/v1/audio/generations", json=body, timeout=60).content
        path = kept(tmp_path, f".{kind}", sent)
        assert (read_said(path) or {})["model"] == "audio_music", kind
        assert read_signed(path).state == "unsigned"
