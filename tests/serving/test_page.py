"""The page, by real clicks in a headless browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.serving.browser import Watched, chromium, serving

MODELS = ("image_digits", "audio_music", "video_moving_emoji")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    chromium()
    with serving(tmp_path_factory.mktemp("store"), MODELS) as found:
        yield found


@pytest.fixture(scope="module")
def browser(address: str) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        one = play.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox", "--disable-gpu", "--mute-audio"]
        )
        yield one
        one.close()


@pytest.fixture
def watched(browser: Any, address: str) -> Iterator[Watched]:
    """A fresh page; whatever a test does on it, it logs no error, asks no other host, and stays accessible."""
    context = browser.new_context(
        viewport={"width": 1280, "height": 860},
        accept_downloads=True,
        permissions=["clipboard-read", "clipboard-write"],
    )
    one = Watched(context.new_page(), address)
    yield one
    found = one.findings()
    context.close()
    assert found == []
    assert one.errors == []
    assert one.outside() == []


def made(page: Any, count: int) -> None:
    """Wait until so many results are there."""
    from playwright.sync_api import expect

    expect(page.locator(".tiles .caption")).to_have_count(count, timeout=30000)


def generate(page: Any, *, prompt: str = "7", steps: int = 3, n: int = 1) -> None:
    page.get_by_label("Prompt", exact=True).fill(prompt)
    page.get_by_label("Steps, as a number").fill(str(steps))
    page.get_by_label("How many").fill(str(n))
    page.get_by_role("button", name="Generate").click()


def test_generate_open_and_reload(watched: Watched) -> None:
    page = watched.page
    page.get_by_role("button", name="7", exact=True).click()
    assert page.get_by_label("Prompt", exact=True).input_value() == "7"
    page.get_by_label("Negative prompt").fill("1")
    page.get_by_label("Seed", exact=True).fill("41")
    generate(page, n=2)
    made(page, 2)
    page.get_by_role("button", name="Open: 7, seed 42").click()
    facts = page.locator(".facts").inner_text()
    for text in ("image_digits", "Seed\n42", "Steps\n3", "Negative prompt\n1"):
        assert text in facts
    assert watched.findings() == []
    page.keyboard.press("ArrowRight")
    assert "Seed\n41" in page.locator(".facts").inner_text()
    page.keyboard.press("Escape")
    size = page.evaluate("(i => [i.naturalWidth, i.naturalHeight])(document.querySelector('.tile img'))")
    assert size == [28, 28]
    page.reload()
    made(page, 2)
    page.get_by_role("button", name="Open: 7, seed 42").click()
    page.get_by_role("button", name="Delete").click()
    made(page, 1)
    page.reload()
    made(page, 1)


def test_download_is_the_picture_of_the_seed(watched: Watched, address: str, tmp_path: Path) -> None:
    import base64
    import io
    import json
    import urllib.request

    import numpy as np
    from PIL import Image

    page = watched.page
    page.get_by_label("Seed", exact=True).fill("5")
    generate(page, prompt="3")
    made(page, 1)
    page.locator(".shown").click()
    with page.expect_download() as waiting:
        page.get_by_role("link", name="Download").click()
    assert waiting.value.suggested_filename == "image_digits_seed5.png"
    waiting.value.save_as(tmp_path / "page.png")
    body = {"model": "image_digits", "prompt": "3", "seed": 5, "steps": 3}
    request = urllib.request.Request(
        f"{address}v1/images/generations",
        json.dumps(body).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        content = base64.b64decode(json.load(answer)["data"][0]["b64_json"])
    alone = np.asarray(Image.open(io.BytesIO(content)), np.float32)
    seen = np.asarray(Image.open(tmp_path / "page.png"), np.float32)
    assert seen.std() > 10
    assert np.abs(seen - alone).max() <= 1


def test_previews_arrive_and_cancel_stops(watched: Watched) -> None:
    page = watched.page
    generate(page, steps=100, n=6)
    preview = page.get_by_role("img", name="Preview").first
    preview.wait_for()
    assert page.locator(".waiting").count() == 6
    page.locator(".waiting").first.get_by_role("button", name="Cancel").click()
    page.get_by_text("Cancelled").first.wait_for()
    page.get_by_role("button", name="Cancel all").click()
    page.wait_for_selector(".waiting", state="detached")
    assert page.locator(".tile.ended").count() >= 1


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("curl", r"curl http://127\.0\.0\.1:\d+/v1/\S+ \\\n.*\"seed\":9.*\"steps\":3"),
        ("Python", r'multigen\.load\("image_digits"\)\n.*generate\("it\'s 4", seed=9, steps=3\)'),
        ("Command line", r"multigen sample image_digits --prompt 'it'\\''s 4' --seed 9 --steps 3 -n 1"),
    ],
)
def test_copy_as(watched: Watched, kind: str, expected: str) -> None:
    page = watched.page
    page.evaluate(_INSERT, ["it's 4", 9, 3])
    page.reload()
    page.locator(".shown").click()
    page.get_by_text(kind, exact=True).click()
    page.get_by_role("button", name=f"Copy {kind}").click()
    page.get_by_text(f"Copied: {kind}.").wait_for()
    text = page.evaluate("navigator.clipboard.readText()")
    assert re.search(expected, text, re.S), text


# A result of an earlier session, as the history holds it.
_INSERT = """async ([prompt, seed, steps]) => {
  const canvas = new OffscreenCanvas(28, 28);
  canvas.getContext("2d").fillRect(4, 4, 9, 9);
  const blob = await canvas.convertToBlob();
  const settings = {model: "image_digits", prompt, negative_prompt: "", seed, steps, guidance_scale: 2, sampler: null,
    width: 28, height: 28, seconds: null, sliding_window: false, tile: false, options: {}, n: 1,
    format: "png", edit: null};
  const {save} = await import("./page/history.js");
  await save({id: crypto.randomUUID(), created: Date.now(), settings, modality: "image", status: "done", blob,
    parent: null});
}"""


def test_same_seed_change_one_thing(watched: Watched) -> None:
    page = watched.page
    page.evaluate(_INSERT, ["4", 9, 3])
    page.reload()
    page.locator(".shown").click()
    page.get_by_role("button", name="Same seed, change one thing").click()
    assert page.get_by_label("Seed", exact=True).input_value() == "9"
    page.get_by_label("Steps, as a number").fill("5")
    page.get_by_role("button", name="Generate").click()
    made(page, 2)
    page.locator(".shown").first.click()
    assert page.locator(".changed").inner_text() == "Steps: 3 → 5"
    page.get_by_role("button", name="Compare with the one before").click()
    row = page.locator(".difference tbody tr")
    assert row.count() == 1
    assert row.inner_text().split("\t") == ["Steps", "3", "5"]


def test_seed_is_rolled_unless_locked(watched: Watched) -> None:
    page = watched.page
    seed = page.get_by_label("Seed", exact=True)
    before = seed.input_value()
    page.get_by_role("button", name="Roll another seed").click()
    assert seed.input_value() != before
    generate(page, steps=2)
    made(page, 1)
    rolled = seed.input_value()
    generate(page, steps=2)
    made(page, 2)
    assert seed.input_value() != rolled
    kept = seed.input_value()
    page.get_by_role("button", name="Lock", exact=True).click()
    generate(page, steps=2)
    made(page, 3)
    assert seed.input_value() == kept


def test_a_refusal_is_said(watched: Watched) -> None:
    page = watched.page
    generate(page, prompt="x" * 5000)
    page.get_by_role("status").get_by_text("5,000 characters; allowed: 4,000").wait_for()
    page.locator(".tile.ended").get_by_role("button", name="Remove").click()
    assert page.locator(".tile").count() == 0
    watched.errors.clear()  # the browser's own line about the status 400


def test_keyboard_alone(watched: Watched) -> None:
    page = watched.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.get_by_label("Prompt", exact=True).focus()
    page.get_by_label("How many").fill("1")
    page.get_by_label("Prompt", exact=True).focus()
    page.keyboard.press("Control+Enter")
    made(page, 1)
    page.locator(".shown").focus()
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    page.get_by_role("dialog").wait_for()
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.className") == "shown"


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("view", ["create", "edit", "compare", "sheet"])
def test_views_are_accessible_and_fit_a_phone(browser: Any, address: str, view: str, colours: Any) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme=colours)
    one = Watched(context.new_page(), address)
    one.page.evaluate(_INSERT, ["4", 9, 3])
    one.page.goto(f"{address}#{view}")
    one.page.reload()
    one.page.wait_for_selector("form.panel, .compare, .pick")
    found = one.findings()
    wide = one.page.evaluate("document.documentElement.scrollWidth")
    context.close()
    assert (found, one.errors, one.outside()) == ([], [], [])
    assert wide <= 390


def test_policy_and_files(address: str) -> None:
    import urllib.error
    import urllib.request

    with urllib.request.urlopen(address) as answer:
        policy = answer.headers["content-security-policy"]
        text = answer.read().decode()
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy and "default-src 'none'" in policy
    nonce = re.search(r'csp-nonce" content="([^"]+)"', text)
    assert nonce is not None and f"'nonce-{nonce[1]}'" in policy
    for name in (
        "page/../state.py",
        "page/%2e%2e/api/page.py",
        "page//etc/passwd",
        "page/app.py",
        "page/none.js",
    ):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(address + name)
