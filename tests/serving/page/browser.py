"""One headless Chromium, and a page of it with what must not happen there."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

AXE = Path(__file__).parent.parent / "axe" / "axe.min.js"
FLAGS = ("--no-sandbox", "--disable-gpu", "--mute-audio")


def chromium() -> str:
    """The browser; a skip with the reason where there is none."""
    pytest.importorskip("playwright", reason="the tests of the page need the package playwright")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("the tests of the page need Chromium (Debian: apt install chromium)")
    return found


def expect(what: Any) -> Any:
    """Playwright's own, imported where it is there: it waits until what is said of a place is true."""
    from playwright.sync_api import expect

    return expect(what)


class Watched:
    """A page of the browser, and what must not happen on it: errors, and requests to other hosts."""

    def __init__(self, page: Any, address: str, *, wait: str = "form.panel, .pick, .compare") -> None:
        self.page, self.address = page, address
        self.errors: list[str] = []
        self.requests: list[Any] = []
        page.set_default_timeout(40000)
        page.on("console", lambda m: self.errors.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: self.errors.append(str(e)))
        page.on("request", lambda r: self.requests.append(r))
        page.goto(address)
        page.wait_for_selector(wait)

    def view(self, name: str) -> None:
        """Go to a view."""
        self.page.get_by_role("link", name=name, exact=True).click()

    def generate(self, *, prompt: str = "7", steps: int = 2, n: int = 1, seed: int | None = None) -> None:
        """Fill the form and send it."""
        page = self.page
        page.get_by_label("Prompt", exact=True).fill(prompt)
        page.get_by_label("Steps, as a number").fill(str(steps))
        page.get_by_label("How many").fill(str(n))
        if seed is not None:
            page.get_by_label("Seed", exact=True).fill(str(seed))
        page.get_by_role("button", name="Generate").click()

    def facts(self) -> str:
        """What the dialog of a result says."""
        dialog = self.page.get_by_role("dialog")
        dialog.wait_for()
        return dialog.locator(".facts").inner_text()

    def made(self, count: int) -> None:
        """Wait until so many results are there."""
        expect(self.page.locator(".tiles .caption")).to_have_count(count, timeout=30000)

    def put(self, *results: dict[str, Any]) -> None:
        """Put results into the history and load the page again: pictures of a rectangle, with the given settings."""
        self.page.evaluate(_PUT, list(results))
        self.page.reload()
        self.page.wait_for_selector("form.panel, .pick, .compare")

    def outside(self) -> list[str]:
        """Addresses of other hosts that were asked for."""
        return [r.url for r in self.requests if not r.url.startswith((self.address, "blob:", "data:"))]

    def findings(self, impacts: Sequence[str] = ("serious", "critical")) -> list[str]:
        """What axe-core finds that is serious or worse, as the page is now."""
        if not self.page.evaluate("typeof window.axe === 'object'"):
            self.page.evaluate(AXE.read_text(encoding="utf-8"))
        # With preload it would copy the styles of shadow roots into style elements, which the page's policy forbids.
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations'], preload: false})")
        return [
            f"{v['id']}: {n['html'][:160]} ({n['failureSummary'][:200]})"
            for v in found["violations"]
            if v["impact"] in impacts
            for n in v["nodes"]
        ]


# Results of an earlier session, as the history holds them.
_PUT = """async (all) => {
  const {save} = await import("./page/history.js");
  for (const [k, given] of all.entries()) {
    const canvas = new OffscreenCanvas(28, 28);
    canvas.getContext("2d").fillRect(4 + k, 4, 9, 9);
    const settings = {model: "image_digits", prompt: "4", negative_prompt: "", seed: 9, steps: 3, guidance_scale: 2,
      sampler: null, width: 28, height: 28, seconds: null, sliding_window: false, tile: false, options: {}, n: 1,
      format: "png", edit: null, ...given};
    await save({id: crypto.randomUUID(), group: null, created: Date.now() - k, settings, modality: "image",
      status: "done", blob: await canvas.convertToBlob(), job: null, parent: null});
  }
}"""
