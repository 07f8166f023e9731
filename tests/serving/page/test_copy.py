"""What the page offers to copy runs as it is, and makes the same medium."""

from __future__ import annotations

import io
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from PIL import Image

from multigen.cli.main import main
from tests.serving.page.browser import Watched
from tests.serving.page.test_edit import drag, make, opened, picture

KINDS = ("curl", "OpenAI client", "Python", "Command line")


def pixels(content: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"), np.float32)


def frames(content: bytes) -> Any:
    with av.open(io.BytesIO(content)) as file:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])


def downloaded(page: Any, name: str, path: Path) -> bytes:
    """What a link gives."""
    with page.expect_download() as waiting:
        page.get_by_role("dialog").get_by_role("link", name=name, exact=True).click()
    waiting.value.save_as(path)
    return path.read_bytes()


def copied(page: Any, kind: str) -> str:
    """What is in the clipboard after the clicks."""
    page.get_by_role("dialog").get_by_text(kind, exact=True).click()
    page.get_by_role("button", name=f"Copy {kind}").click()
    page.get_by_text(f"Copied: {kind}.").wait_for()
    return page.evaluate("navigator.clipboard.readText()")


def run(kind: str, text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Run a copied text in a folder; the medium that it leaves there."""
    monkeypatch.chdir(folder)
    if kind == "curl":
        subprocess.run(["bash", "-c", text], check=True, cwd=folder, timeout=60)
    elif kind == "Command line":
        assert main([*shlex.split(text)[1:], "--out", "out", "--quiet"]) == 0
        (found,) = (folder / "out" / "media").iterdir()
        return found.read_bytes()
    else:
        exec(text, {})
    (found,) = folder.glob("medium.*")
    return found.read_bytes()


def check_four_ways(
    page: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reads: Sequence[str] = ()
) -> None:
    """Each kind of copy makes the picture that the page shows. `reads`: the files that it needs."""
    ours = pixels(downloaded(page, "Download", tmp_path / "page.png"))
    for kind in KINDS:
        folder = tmp_path / kind
        folder.mkdir()
        for name in reads:
            downloaded(page, name, folder / name)
        found = pixels(run(kind, copied(page, kind), folder, monkeypatch))
        assert found.shape == ours.shape and np.abs(found - ours).max() <= 1, kind


def test_a_picture_four_ways(watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = watched.page
    page.get_by_label("Negative prompt").fill("1")
    watched.generate(prompt="4", steps=3, seed=9)
    watched.made(1)
    page.locator(".shown").click()
    watched.facts()
    check_four_ways(page, tmp_path, monkeypatch)


def test_an_edit_four_ways(watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = watched.page
    opened(watched, picture(tmp_path / "slope.png"))
    page.get_by_label("Feather in pixels").fill("1")
    drag(page, page.locator("canvas.mask").bounding_box(), (0.5, 0.5), (0.8, 0.5))
    make(page)
    page.locator(".edit-results .shown").click()
    watched.facts()
    check_four_ways(page, tmp_path, monkeypatch, reads=("input.png", "mask.png"))


def test_a_sound_and_its_extension(watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = watched.page
    page.get_by_label("Model", exact=True).select_option("music")
    watched.generate(prompt="flute", seed=2)
    watched.made(1)
    page.locator(".caption").click()
    same_sound(watched, tmp_path / "made", monkeypatch, ())
    page.get_by_role("button", name="Edit", exact=True).click()
    page.get_by_text("Extend", exact=True).click()
    page.get_by_label("Seconds after").fill("0.5")
    make(page)
    page.locator(".edit-results .caption").click()
    same_sound(watched, tmp_path / "longer", monkeypatch, ("input.wav",))


def same_sound(
    watched: Watched, folder: Path, monkeypatch: pytest.MonkeyPatch, inputs: tuple[str, ...]
) -> None:
    """What an HTTP client makes is what the dialog shows."""
    page = watched.page
    watched.facts()
    folder.mkdir()
    ours = soundfile.read(io.BytesIO(downloaded(page, "Download", folder / "page.wav")))[0]
    for kind in KINDS[:2]:
        place = folder / kind
        place.mkdir()
        for name in inputs:
            downloaded(page, name, place / name)
        found = soundfile.read(io.BytesIO(run(kind, copied(page, kind), place, monkeypatch)))[0]
        assert found.shape == ours.shape and np.abs(found - ours).max() < 1e-2, kind


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_video(watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = watched.page
    page.get_by_label("Model", exact=True).select_option("moving")
    watched.generate(prompt="fish", seed=2)
    watched.made(1)
    page.locator(".shown").click()
    watched.facts()
    ours = frames(downloaded(page, "Download", tmp_path / "page.mp4"))
    for kind in KINDS[:2]:
        (tmp_path / kind).mkdir()
        found = frames(run(kind, copied(page, kind), tmp_path / kind, monkeypatch))
        assert np.array_equal(found, ours), kind


def test_what_is_not_shipped_is_said(watched: Watched) -> None:
    page = watched.page
    watched.put({"model": "music", "prompt": "-14 'dB'\nloud", "width": None, "height": None})
    page.locator(".caption").click()
    watched.facts()
    text = copied(page, "Command line")
    assert text.startswith("# music: the file or folder that the server loads\n")
    assert shlex.split(text, comments=True)[:4] == ["multigen", "sample", "music", "--prompt=-14 'dB'\nloud"]
    assert "# music: the file" in copied(page, "Python")
