"""A server that asks for keys: the dialog, where the key stands, and addresses of media that need none."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from multigen.serving.guard.keys import add_key
from tests.serving.hosted import hosted
from tests.serving.page.browser import Watched


def test_key_dialog(browser: Any, digits: Path, tmp_path: Path) -> None:
    key = add_key(tmp_path / "keys.json", "ana")
    with hosted(digits, tmp_path / "store", keys=tmp_path / "keys.json") as server:
        context = browser.new_context()
        one = Watched(context.new_page(), f"http://127.0.0.1:{server.port}/", wait="dialog[open]")
        page = one.page
        assert one.findings() == []
        page.get_by_role("button", name="Cancel").click()
        page.get_by_role("button", name="Give a key").click()
        page.get_by_label("Key", exact=True).fill("mg_wrong")
        page.get_by_role("button", name="Use the key").click()
        page.get_by_role("alert").get_by_text("The server does not take this key.").wait_for()
        page.get_by_label("Key", exact=True).fill(key)
        page.keyboard.press("Enter")
        page.wait_for_selector("form.panel")
        one.generate(steps=1)
        one.made(1)
        stored = page.evaluate(
            "[sessionStorage.getItem('multigen-key'), Object.values(localStorage), document.cookie]"
        )
        assert stored == [key, [], ""]
        media = [r for r in one.requests if "/v1/files/" in r.url]
        query = parse_qs(urlsplit(media[0].url).query)
        assert len(media) == 1 and set(query) == {"expires", "signature"}
        assert "authorization" not in media[0].headers
        assert all(key not in r.url for r in one.requests)
        # Another tab has no key; what is under way waits there until it has one.
        page.get_by_label("Steps, as a number").fill("100")
        page.get_by_role("button", name="Generate").click()
        page.locator(".waiting").wait_for()
        other = context.new_page()
        other.goto(one.address)
        other.get_by_label("Key", exact=True).fill(key)
        other.get_by_role("button", name="Use the key").click()
        other.locator(".waiting, .tile").nth(1).wait_for()
        other.close()
        page.reload()
        page.wait_for_selector("form.panel")
        page.get_by_role("button", name="Key", exact=True).wait_for()
        one.made(2)
        context.close()
