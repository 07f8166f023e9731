"""Media as options of a request: a client sends the file itself, and no path of the server's machine is opened."""

from __future__ import annotations

import base64
import io
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import soundfile
import torch

from multigen.errors import MediaError
from multigen.modalities.audio import Audio
from tests.serving.foley_model import saved_foley, written_clip
from tests.serving.servers import Running, running


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("conditions")
    with running({"foley": saved_foley(folder)}, folder / "store") as one:
        yield one


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written_clip(tmp_path_factory.mktemp("clip"))


def ask(served: Running, options: dict[str, Any]) -> tuple[int, bytes]:
    body = {"prompt": "", "seed": 1, "steps": 1, "response_format": "wav", "options": options}
    request = urllib.request.Request(
        f"{served.url}/v1/audio/generations", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_a_clip_that_is_sent_is_heard(served: Running, clip: Path) -> None:
    text = base64.b64encode(clip.read_bytes()).decode()
    for sent in (text, f"data:video/mp4;base64,{text}"):
        status, answer = ask(served, {"condition": sent})
        assert status == 200, answer
        samples, rate = soundfile.read(io.BytesIO(answer))
        assert rate == 16000 and abs(len(samples) / rate - 3.0) < 0.1  # as long as the clip
    assert ask(served, {})[0] == 200


def test_paths_and_other_files_are_refused(served: Running, clip: Path, tmp_path: Path) -> None:
    Audio(rate=16000).write(torch.zeros(1, 1600), tmp_path / "a.wav")
    wav = base64.b64encode((tmp_path / "a.wav").read_bytes()).decode()
    for value, status, said in (
        (str(clip), (400, 415), "options.condition"),
        ("/etc/passwd", (400, 415), "options.condition"),
        (f"file://{clip}", (400,), "addresses are not fetched"),
        (wav, (415,), "a wav file; send video as one of"),
        (3, (400,), "options.condition: send the file as base64"),
    ):
        code, answer = ask(served, {"condition": value})
        assert code in status and said in answer.decode(), answer
        assert "root:" not in answer.decode()


def test_the_list_of_models_says_what_it_takes(served: Running) -> None:
    with urllib.request.urlopen(f"{served.url}/v1/models", timeout=20) as answer:
        (row,) = json.loads(answer.read())["data"]
    found = {o["name"]: o for o in row.get("multigen", row)["options"]}
    assert found["condition"]["media"] == "video" and found["lufs"]["media"] == ""


def test_what_no_file_takes_is_refused_before_it_is_made(
    served: Running, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def check(modality: Audio, suffix: str) -> None:
        if suffix == ".mp4":
            raise MediaError("its pictures cannot be copied")

    monkeypatch.setattr(Audio, "check_writes", check)
    condition = base64.b64encode(clip.read_bytes()).decode()
    for form, status in (("mp4", 400), ("wav", 201)):
        body = {"steps": 1, "format": form, "options": {"condition": condition}}
        answer = httpx.post(f"{served.url}/v1/jobs", json=body, timeout=60)
        assert answer.status_code == status, answer.text
        if status == 400:
            assert answer.json()["error"]["message"] == "condition: its pictures cannot be copied"
            assert served.places == 0
        else:  # nobody is sent back, or kept, what was sent
            shown = httpx.get(f"{served.url}/v1/jobs/{answer.json()['id']}", timeout=60).text
            assert condition[:60] not in answer.text + shown
