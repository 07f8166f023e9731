"""Editing by real strokes, drags and keys: masks, borders, spans, frames; what comes of it beside what was there."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.serving.page.browser import Watched, expect

Pixels = np.ndarray[Any, Any]


def picture(path: Path, size: tuple[int, int] = (28, 28)) -> Path:
    """A picture with a slope from left to right."""
    slope = np.linspace(0, 255, size[0], dtype=np.uint8)
    Image.fromarray(np.broadcast_to(slope, size[::-1]).copy()).save(path)
    return path


def opened(watched: Watched, path: Path) -> None:
    """Open a file in the view for editing, with few steps and one result."""
    page = watched.page
    watched.view("Edit")
    page.locator("input[type=file]").set_input_files(path)
    page.get_by_label("Steps, as a number").fill("3")
    page.get_by_label("How many").fill("1")


def drag(page: Any, box: dict[str, float], start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drag inside of an element, from one place to another as shares of its size."""
    at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end)]
    page.mouse.move(*at[0])
    page.mouse.down()
    page.mouse.move(*at[1], steps=6)
    page.mouse.up()


def painted(page: Any) -> Pixels:
    """Where the mask is painted: bool [height, width]."""
    rows = page.evaluate(
        """() => {
          const c = document.querySelector("canvas.mask");
          const {data} = c.getContext("2d").getImageData(0, 0, c.width, c.height);
          return [c.width, Array.from(data).filter((_, k) => k % 4 === 3)];
        }"""
    )
    return np.array(rows[1]).reshape(-1, rows[0]) > 127


def shown(page: Any, selector: str) -> Pixels:
    """The pixels of a picture on the page, grey; it may be about to come."""
    page.locator(selector).first.wait_for()
    data = page.evaluate(
        """async (selector) => {
          const blob = await (await fetch(document.querySelector(selector).src)).blob();
          return Array.from(new Uint8Array(await blob.arrayBuffer()));
        }""",
        selector,
    )
    return np.asarray(Image.open(io.BytesIO(bytes(data))).convert("L"), np.float32)


def make(page: Any) -> None:
    """Press the button and wait for the result."""
    page.get_by_role("button", name="Make it").click()
    page.locator(".edit-results .caption").wait_for(timeout=30000)


def test_mask_with_brush_and_eraser(watched: Watched, tmp_path: Path) -> None:
    page = watched.page
    opened(watched, picture(tmp_path / "slope.png"))
    page.get_by_role("button", name="Make it").click()
    page.get_by_role("alert").get_by_text("Paint over what is to be made anew.").wait_for()
    size = page.get_by_label("Size in pixels, as a number")
    size.fill("8")
    size.blur()
    box = page.locator("canvas.mask").bounding_box()
    drag(page, box, (0.3, 0.5), (0.7, 0.5))
    line = painted(page)
    assert line[14, 10:18].all() and not line[:8].any() and not line[20:].any()
    page.get_by_text("Eraser", exact=True).click()
    drag(page, box, (0.5, 0.2), (0.5, 0.8))
    two = painted(page)
    assert not two[14, 14] and two[14, 8] and two[14, 19]
    page.get_by_role("button", name="Undo").click()
    assert (painted(page) == line).all()
    page.get_by_role("button", name="Invert").click()
    assert (painted(page) == ~line).all()
    page.get_by_role("button", name="Clear").click()
    assert not painted(page).any()
    for _ in range(3):
        page.get_by_role("button", name="Undo").click()
    assert not painted(page).any()
    page.get_by_text("Brush", exact=True).click()
    page.locator("canvas.mask").focus()
    for _ in range(4):
        page.keyboard.press("ArrowUp")  # by a quarter of the brush, from where the pointer was
    page.keyboard.press("Space")
    dot = painted(page)
    assert dot[14, 14] and 30 < dot.sum() < 80
    page.keyboard.press("]")
    assert size.input_value() == "9"
    assert watched.findings() == []


