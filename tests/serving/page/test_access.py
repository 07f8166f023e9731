"""Every view without serious findings, in both schemes and on a phone; nothing but the server is asked."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from multigen.serving.api.page import FOLDER
from tests.serving.page.browser import Watched


def settled(one: Watched, where: str) -> None:
    """No serious finding on a light phone and on a dark desktop, and nothing wider than the screen."""
    page = one.page
    for width, colours in ((1280, "dark"), (390, "light")):
        page.set_viewport_size({"width": width, "height": 844})
        page.emulate_media(color_scheme=colours, reduced_motion="reduce")
        assert one.findings() == [], (where, width, colours)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, (where, width)


@pytest.mark.slow
def test_views_are_accessible_and_fit(watched: Watched) -> None:
    one, page = watched, watched.page
    settled(one, "empty")
    one.view("Compare")
    settled(one, "nothing to compare")
    one.view("Create")
    one.put({"seed": 1}, {"seed": 2, "prompt": "a long prompt " * 9})
    page.get_by_text("More", exact=True).click()
    settled(one, "gallery")
    page.locator(".shown").first.click()
    one.facts()
    settled(one, "dialog")
    page.keyboard.press("Escape")
    for box in page.get_by_role("checkbox", name="Compare: ").all():
        box.check()
    one.view("Compare")
    settled(one, "compare")
    one.view("Batch sheet")
    settled(one, "sheet")
    one.view("Edit")
    settled(one, "pick")
    page.get_by_role("button", name="Edit: ").first.click()
    page.locator("canvas.mask").wait_for()
    settled(one, "mask")
    page.get_by_text("Outpaint", exact=True).click()
    settled(one, "outpaint")


def test_the_scheme_can_be_chosen(watched: Watched) -> None:
    page = watched.page
    back = "getComputedStyle(document.body).backgroundColor"
    page.get_by_role("button", name="Colours: automatic").click()
    light = page.evaluate(back)
    page.get_by_role("button", name="Colours: light").click()
    dark = page.evaluate(back)
    page.reload()
    page.get_by_role("button", name="Colours: dark").wait_for()
    assert page.evaluate(back) == dark != light


def test_policy_and_files(address: str) -> None:
    with urllib.request.urlopen(address) as answer:
        policy = answer.headers["content-security-policy"]
        text = answer.read().decode()
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy and "default-src 'none'" in policy
    nonce = re.search(r'csp-nonce" content="([^"]+)"', text)
    assert nonce is not None and f"'nonce-{nonce[1]}'" in policy
    assert not re.search(r"<script(?![^>]*src=)|\son\w+=|\sstyle=", text)  # nothing inline
    for name in (
        "page/../state.py",
        "page/%2e%2e/api/page.py",
        "page//etc/passwd",
        "page/app.py",
        "page/none.js",
    ):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(address + name)


def test_modules_are_short_and_each_colour_stands_once() -> None:
    for path in FOLDER.glob("*.js"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 200, path.name
    rules = "".join(path.read_text(encoding="utf-8") for path in (FOLDER / "style").glob("*.css"))
    written = re.findall(r"#[0-9a-f]{3,8}\b|rgba?\([^)]*\)", re.sub(r"(?m)^\s+--[a-z-]+:.*$", "", rules))
    assert written == []  # all others are custom properties


def test_vendored_libraries_are_named_with_their_licences() -> None:
    vendor = FOLDER / "vendor"
    table = (vendor / "README.md").read_text(encoding="utf-8")
    notice = (Path(__file__).parents[3] / "NOTICE").read_text(encoding="utf-8")
    for path in vendor.glob("*.js"):
        assert f"`{path.name}`" in table, path.name
    for name in ("htm", "Preact", "wavesurfer.js"):
        assert name in notice
        assert (vendor / f"LICENSE-{name.lower().removesuffix('.js')}.txt").is_file()
    assert re.search(r"htm \d+\.\d+\.\d+.*Preact \d+", table)
    assert re.search(r"wavesurfer\.js \d+\.\d+\.\d+", table)
