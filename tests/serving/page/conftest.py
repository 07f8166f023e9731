"""What the tests of the page share: one server with small models, one browser, a fresh page for each test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from multigen.serving.engine.engine import Settings
from tests.serving.page.browser import FLAGS, Watched, chromium
from tests.serving.servers import running, small_models


@pytest.fixture(scope="package")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Digits as shipped, music and moving emoji small and untrained."""
    chromium()
    sources = small_models(tmp_path_factory.mktemp("models"), "image_digits")
    settings = Settings(max_batch=4)  # so that a few requests make a line
    with running(sources, tmp_path_factory.mktemp("store"), settings=settings) as one:
        yield f"{one.url}/"


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    executable = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        one = play.chromium.launch(executable_path=executable, args=list(FLAGS))
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