def test_inpaint_and_the_same_edit_again(watched: Watched, tmp_path: Path) -> None:
    page = watched.page
    file = picture(tmp_path / "slope.png")
    opened(watched, file)
    page.get_by_label("Size in pixels, as a number").fill("10")
    page.get_by_label("Feather in pixels").fill("0")
    page.get_by_label("Seed", exact=True).fill("3")
    drag(page, page.locator("canvas.mask").bounding_box(), (0.5, 0.5), (0.8, 0.5))
    mask = painted(page)
    make(page)
    before, after = shown(page, ".slide .under"), shown(page, ".slide .over")
    assert (before == np.asarray(Image.open(file), np.float32)).all()
    assert np.abs(before - after)[~mask].max() <= 2  # what was not painted stays
    assert np.abs(before - after)[mask].mean() > 10
    slider = page.get_by_label("Border between Before and After, in percent")
    slider.fill("20")
    expect(page.locator(".slide .over")).to_have_css("clip-path", "inset(0px 0px 0px 20%)")
    page.locator(".edit-results .shown").click()
    dialog = page.get_by_role("dialog")
    assert "Mask\npainted" in watched.facts()
    assert watched.findings() == []
    # The edit as it was: the mask is there again, and the same seed makes the same.
    dialog.get_by_role("button", name="Same seed, change one thing").click()
    page.locator(".edit-results").wait_for(state="detached")
    page.wait_for_timeout(200)
    assert (painted(page) == mask).all()
    assert page.get_by_label("Seed", exact=True).input_value() == "3"
    make(page)
    assert np.abs(shown(page, ".slide .over") - after).max() <= 1


def test_outpaint_by_dragging_borders(watched: Watched, tmp_path: Path) -> None:
    page = watched.page
    file = picture(tmp_path / "slope.png")
    opened(watched, file)
    page.get_by_text("Outpaint", exact=True).click()
    room = page.locator(".room").bounding_box()
    handle = page.get_by_role("slider", name="Right: pixels added")
    grip = handle.bounding_box()
    middle = ((grip["x"] + grip["width"] / 2 - room["x"]) / room["width"], 0.5)
    drag(page, room, middle, (middle[0] + 8 / 56, 0.5))  # the room is two pictures wide
    assert handle.get_attribute("aria-valuenow") == "8"
    left = page.get_by_role("slider", name="Left: pixels added")
    left.focus()
    page.keyboard.press("ArrowLeft")  # by what the model's sizes are multiples of
    page.keyboard.press("ArrowLeft")
    assert page.get_by_label("Left", exact=True).input_value() == "4"
    page.get_by_text(re.compile("the result will be 40 . 28")).wait_for()
    assert watched.findings() == []
    page.get_by_label("Feather in pixels").fill("0")
    make(page)
    after = shown(page, ".slide .over")
    assert after.shape == (28, 40)
    kept = after[:, 4:32]
    assert np.abs(kept - np.asarray(Image.open(file), np.float32)).max() <= 2
    page.locator(".edit-results .shown").click()
    assert "Extend\n4,0,8,0" in watched.facts()


def test_vary(watched: Watched, tmp_path: Path) -> None:
    page = watched.page
    opened(watched, picture(tmp_path / "large.png", (90, 60)))
    page.get_by_text(re.compile("Cut and scaled to 28 . 28 pixels")).wait_for()
    page.get_by_text("Vary", exact=True).click()
    page.get_by_label("Strength, as a number").fill("0.3")
    page.get_by_label("Purify", exact=True).fill("0.05")
    make(page)
    asked = [r.post_data_json for r in watched.requests if r.method == "POST" and r.post_data]
    assert [one["edit"]["purify"] for one in asked if "edit" in one] == [0.05]
    before, after = shown(page, ".slide .under"), shown(page, ".slide .over")
    assert before.shape == after.shape == (28, 28)
    assert 0 < np.abs(before - after).mean() < 100  # it is no digit, which the model makes of it


