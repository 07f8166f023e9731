"""Media as options on the page: a clip is opened or dropped, seen, sent, and kept with what was made for it."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from PIL import Image

from tests.serving.foley_model import saved_foley, written_clip
from tests.serving.page.browser import Watched, expect
from tests.serving.page.test_access import settled
from tests.serving.page.test_copy import copied, downloaded, run
from tests.serving.servers import running

DROP = """([text, name, type]) => {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], name, {type}));
  const place = document.querySelector(".given");
  const told = {dataTransfer: data, bubbles: true};
  for (const kind of ["dragover", "drop"]) place.dispatchEvent(new DragEvent(kind, told));
}"""


@pytest.fixture(scope="module")
def foley(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("foley")
    with running({"foley": saved_foley(folder)}, folder / "store") as one:
        yield f"{one.url}/"


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    (tmp_path / "mine").mkdir()
    return written_clip(tmp_path / "mine")


@pytest.fixture
def watched(browser: Any, foley: str) -> Iterator[Watched]:
    context = browser.new_context(
        viewport={"width": 1280, "height": 860},
        accept_downloads=True,
        permissions=["clipboard-read", "clipboard-write"],
    )
    page = Watched(context.new_page(), foley)
    yield page
    found, errors, outside = page.findings(), page.errors, page.outside()
    context.close()
    assert found == [] and errors == [] and outside == []


def group(page: Any) -> Any:
    return page.get_by_role("group", name="Condition")


def opener(page: Any) -> Any:
    return group(page).locator("button", has_text="Open a condition")


def generate(page: Any) -> None:
    page.get_by_label("Steps, as a number").fill("1")
    page.get_by_role("button", name="Generate").click()


def test_a_clip_is_dropped_heard_and_used_again(watched: Watched, clip: Path) -> None:
    page = watched.page
    text = base64.b64encode(clip.read_bytes()).decode()
    page.evaluate(DROP, [text, "my clip.mp4", "video/mp4"])
    shown = page.get_by_label("Condition: my clip.mp4")
    expect(shown).to_be_visible()
    expect(page.locator(".given video")).to_have_js_property("videoWidth", 32)
    expect(group(page).get_by_role("status")).to_have_text(
        f"my clip.mp4, {-(-clip.stat().st_size // 1000)} kB"
    )
    generate(page)
    watched.made(1)
    expect(page.locator(".tiles .tile.video")).to_have_count(1)  # the sound, with the pictures of the clip
    page.get_by_role("button", name="Details: no prompt").click()
    facts = watched.facts()
    assert "condition\nmy clip.mp4" in facts and "The condition that it was made for" in facts
    page.get_by_role("button", name="Use these settings").click()
    expect(shown).to_be_visible()

    page.reload()  # the form forgets the file, the result keeps it
    expect(opener(page)).to_be_visible()
    page.get_by_role("button", name="Details: no prompt").click()
    page.get_by_role("button", name="Same seed, change one thing").click()
    expect(shown).to_be_visible()
    page.get_by_text("More", exact=True).click()
    page.get_by_label("File format").select_option("wav")
    generate(page)
    watched.made(2)
    page.get_by_role("button", name="Details: no prompt").first.click()
    assert "Format: mp4 → wav" in watched.facts()
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Download").click()
    samples, rate = soundfile.read(waiting.value.path())
    assert abs(len(samples) / rate - 3.0) < 0.1  # as long as the clip


def test_what_does_not_fit_is_said_beside_the_field(watched: Watched, clip: Path, tmp_path: Path) -> None:
    page = watched.page
    soundfile.write(tmp_path / "a.wav", np.zeros(800), 16000)
    Image.new("RGB", (8, 8)).save(tmp_path / "b.png")
    (tmp_path / "c.mid").write_bytes(b"MThd")
    (tmp_path / "d.mp4").write_bytes(b"")
    (tmp_path / "e.mp4").write_bytes(bytes(3 << 20))
    (tmp_path / "f.mp4").write_bytes(b"no clip at all")
    chosen = page.locator(".given input[type=file]")
    for name, said in (
        ("a.wav", "a.wav is a sound; give a clip."),
        ("b.png", "b.png is a picture; give a clip."),
        ("c.mid", "c.mid is MIDI or MusicXML; give a clip."),
        ("d.mp4", "d.mp4: the file is empty."),
        ("e.mp4", "e.mp4: larger than 2 MB, which this server takes."),
    ):
        chosen.set_input_files(tmp_path / name)
        expect(group(page).get_by_role("alert")).to_have_text(said)
        expect(group(page).get_by_role("status")).to_have_text("")
    chosen.set_input_files(tmp_path / "f.mp4")
    expect(group(page).get_by_role("alert")).to_have_count(0)
    expect(group(page).get_by_text("this browser cannot show it")).to_be_visible()
    generate(page)
    expect(group(page).get_by_role("alert")).to_contain_text("of no known format; send video as one of mp4")
    expect(page.locator(".tile")).to_have_count(0)
    assert all("415" in error for error in watched.errors)  # the browser's own word for the refusal
    watched.errors.clear()
    chosen.set_input_files(clip)
    expect(group(page).get_by_role("alert")).to_have_count(0)


def test_keys_alone_open_and_remove_a_file(watched: Watched, clip: Path) -> None:
    page = watched.page
    # The browser is told to hand dialogs over, and does not say when it does: long before the key is pressed.
    page.on("filechooser", lambda _: None)
    about = group(page).get_attribute("aria-describedby")
    assert "the video to make it for: a clip" in page.locator(f"#{about}").inner_text().lower()
    expect(page.get_by_text("What you make is shown here")).to_be_visible()
    page.get_by_label("Prompt", exact=True).focus()
    for _ in range(20):
        page.keyboard.press("Tab")
        if opener(page).evaluate("one => one === document.activeElement"):
            break
    expect(opener(page)).to_be_focused()
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    assert not chooser.value.is_multiple()
    chooser.value.set_files(clip)
    remove = page.get_by_role("button", name="Remove the condition")
    remove.focus()
    page.keyboard.press("Enter")
    expect(remove).to_have_count(0)
    expect(page.locator(".given video")).to_have_count(0)


@pytest.mark.slow
def test_the_field_and_the_details_are_accessible(watched: Watched, clip: Path) -> None:
    page = watched.page
    page.locator(".given input[type=file]").set_input_files(clip)
    settled(watched, "condition")
    page.locator(".given input[type=file]").set_input_files(
        {"name": "a.wav", "mimeType": "audio/wav", "buffer": b"x"}
    )
    settled(watched, "wrong condition")
    generate(page)
    watched.made(1)
    page.get_by_role("button", name="Details: no prompt").click()
    watched.facts()
    settled(watched, "made for a condition")


def frames(content: bytes) -> Any:
    with av.open(io.BytesIO(content), "r") as file:
        assert file.streams.audio
        return np.stack([frame.to_ndarray(format="gray") for frame in file.decode(video=0)])


@pytest.mark.slow
def test_it_is_made_four_ways(
    watched: Watched, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is copied runs as it is, beside the file that it reads: on this server, of the sound and of both."""
    page = watched.page
    page.locator(".given input[type=file]").set_input_files(clip)
    page.get_by_text("More", exact=True).click()
    for k, form in enumerate(("mp4", "wav")):
        page.get_by_label("File format").select_option(form)
        generate(page)
        watched.made(k + 1)
        page.get_by_role("button", name="Details: no prompt").first.click()
        watched.facts()
        ours = downloaded(page, "Download", tmp_path / f"page.{form}")
        for kind in ("curl", "OpenAI client"):
            folder = tmp_path / f"{form} {kind}"
            folder.mkdir()
            downloaded(page, "condition.mp4", folder / "condition.mp4")
            theirs = run(kind, copied(page, kind), folder, monkeypatch)
            if form == "mp4":
                assert np.array_equal(frames(theirs), frames(ours)), kind
            else:
                a, b = (soundfile.read(io.BytesIO(one))[0] for one in (ours, theirs))
                assert a.shape == b.shape and np.abs(a - b).max() < 1e-3, kind
        page.get_by_role("dialog").get_by_text("Command line", exact=True).click()
        command = page.get_by_label("Command line", exact=True).last.inner_text()
        assert "--condition condition.mp4" in command and ("--format wav" in command) == (form == "wav")
        page.get_by_role("dialog").get_by_text("Python", exact=True).click()
        python = page.get_by_label("Python", exact=True).last.inner_text()
        assert 'options={"condition": "condition.mp4"}' in python
        page.keyboard.press("Escape")
