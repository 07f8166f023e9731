"""How late the event loop comes to what is due: what blocks it makes every client wait."""

from __future__ import annotations

import asyncio
import time

from multigen.serving.engine.watch import Watch

EVERY = 0.02  # s; a block of the loop is seen but for up to so much of it


async def watch_loop(watch: Watch) -> None:
    """Tell a watch how late the loop is, until this is cancelled."""
    due = time.monotonic() + EVERY
    while True:
        await asyncio.sleep(max(due - time.monotonic(), 0))
        now = time.monotonic()
        watch.lagged(max(now - due, 0.0))
        due = now + EVERY
