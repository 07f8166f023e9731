"""Where a file comes from, on the page: dropped or opened, signed or not, of this server or of others."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from PIL import Image

from tests.serving.page.browser import Watched, expect

_DROP = """([text, name]) => {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([bytes], name, {type: "image/png"}));
  const place = document.querySelector(".pick");
  for (const type of ["dragover", "drop"]) {
    place.dispatchEvent(new DragEvent(type, {dataTransfer, bubbles: true, cancelable: true}));
  }
}"""


def test_a_made_picture_dropped_back_says_where_it_comes_from(watched: Watched, tmp_path: Path) -> None:
    pytest.importorskip("c2pa")
    page = watched.page
    watched.generate(prompt="7", steps=1, seed=4)
    watched.made(1)
    page.locator(".caption").click()
    with page.expect_download() as waiting:
        page.get_by_role("dialog").get_by_role("link", name="Download").click()
    waiting.value.save_as(tmp_path / "made.png")
    page.keyboard.press("Escape")
    watched.view("Check")
    content = (tmp_path / "made.png").read_bytes()
    page.evaluate(_DROP, [base64.b64encode(content).decode(), "made.png"])
    found = page.get_by_role("region", name="What the file tells")
    found.get_by_role("heading", name="Made with image_digits").wait_for()
    text = found.inner_text()
    assert "Signature\nIntact, and signed by multigen local certificate" in text
    assert "Kind\nmade by a model" in text and "File\nmade.png" in text
    assert "anybody can write" not in text
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 844})
        assert watched.findings() == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_files_that_say_nothing_or_are_no_media(watched: Watched, tmp_path: Path) -> None:
    page = watched.page
    watched.view("Check")
    Image.new("RGB", (40, 40), "red").save(tmp_path / "plain.png")
    page.locator("input[type=file]").set_input_files(tmp_path / "plain.png")
    page.get_by_role("heading", name="This file says nothing of how it was made").wait_for()
    expect(page.get_by_text("It may be generated all the same")).to_be_visible()
    (tmp_path / "large.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(3 << 20))
    page.locator("input[type=file]").set_input_files(tmp_path / "large.png")
    page.get_by_role("alert").get_by_text("large.png: larger than 2 MB").wait_for()
    (tmp_path / "no.png").write_text("no picture")
    page.locator("input[type=file]").set_input_files(tmp_path / "no.png")
    page.get_by_role("alert").get_by_text("it is of no known format").wait_for()
    watched.errors.clear()  # the browser logs the answer 415
