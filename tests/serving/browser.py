"""A server with small models and one headless Chromium, for the tests of the page."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from multigen.serving.api.app import create_app
from multigen.serving.api.state import Server
from multigen.serving.engine.models import Models
from multigen.serving.engine.store import Store

AXE = Path(__file__).parent / "axe" / "axe.min.js"


def chromium() -> str:
    """The browser; a skip with the reason where there is none."""
    pytest.importorskip("playwright", reason="the tests of the page need the package playwright")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("the tests of the page need Chromium (Debian: apt install chromium)")
    return found


@contextlib.contextmanager
def serving(folder: Path, names: tuple[str, ...]) -> Iterator[str]:
    """A server in a thread of its own, with an event loop of its own; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ready = threading.Event()
    runner: dict[str, Any] = {}

    def run() -> None:
        async def main() -> None:
            models = Models({name: name for name in names}, device="cpu")
            app = create_app(Server(models, Store(folder)))
            runner["server"] = server = uvicorn.Server(
                uvicorn.Config(app, port=port, log_level="warning", timeout_graceful_shutdown=1)
            )
            task = asyncio.create_task(server.serve())
            while not server.started and not task.done():
                await asyncio.sleep(0.02)
            ready.set()
            await task

        asyncio.run(main())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(60)
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        runner["server"].should_exit = True
        thread.join(20)


class Watched:
    """A page of the browser, and what must not happen on it: errors, and requests to other hosts."""

    def __init__(self, page: Any, address: str) -> None:
        self.page, self.address = page, address
        self.errors: list[str] = []
        self.requests: list[Any] = []
        page.set_default_timeout(15000)
        page.on("console", lambda m: self.errors.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda e: self.errors.append(str(e)))
        page.on("request", lambda r: self.requests.append(r))
        page.goto(address)
        page.wait_for_selector("form.panel")

    def outside(self) -> list[str]:
        """Addresses of other hosts that were asked for."""
        return [r.url for r in self.requests if not r.url.startswith((self.address, "blob:", "data:"))]

    def findings(self) -> list[str]:
        """What axe-core finds that is serious or worse, as the page is now."""
        if not self.page.evaluate("typeof window.axe === 'object'"):
            self.page.evaluate(AXE.read_text(encoding="utf-8"))
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{v['id']}: {n['html'][:160]} ({n['failureSummary'][:200]})"
            for v in found["violations"]
            if v["impact"] in ("serious", "critical")
            for n in v["nodes"]
        ]
