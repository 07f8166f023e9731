"""Making media by real clicks and keys: the form, previews, the line, the history, what goes wrong."""

from __future__ import annotations

import base64
import io
import json
import re
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.serving.page.browser import Watched, expect

_KEPT = """(count) => new Promise((resolve) => {
  const opening = indexedDB.open("multigen");
  opening.onsuccess = () => {
    const counting = opening.result.transaction("results").objectStore("results").count();
    counting.onsuccess = () => resolve(counting.result >= count);
  };
})"""
_HIDE = """() => {
  Object.defineProperty(document, "hidden", {value: true});
  document.dispatchEvent(new Event("visibilitychange"));
}"""

# Whether the browser's database of results is empty.
KEPT_NOTHING = """() => new Promise((resolve) => {
  const opened = indexedDB.open("multigen");
  opened.onsuccess = () => {
    const counted = opened.result.transaction("results").objectStore("results").count();
    counted.onsuccess = () => (opened.result.close(), resolve(counted.result === 0));
  };
})"""


def test_generate_open_and_reload(watched: Watched) -> None:
    page = watched.page
    page.get_by_role("button", name="7", exact=True).click()
    assert page.get_by_label("Prompt", exact=True).input_value() == "7"
    page.get_by_label("Negative prompt").fill("1")
    watched.generate(n=2, seed=41)
    watched.made(2)
    page.get_by_role("button", name="Open: 7, seed 42").click()
    facts = watched.facts()
    for text in ("image_digits", "Seed\n42", "Steps\n2", "Negative prompt\n1", "Width\n28", "Format\npng"):
        assert text in facts
    assert watched.findings() == []
    page.keyboard.press("ArrowRight")
    assert "Seed\n41" in watched.facts()
    page.keyboard.press("Escape")
    size = page.evaluate("(i => [i.naturalWidth, i.naturalHeight])(document.querySelector('.tile img'))")
    assert size == [28, 28]
    page.reload()
    watched.made(2)
    assert page.get_by_label("Negative prompt").input_value() == "1"  # the form is as it was, too
    page.get_by_role("button", name="Open: 7, seed 42").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    watched.made(1)
    page.get_by_role("button", name="Undo").click()
    watched.made(2)
    page.get_by_role("button", name="Delete all").click()
    watched.made(0)
    page.wait_for_function(KEPT_NOTHING)  # a reload before the browser has deleted them would find them
    page.reload()
    page.get_by_text("What you make is shown here.").wait_for()


def test_a_suggestion_begins(watched: Watched) -> None:
    watched.page.get_by_label("Steps, as a number").fill("2")
    watched.page.get_by_label("How many").fill("1")
    button = watched.page.get_by_role("button", name="Make: ").nth(1)
    prompt = button.inner_text().removeprefix("Make: ")
    button.click()
    watched.made(1)
    assert watched.page.locator(".caption").inner_text() == prompt


def test_download_is_the_picture_of_the_seed(watched: Watched, address: str, tmp_path: Path) -> None:
    page = watched.page
    watched.generate(prompt="3", steps=3, seed=5)
    watched.made(1)
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


def test_previews_arrive_the_line_moves_and_cancel_stops(
    watched: Watched, held: Callable[[int, int], None]
) -> None:
    page = watched.page
    held(6, 8)
    watched.generate(steps=100, n=6)
    page.get_by_role("img", name="Preview").first.wait_for()
    expect(page.locator(".waiting")).to_have_count(6)
    expect(page).to_have_title("(6) multigen")
    page.get_by_text(re.compile(r"^Step \d+ of 100$")).first.wait_for()
    # Four share the network's calls; the others say how many stand before them.
    page.get_by_text("Next in line").wait_for()
    page.get_by_text("1 before it").wait_for()
    page.locator(".waiting").first.get_by_role("button", name="Cancel").click()
    page.get_by_text("Cancelled").first.wait_for()
    page.get_by_role("button", name="Cancel all").click()
    page.wait_for_selector(".waiting", state="detached")
    expect(page.locator(".tile.ended")).to_have_count(6)
    page.get_by_role("status").get_by_text("All are done.").wait_for()
    page.get_by_label("Steps, as a number").fill("2")
    page.get_by_role("button", name="Delete all").click()
    page.get_by_text("What you make is shown here.").wait_for()


def test_what_was_under_way_goes_on_after_a_reload(watched: Watched) -> None:
    page = watched.page
    watched.generate(steps=12, n=6, seed=100)
    page.locator(".tile").nth(5).wait_for()
    page.wait_for_function(_KEPT, arg=6)  # the browser writes them down a moment after it shows them
    page.reload()  # some have been sent, some may not
    expect(page.locator(".tile")).to_have_count(6)
    page.evaluate(_HIDE)  # as behind another tab, where no stream is held open
    watched.made(6)
    assert not [r for r in watched.requests[-6:] if r.url.endswith("/events")]
    names = page.locator(".shown").evaluate_all("all => all.map((one) => one.ariaLabel)")
    assert names == [f"Open: 7, seed {seed}" for seed in range(105, 99, -1)]
    keys = {r.headers["idempotency-key"] for r in watched.requests if r.method == "POST"}
    assert len(keys) == 6  # whatever was sent twice is one job


