"""The clients' code of the page on serving, against a server with small models."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, read
from tests.serving.servers import Running, running, saved

BASE = "http://127.0.0.1:8000"
# What the small models know in place of what the shipped ones do.
WORDS = {"red apple": "7", "strawberry": "3", "panda moves left": "panda"}
SOUNDS = {"flute, E minor, 84 bpm": "flute", "oboe, F major, 100 bpm": "organ"}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("models")
    sources = {
        "image_emoji": "image_digits",
        "audio_music": saved("audio_music", folder),
        "video_moving_emoji": saved("video_moving_emoji", folder),
    }
    with running(sources, folder / "store") as one:
        yield one


def text(language: str, one: Running) -> str:
    blocks = [
        b for b in read(ROOT / "docs" / "serving.md") if b.language == language and f"{BASE}/v1" in b.text
    ]
    (block,) = [b for b in blocks if "openai" in b.text or "curl" in b.text]
    found = block.text.replace(BASE, one.url)
    for word, small in {**WORDS, **SOUNDS}.items():
        assert word in block.text or language == "sh" or word in SOUNDS
        found = found.replace(word, small)
    return found


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_client(
    here: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(text("python", here), "docs/serving.md", "exec"), names)
    partial, done = "image_generation.partial_image", "image_generation.completed"
    assert capsys.readouterr().out.split() == [partial, partial, done]
    assert b"ftyp" in Path("panda.mp4").read_bytes()[:12]


def test_curl(here: Running, tmp_path: Path) -> None:
    shown = text("sh", here)
    commands = re.split(r"\n(?=curl )", shown.strip())
    assert len(commands) == 4
    for command in commands:
        made = subprocess.run(
            ["bash", "-c", f"{command} -sS -f"], cwd=tmp_path, capture_output=True, timeout=60
        )
        assert made.returncode == 0, (command, made.stderr)
    for name, begin in {"music.flac": b"fLaC", "longer.wav": b"RIFF", "long.mp3": b"\xff"}.items():
        content = (tmp_path / name).read_bytes()
        assert content.startswith((begin, b"ID3")) and len(content) > 5000, name


def test_the_table_names_every_endpoint(here: Running) -> None:
    page = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    import httpx

    for path in httpx.get(f"{here.url}/openapi.json").json()["paths"]:
        if path.startswith("/v1/") and not path.startswith("/v1/files/"):
            assert path.replace("{name}", "{id}") in page, path
