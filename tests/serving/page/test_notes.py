"""Notes on the page: they are heard as a sound, and taken along as a score."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from multigen.errors import MultigenError
from tests.serving.notes_model import saved_notes
from tests.serving.page.browser import Watched, expect
from tests.serving.page.test_copy import run
from tests.serving.servers import running


@pytest.fixture
def watched(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("notes")
    with running({"notes": saved_notes(folder)}, folder / "store") as one:
        context = browser.new_context(viewport={"width": 1280, "height": 860}, accept_downloads=True)
        page = Watched(context.new_page(), f"{one.url}/")
        yield page
        found, errors = page.findings(), page.errors
        context.close()
    assert found == [] and errors == []


def test_notes_are_heard_and_taken_along(watched: Watched) -> None:
    page = watched.page
    expect(page.locator("#model optgroup")).to_have_attribute("label", "Notes")
    assert page.get_by_label("Width").count() == 0
    assert page.get_by_label("Quarters").input_value() == "16"
    page.get_by_text("More", exact=True).click()
    page.get_by_label("instrument").fill("oboe")
    watched.generate(prompt="G major, 92 bpm", steps=1, seed=3)
    watched.made(1)
    expect(page.locator(".tiles .tile.audio")).to_have_count(1)
    page.get_by_role("button", name="Details: G major, 92 bpm, seed 3").click()
    assert "instrument\noboe" in watched.facts()
    assert page.get_by_role("button", name="Edit", exact=True).count() == 0
    assert "/v1/jobs" in page.get_by_label("curl", exact=True).last.inner_text()
    page.keyboard.press("Escape")

    page.get_by_label("File format").select_option("mid")
    page.get_by_label("Quarters").fill("8")
    watched.generate(prompt="D minor, 76 bpm", steps=1, seed=4)
    watched.made(2)
    page.get_by_role("button", name="Open: D minor, 76 bpm, seed 4").click()
    page.get_by_role("dialog").wait_for()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename.endswith(".mid")
    with open(download.value.path(), "rb") as file:
        assert file.read(4) == b"MThd"
    page.keyboard.press("Escape")

    page.get_by_label("instrument").fill("tuba of doom")
    watched.generate(prompt="D minor, 76 bpm", steps=1, seed=5)
    expect(page.get_by_text("'tuba of doom' is not allowed").first).to_be_visible()
    assert all("400" in error for error in watched.errors)  # the browser's own word for the refusal
    watched.errors.clear()
    page.locator(".tile.ended").get_by_role("button", name="Remove").click()
    watched.view("Batch sheet")
    expect(page.get_by_role("group", name="Across")).to_be_visible()
    watched.view("Edit")
    expect(page.get_by_text("What do you want to edit?")).to_be_visible()


def test_what_is_copied_ends_as_its_job_does(
    watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both texts leave the same piece; where the job fails they say why, and wait no longer."""
    page = watched.page
    page.get_by_text("More", exact=True).click()
    page.get_by_label("File format").select_option("mid")
    watched.generate(prompt="G major, 92 bpm", steps=1, seed=3)
    watched.made(1)
    page.get_by_role("button", name="Open: G major, 92 bpm, seed 3").click()
    watched.facts()
    texts = {}
    for kind in ("curl", "OpenAI client"):
        page.get_by_role("dialog").get_by_text(kind, exact=True).click()
        texts[kind] = page.get_by_label(kind, exact=True).last.inner_text()
    pieces = []
    for kind, text in texts.items():
        (tmp_path / kind).mkdir()
        pieces.append(run(kind, text, tmp_path / kind, monkeypatch))
    assert pieces[0] == pieces[1] and pieces[0][:4] == b"MThd"

    async def lost(*_: object) -> None:
        raise MultigenError("the disk is full")

    monkeypatch.setattr("multigen.serving.api.jobs.keep", lost)
    (tmp_path / "failed").mkdir()
    ended = subprocess.run(
        ["bash", "-c", texts["curl"]], cwd=tmp_path / "failed", timeout=30, capture_output=True, text=True
    )
    assert ended.returncode and "failed: what was made could not be kept" in ended.stderr
    with pytest.raises(SystemExit, match="failed: what was made could not be kept"):
        run("OpenAI client", texts["OpenAI client"], tmp_path / "failed", monkeypatch)
    assert list((tmp_path / "failed").iterdir()) == []