def test_a_full_server_is_asked_again(watched: Watched) -> None:
    page = watched.page
    refused: list[str] = []

    def full(route: Any) -> None:
        if refused:
            route.continue_()
            return
        refused.append(route.request.url)
        error = {"error": {"message": "the queue is full", "code": "queue_full"}}
        route.fulfill(status=429, headers={"retry-after": "1"}, json=error)

    page.route("**/v1/jobs", full)
    watched.generate()
    page.get_by_text("The server is busy; it is asked again in 1 s").wait_for()
    watched.made(1)
    watched.errors.clear()  # the browser's own line about the status 429


def test_a_connection_that_breaks_is_taken_up_again(watched: Watched) -> None:
    page = watched.page
    held = page.get_by_text("The server does not answer; trying again")
    page.route("**/events", lambda route: route.abort())
    page.route("**/v1/jobs", lambda route: route.abort())
    watched.generate()
    held.wait_for()
    with page.expect_request("**/events"):  # it has been sent
        page.unroute("**/v1/jobs")
    held.wait_for()
    page.unroute("**/events")
    watched.made(1)
    watched.errors.clear()  # the browser's own line about the connection


def test_a_server_that_is_gone_is_said_and_tried_again(watched: Watched) -> None:
    page = watched.page
    page.route("**/v1/models", lambda route: route.abort())
    page.reload()
    page.get_by_role("alert").get_by_text("The server does not answer.").wait_for()
    page.unroute("**/v1/models")
    page.get_by_role("button", name="Try again").click()
    page.wait_for_selector("form.panel")
    watched.errors.clear()  # the browser's own line about the connection


def test_what_fails_says_why_and_can_be_tried_again(watched: Watched) -> None:
    page = watched.page

    def broken(route: Any) -> None:
        route.fulfill(status=500, json={"error": {"message": "out of order", "code": "server_error"}})

    page.route("**/v1/jobs", broken)
    watched.generate()
    page.locator(".tile.ended").get_by_text("out of order").wait_for()
    page.unroute("**/v1/jobs")
    page.get_by_role("button", name="Try again").click()
    watched.made(1)
    watched.errors.clear()  # the browser's own line about the status 500


def test_a_refusal_stands_at_its_field(watched: Watched) -> None:
    page = watched.page
    watched.generate(prompt="x" * 600, n=3)
    page.get_by_role("alert").get_by_text("600 characters; allowed: 500").wait_for()
    field = page.get_by_label("Prompt", exact=True)
    assert field.get_attribute("aria-invalid") == "true"
    named = page.locator(f"#{field.get_attribute('aria-describedby')}")
    assert "600 characters" in named.inner_text()
    assert page.locator(".tile").count() == 0
    assert watched.findings() == []
    field.fill("3")
    assert page.get_by_role("alert").count() == 0
    watched.errors.clear()  # the browser's own line about the status 400


def test_seed_is_rolled_unless_locked(watched: Watched) -> None:
    page = watched.page
    seed = page.get_by_label("Seed", exact=True)
    before = seed.input_value()
    page.get_by_role("button", name="Roll another seed").click()
    assert seed.input_value() != before
    watched.generate()
    watched.made(1)
    rolled = seed.input_value()
    watched.generate()
    watched.made(2)
    assert seed.input_value() != rolled
    kept = seed.input_value()
    page.get_by_role("button", name="Lock", exact=True).click()
    watched.generate()
    watched.made(3)
    assert seed.input_value() == kept


def test_numbers_stay_in_their_range(watched: Watched) -> None:
    page = watched.page
    steps = page.get_by_label("Steps, as a number")
    steps.fill("5000")
    steps.blur()
    assert steps.input_value() == page.get_by_label("Steps", exact=True).input_value() == "100"
    page.get_by_role("button", name="Steps: back to the model's own").click()
    assert steps.input_value() != "100"
    width = page.get_by_label("Width")
    width.fill("56")
    width.blur()
    page.get_by_label("Sliding window").check()
    page.get_by_label("Tiles without a seam").check()
    watched.generate()
    watched.made(1)
    page.locator(".shown").click()
    facts = watched.facts()
    assert "Sliding window\nyes" in facts and "Tile\nyes" in facts
    assert page.evaluate("document.querySelector('.stage img').naturalWidth") == 56


def test_keyboard_alone(watched: Watched) -> None:
    page = watched.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.get_by_label("How many").fill("1")
    page.get_by_label("Steps, as a number").fill("2")
    page.get_by_label("Prompt", exact=True).focus()
    page.keyboard.press("Control+Enter")
    watched.made(1)
    page.locator(".shown").focus()
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.keyboard.press("Enter")
    page.get_by_role("dialog").wait_for()
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.className") == "shown"
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")  # marks it for comparing
    assert page.locator(".mark input").is_checked()