def test_span_of_a_sound(watched: Watched, tmp_path: Path) -> None:
    import soundfile

    page = watched.page
    rate = 22050
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(int(1.4 * rate)) / rate)
    soundfile.write(tmp_path / "tone.wav", tone, rate)
    opened(watched, tmp_path / "tone.wav")
    page.get_by_role("button", name="Add a span").press("Enter")
    page.get_by_label("From, in seconds").fill("0.5")
    page.get_by_label("To, in seconds").fill("0.8")
    page.get_by_label("To, in seconds").blur()
    assert page.get_by_label("From, in seconds").input_value() == "0.5"
    page.get_by_role("button", name="Remove span 1").press("Enter")
    assert page.locator(".span").count() == 0
    drag(page, page.locator(".wave-frame").bounding_box(), (0.35, 0.5), (0.6, 0.5))
    start, end = (float(page.get_by_label(f"{name}, in seconds").input_value()) for name in ("From", "To"))
    assert 0.3 < start < 0.7 < end < 1.0
    assert watched.findings() == []
    page.get_by_label("Feather in seconds").fill("0")
    make(page)
    page.locator(".edit-results .tile .caption").click()
    facts = watched.facts()
    assert f"Keep\n0:{start:g}s,{end:g}s:" in facts
    dialog = page.get_by_role("dialog")
    assert dialog.locator(".before-after .wave").count() == 2
    dialog.get_by_label("Position of both, in seconds").fill("0.4")
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Download").click()
    waiting.value.save_as(tmp_path / "out.wav")
    after, found = soundfile.read(tmp_path / "out.wav", always_2d=True)
    assert found == rate and abs(len(after) - len(tone)) <= 1
    error = np.abs(after[: len(tone), 0] - tone[: len(after)])
    inside, outside = error[int((start + 0.05) * rate) : int((end - 0.05) * rate)], error[: int(0.2 * rate)]
    assert inside.mean() > 3 * outside.mean()


def test_frames_of_a_video(watched: Watched, tmp_path: Path) -> None:
    page = watched.page
    page.get_by_label("Model", exact=True).select_option("moving")
    watched.generate(prompt="panda", steps=2)
    watched.made(1)
    page.locator(".shown").click()
    page.get_by_role("button", name="Edit", exact=True).click()
    page.get_by_text("4 of 4 frames stay.").wait_for()
    page.get_by_role("button", name="Frame 2: stays").click()
    page.get_by_role("button", name="Frame 4: stays").click(modifiers=["Shift"])
    page.get_by_text("1 of 4 frames stay.").wait_for()
    page.get_by_role("button", name="Keep none").click()
    page.get_by_role("button", name="Make it").click()
    page.get_by_role("alert").get_by_text("Mark the frames").wait_for()
    page.get_by_role("button", name="Keep all").click()
    page.get_by_role("button", name="Frame 3: stays").press("Enter")
    assert watched.findings() == []
    page.get_by_text("Vary", exact=True).click()
    page.get_by_text("Keep frames", exact=True).click()
    page.get_by_role("button", name="Frame 3: new").wait_for()  # marks survive another look
    page.get_by_label("Steps, as a number").fill("2")
    make(page)
    page.locator(".edit-results .shown").click()
    assert "Keep\n0:2f,3f:" in watched.facts()
    assert page.get_by_role("dialog").locator(".before-after video").count() == 2


def test_extend_a_sound_made_before(watched: Watched) -> None:
    page = watched.page
    page.get_by_label("Model", exact=True).select_option("music")
    watched.generate(prompt="flute", steps=2)
    watched.made(1)
    watched.view("Edit")
    page.get_by_role("button", name="Edit: flute").click()
    page.get_by_text("Extend", exact=True).click()
    page.get_by_label("Seconds after").fill("0.5")
    make(page)
    page.locator(".edit-results .tile .caption").click()
    assert "Extend\n0s,0.5s" in watched.facts()
    waves = page.get_by_role("dialog").locator(".before-after .wave")
    waves.nth(0).get_by_text("/ 0:01.5").wait_for()
    waves.nth(1).get_by_text("/ 0:02.0").wait_for()
