"""What can be done with results: players, comparing, the batch sheet, one thing changed."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.serving.page.browser import Watched, expect


def seconds(page: Any, name: str = "Position in seconds") -> float:
    """Where a player stands."""
    return float(page.get_by_label(name).first.input_value())


def test_sound_with_waveform_and_spectrogram(watched: Watched, tmp_path: Path) -> None:
    page = watched.page
    page.get_by_label("Model", exact=True).select_option("music")
    page.get_by_text("More", exact=True).click()
    page.get_by_label("File format").select_option("flac")
    page.get_by_label("Loudness in LUFS").fill("-20")
    watched.generate(prompt="flute", seed=4)
    watched.made(1)
    page.locator(".tile .wave").get_by_text("/ 0:01.5").wait_for()
    page.locator(".caption").click()
    facts = watched.facts()
    assert "Format\nflac" in facts and "Loudness (LUFS)\n-20" in facts and "Seconds\n1.5" in facts
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("/ 0:01.5").wait_for()
    # Both are drawn: more than one colour.
    drawn: list[list[int]] = []
    for _ in range(100):  # the spectrogram comes after the waveform
        drawn = dialog.locator(".canvas > div").evaluate(
            """(host) => [...host.shadowRoot.querySelectorAll("canvas")].filter((c) => c.width * c.height).map((c) => {
              // Of a copy: to read a canvas itself again and again is a warning in the console.
              const copy = new OffscreenCanvas(c.width, c.height).getContext("2d", {willReadFrequently: true});
              copy.drawImage(c, 0, 0);
              const d = copy.getImageData(0, 0, c.width, c.height).data;
              return [c.height, new Set(new Uint32Array(d.buffer)).size];
            })"""
        )
        if any(colours > 100 for _, colours in drawn):
            break
        page.wait_for_timeout(100)
    assert any(colours > 100 for _, colours in drawn), drawn  # the spectrogram
    assert sum(colours > 1 for _, colours in drawn) >= 2, drawn
    dialog.get_by_label("Position in seconds").fill("0.7")
    dialog.get_by_text("0:00.7 / 0:01.5").wait_for()
    dialog.get_by_role("button", name="Loop").press("Enter")
    dialog.get_by_role("button", name="Play").press("Space")
    expect(dialog.get_by_text("0:00.7 / 0:01.5")).to_have_count(0)
    dialog.get_by_role("button", name="Pause").click()
    with page.expect_download() as waiting:
        dialog.get_by_role("link", name="Download").click()
    assert waiting.value.suggested_filename == "music_seed4.flac"
    waiting.value.save_as(tmp_path / "medium.flac")
    assert (tmp_path / "medium.flac").read_bytes()[:3] == b"ID3"
    assert watched.findings() == []


def test_video_player(watched: Watched) -> None:
    page = watched.page
    page.get_by_label("Model", exact=True).select_option("moving")
    watched.generate(prompt="panda", seed=4)
    watched.made(1)
    page.get_by_role("button", name="Open: panda, seed 4").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("/ 0:00.5").wait_for()
    assert watched.findings() == []
    dialog.get_by_role("button", name="One frame on").press("Enter")  # it stops there
    dialog.get_by_role("button", name="Play").wait_for()
    dialog.get_by_label("Position in seconds").fill("0.05")
    step = page.get_by_role("button", name="One frame on")
    step.click()
    expect(dialog.get_by_label("Position in seconds")).to_have_value(
        "0.1875"
    )  # the middle of the second of 8 a second
    dialog.get_by_role("button", name="One frame back").click()
    expect(dialog.get_by_label("Position in seconds")).to_have_value("0.0625")
    dialog.get_by_label("Speed").select_option("0.25")
    assert page.evaluate("document.querySelector('dialog video').playbackRate") == 0.25
    dialog.get_by_role("button", name="Play").click()
    dialog.get_by_role("button", name="Pause").wait_for()


def test_same_seed_change_one_thing(watched: Watched) -> None:
    page = watched.page
    watched.put({})
    page.locator(".shown").click()
    page.get_by_role("button", name="Same seed, change one thing").click()
    assert page.get_by_label("Seed", exact=True).input_value() == "9"
    page.get_by_label("Steps, as a number").fill("5")
    page.get_by_role("button", name="Generate").click()
    watched.made(2)
    page.locator(".shown").first.click()
    watched.facts()
    assert page.locator(".changed").inner_text() == "Steps: 3 → 5"
    page.get_by_role("button", name="Compare with the one before").click()
    row = page.locator(".difference tbody tr")
    assert row.count() == 1
    assert row.inner_text().split("\t") == ["Steps", "3", "5"]


def test_compare_two_pictures(watched: Watched) -> None:
    page = watched.page
    watched.put({"seed": 1}, {"seed": 2}, {"seed": 3})
    page.get_by_label("Compare: 4, seed 1").check()
    page.get_by_label("Compare: 4, seed 3").check()
    page.get_by_role("link", name="Compare the two").click()
    assert page.locator(".side img").count() == 2
    page.get_by_label("Zoom of the first").fill("4")
    first, second = page.locator(".zoomed > div").all()
    for one in (first, second):
        expect(one).to_have_attribute("style", "transform: translate(0px, 0px) scale(4);")
    box = page.locator(".zoomed").first.bounding_box()
    page.mouse.move(box["x"] + 50, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 80, box["y"] + 40)
    page.mouse.up()
    page.locator(".zoomed").nth(1).press("ArrowRight")
    expect(first).to_have_attribute("style", "transform: translate(10px, -10px) scale(4);")
    page.get_by_label("Linked controls").uncheck()
    page.get_by_label("Zoom of the second").fill("2")
    expect(second).to_have_attribute("style", "transform: translate(10px, -10px) scale(2);")
    expect(first).to_have_attribute("style", "transform: translate(10px, -10px) scale(4);")
    page.get_by_role("button", name="Swap").click()
    assert page.locator(".difference tbody tr").inner_text().split("\t") == ["Seed", "3", "1"]
    page.get_by_text("Slider", exact=True).click()
    page.get_by_label("Border between First and Second, in percent").press("ArrowRight")
    expect(page.locator(".over")).to_have_css("clip-path", "inset(0px 0px 0px 50.5%)")
    page.get_by_text("Side by side", exact=True).click()
    page.get_by_role("combobox", name="Second").select_option("")
    page.get_by_role("button", name="Second: 4, seed 2").click()
    assert page.locator(".difference tbody tr").inner_text().split("\t") == ["Seed", "3", "2"]


def test_compare_two_sounds_under_one_control(watched: Watched) -> None:
    page = watched.page
    page.get_by_label("Model", exact=True).select_option("music")
    watched.generate(prompt="flute", n=2)
    watched.made(2)
    for one in page.get_by_role("checkbox", name="Compare: ").all():
        one.check()
    watched.view("Compare")
    page.get_by_text("/ 0:01.5").nth(1).wait_for()
    page.get_by_label("Position of both, in seconds").fill("0.5")
    expect(page.get_by_text("0:00.5 / 0:01.5")).to_have_count(2)
    for side in page.locator(".side").all():  # so that it plays for as long as the test looks
        side.get_by_role("button", name="Loop").click()
    page.get_by_role("button", name="Play both").click()
    expect(page.locator(".side").get_by_role("button", name="Pause")).to_have_count(2)
    page.get_by_role("button", name="Pause both").click()
    expect(page.locator(".side").get_by_role("button", name="Pause")).to_have_count(0)


def test_batch_sheet(watched: Watched, tmp_path: Path) -> None:
    page = watched.page
    watched.view("Batch sheet")
    page.get_by_label("Prompt", exact=True).fill("5")
    page.get_by_label("Across: values").fill("1, two")
    page.get_by_role("button", name="Make the sheet").click()
    page.get_by_role("alert").get_by_text("Steps: two is no number.").wait_for()
    page.get_by_label("Across: values").fill("1, 2")
    page.get_by_label("Down: setting").select_option("prompt")
    page.get_by_label("Down: values").fill("5\n6\n8")
    page.get_by_role("button", name="Make the sheet").click()
    page.get_by_text("Complete").wait_for()
    heads = page.locator(".grid th").all_inner_texts()
    assert heads == ["Steps 1", "Steps 2", "Prompt 5", "Prompt 6", "Prompt 8"]
    seen = [one.get_attribute("aria-label") for one in page.locator(".grid .shown").all()]
    seed = page.get_by_role("spinbutton", name="Seed").input_value()
    assert seen == [f"Open: {prompt}, seed {seed}" for prompt in "556688"]
    assert watched.findings() == []
    page.reload()
    expect(page.locator(".grid .shown")).to_have_count(6)
    with page.expect_download() as waiting:
        page.get_by_role("button", name="Download the sheet").click()
    waiting.value.save_as(tmp_path / "sheet.png")
    content = (tmp_path / "sheet.png").read_bytes()
    width, height = struct.unpack(">II", content[16:24])
    sheet = np.asarray(Image.open(io.BytesIO(content)).convert("L"), np.float32)
    cell = 28 * 5
    assert (width, height) == (150 + 2 * (cell + 8), 26 + 3 * (cell + 8))
    assert sheet[26 : 26 + cell, 150 : 150 + cell].std() > 10
