"""What the server tells of an uploaded file, and what it refuses where media have to be signed."""

from __future__ import annotations

import base64
import io
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from PIL import Image as Pillow

from multigen import marks
from multigen.marks.keys import own_key
from multigen.modalities.image import Image
from multigen.provenance.made import GENERATED
from multigen.recipe.sections import Provenance
from multigen.serving.api import origin
from multigen.serving.api.errors import ApiError
from multigen.serving.api.uploads import sniffed
from tests.serving.servers import Running

pytest.importorskip("c2pa")
QUICK = {"steps": 1, "seed": 5}


def told(served: Running, content: bytes) -> Any:
    answer = httpx.post(f"{served.url}/v1/media/info", files={"file": content}, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def picture(served: Running) -> bytes:
    body = {"model": "digits", "prompt": "7", **QUICK}
    answer = httpx.post(f"{served.url}/v1/images/generations", json=body, timeout=60)
    return base64.b64decode(answer.json()["data"][0]["b64_json"])


def test_a_made_file_says_so_and_an_altered_one_does_not_hide_it(served: Running) -> None:
    made = picture(served)
    found = told(served, made)
    assert found["format"] == "png" and found["signature"]["state"] == "trusted"
    assert found["said"]["model"] == "image_digits" and found["said"]["digital_source_type"] == GENERATED
    assert [one["action"] for one in found["actions"]] == ["c2pa.created"] and found["sources"] == []
    at = made.index(b"IDAT") + 12
    found = told(served, made[:at] + bytes([made[at] ^ 1]) + made[at + 1 :])
    assert found["signature"]["state"] == "altered" and found["signature"]["faults"]
    bare = io.BytesIO()
    Pillow.open(io.BytesIO(made)).save(bare, format="PNG")
    found = told(served, bare.getvalue())
    assert (found["signature"]["state"], found["said"]) == ("unsigned", {})


def test_the_mark_of_this_server_is_found(served: Running, tmp_path: Path) -> None:
    plain = torch.rand((3, 96, 96), generator=torch.Generator().manual_seed(0)) - 0.5
    for name, tensor, state in (
        ("marked", marks.embed(plain, key=own_key()), "found"),
        ("plain", plain, "absent"),
        ("tiny", plain[:, :16, :16], "small"),
    ):
        path = tmp_path / f"{name}.png"
        Image(size=tensor.shape[-1]).write(tensor, path)
        found = told(served, path.read_bytes())["watermark"]
        assert found["state"] == state, (name, found)
        assert (found["p_value"] is None) == (state == "small")
        assert state != "found" or (found["p_value"] < 1e-6 and found["payload"] == 0)


def test_sounds_too_and_what_is_no_medium(served: Running) -> None:
    for kind in ("flac", "wav", "mp3", "aac"):
        body = {"model": "music", "prompt": "flute", "seconds": 0.4, "response_format": kind, **QUICK}
        sent = httpx.post(f"{served.url}/v1/audio/generations", json=body, timeout=60).content
        assert sniffed(sent) == f".{kind}"
        found = told(served, sent)
        assert found["said"]["model"] == "audio_music"
        assert found["signature"]["state"] == ("unsigned" if kind == "aac" else "trusted"), kind
    url = f"{served.url}/v1/media/info"
    for files, status, param in (
        ({"file": b"no medium"}, 415, "file"),
        ({"file": b""}, 415, "file"),
        ({"other": b"x"}, 400, "other"),
        ({"a": (None, "b")}, 400, "a"),
        ({"file": b"\x89PNG\r\n\x1a\n" + bytes(3 << 20)}, 413, "file"),
    ):
        answer = httpx.post(url, files=files)
        assert (answer.status_code, answer.json()["error"]["param"]) == (status, param), answer.text
    broken = told(served, b"\x89PNG\r\n\x1a\n" + bytes(40))
    assert broken["said"] == {} and broken["watermark"]["state"] in ("not_checked", "no_key")


def test_no_upload_is_left_where_it_cannot_be_read(
    served: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[BaseException] = []

    async def fails(server: object, path: Path) -> None:
        assert path.is_file() and path.is_relative_to(tmp_path)
        kept.append(ApiError(400, "file: no", param="file", code="invalid_media"))
        raise kept[0]

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(origin, "_read", fails)
    content = b"\x89PNG\r\n\x1a\n" + bytes(40)
    answer = httpx.post(f"{served.url}/v1/media/info", files={"file": content}, timeout=60)
    assert answer.status_code == 400 and kept
    assert not list(tmp_path.glob("multigen-upload-*"))


@pytest.fixture
def signing(served: Running) -> Iterator[Running]:
    """All models sign, or refuse."""
    models = served.server.models.served
    before = dict(models)
    for name, one in before.items():
        models[name] = replace(one, recipe=replace(one.recipe, provenance=Provenance(sign="on")))
    yield served
    models.update(before)


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("audio/generations", {"model": "music", "prompt": "flute", "response_format": "opus"}, "response_format"),
        ("audio/generations", {"model": "music", "prompt": "flute", "response_format": "pcm"}, "response_format"),
        ("audio/generations", {"model": "music", "prompt": "flute", "stream": True, "seconds": 9}, "stream"),
        ("jobs", {"model": "music", "prompt": "flute", "format": "ogg"}, "format"),
        ("jobs", {"model": "moving", "prompt": "panda", "format": "webm"}, "format"),
    ],
)  # fmt: skip
def test_what_cannot_be_signed_is_refused_before_it_is_made(
    path: str, body: dict[str, Any], param: str, signing: Running
) -> None:
    answer = httpx.post(f"{signing.url}/v1/{path}", json={**body, **QUICK}, timeout=60)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text
    assert signing.places == 0


def test_videos_and_the_list_of_formats_know_it(signing: Running) -> None:
    form = {"prompt": (None, "panda"), "output_format": (None, "webm")}
    answer = httpx.post(f"{signing.url}/v1/videos", files=form, timeout=60)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "output_format")
    assert "provenance.sign=on: .webm files cannot be signed" in answer.json()["error"]["message"]
    rows = {row["id"]: row["formats"] for row in httpx.get(f"{signing.url}/v1/models").json()["data"]}
    assert "opus" not in rows["music"] and "wav" in rows["music"] and "webm" not in rows["moving"]
    body = {"model": "music", "prompt": "flute", "seconds": 0.4, "response_format": "flac", **QUICK}
    assert httpx.post(f"{signing.url}/v1/audio/generations", json=body, timeout=60).status_code == 200
