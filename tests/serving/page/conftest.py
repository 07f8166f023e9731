"""What the tests of the page share: one server with small models, one browser, a fresh page for each test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from multigen.serving.engine.engine import Engine, Settings
from multigen.serving.engine.watch import Mark
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


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """`held(media, calls)`: until this test ends, networks wait for so many media, and then make so many calls.

    What a test looks at is there for as long as it looks, however slow the machine is.
    """
    call = Engine._call

    def hold(media: int, calls: int) -> None:
        made = 0

        async def held_call(engine: Engine, chosen: Sequence[int], mark: Mark) -> None:
            nonlocal made
            if made == calls or (not made and engine.waiting + engine.running < media):
                await asyncio.sleep(0.01)  # the engine goes on without a call: others join, wait and leave
                return
            made += 1
            await call(engine, chosen, mark)

        monkeypatch.setattr(Engine, "_call", held_call)

    return hold
