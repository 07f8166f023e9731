"""Notes on the page: they are heard as a sound, and taken along as a score."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from multigen.errors import MultigenError
from multigen.modalities.notes import Notes
from tests.serving.notes_model import saved_notes, written_piece
from tests.serving.page.browser import Watched, expect
from tests.serving.page.test_copy import copied, downloaded, run
from tests.serving.servers import LIMITS, running


@pytest.fixture
def watched(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("notes")
    limits = replace(LIMITS, seconds=60.0)
    with running({"notes": saved_notes(folder)}, folder / "store", limits=limits) as one:
        context = browser.new_context(
            viewport={"width": 1280, "height": 860},
            accept_downloads=True,
            permissions=["clipboard-read", "clipboard-write"],
        )
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
    assert "Quarters\n16" in watched.facts()
    assert page.get_by_role("button", name="Edit", exact=True).count() == 0  # what it sounds like is no score
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


def test_bars_of_a_users_score_are_written_anew(
    watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a file: what stays is said in a musician's words, what is wrong with them beside the medium."""
    page = watched.page
    mine = written_piece(tmp_path)
    before = Notes().read(mine)
    watched.view("Edit")
    page.locator("input[type=file]").set_input_files(mine)
    stays = page.get_by_role("textbox", name="What stays")
    expect(stays).to_be_visible()
    expect(page.get_by_text("mine.mid").first).to_be_visible()
    assert page.get_by_label("Feather").count() == 0
    page.get_by_role("button", name="Make it").click()
    expect(page.get_by_role("alert")).to_have_text("Say what stays, such as: all but bars 3-4.")
    page.get_by_label("Prompt", exact=True).fill("G major, 92 bpm")
    page.get_by_label("Steps, as a number").fill("1")
    page.get_by_text("More", exact=True).click()
    page.get_by_label("File format").select_option("mid")
    stays.fill("bars 1-900")
    page.get_by_role("button", name="Make it").click()
    expect(page.get_by_text("the piece has bars 1 to 12").first).to_be_visible()
    watched.errors.clear()  # the browser's own word for the refusal
    page.get_by_role("button", name="all but bars 3-4").click()
    page.get_by_role("button", name="Make it").click()
    page.get_by_role("button", name="Details: G major, 92 bpm").click()
    assert "Keep\nall but bars 3-4" in watched.facts()
    assert watched.findings() == []
    ours = downloaded(page, "Download", tmp_path / "page.mid")
    after = Notes().read(tmp_path / "page.mid")
    assert torch.equal(after[:, :32, :4], before[:, :32, :4])
    assert not torch.equal(after[:, 32:64, :4], before[:, 32:64, :4])
    for kind in ("curl", "OpenAI client"):
        folder = tmp_path / kind
        folder.mkdir()
        downloaded(page, "input.mid", folder / "input.mid")
        assert run(kind, copied(page, kind), folder, monkeypatch) == ours
    page.get_by_role("dialog").get_by_text("Command line", exact=True).click()
    command = page.get_by_label("Command line", exact=True).last.inner_text()
    assert "--input input.mid" in command and "--keep 'all but bars 3-4'" in command
    page.get_by_role("button", name="Edit", exact=True).click()  # what was made, once more
    page.get_by_text("Extend", exact=True).click()
    page.get_by_label("Quarters after").fill("4")
    page.get_by_role("button", name="Make it").click()
    expect(page.get_by_role("heading", name="Before and after")).to_be_visible(timeout=30000)


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
