"""The task of a server that shares its store: it says how its jobs are, and takes over what others have left."""

from __future__ import annotations

import asyncio
import logging

from starlette.types import ASGIApp

from multigen.serving.api.ask import Resumed, answer_again
from multigen.serving.api.background import failed
from multigen.serving.api.sharing import ASK, UNDER_WAY, Sharing
from multigen.serving.api.state import Caller, Server

log = logging.getLogger(__name__)
_LATER = (429, 503)  # answers after which another server, or this one later, may do
_SILENT = 3  # makers of one job that may fall silent: it may be the job that ends them


async def share(app: ASGIApp, server: Server, sharing: Sharing) -> None:
    """Do so until it is cancelled. What the store refuses now, it may take a second later."""
    while True:
        await asyncio.sleep(sharing.beat)
        try:
            await _beat(app, server, sharing)
        except Exception as error:
            log.exception("the shared store %s", server.store.place, exc_info=error)


async def _beat(app: ASGIApp, server: Server, sharing: Sharing) -> None:
    ages, unwanted, taken = await sharing.said()
    for name in unwanted:
        await server.background.cancel(name)
    for name in taken:
        log.warning("%s: another server has taken it over", name)
        await server.background.abandon(name)
    for name in sharing.left(ages):
        if server.draining or server.loading:
            return
        await _take(app, server, sharing, name, ages[name])


async def _take(app: ASGIApp, server: Server, sharing: Sharing, name: str, there: dict[str, float]) -> None:
    """Go on with a job that nobody makes, if it is for this server to do."""
    record = await asyncio.to_thread(server.store.get, name)
    if record is None or record.get("status") not in UNDER_WAY:
        await sharing.clear(name)  # it was never accepted, or has ended
        return
    if record["model"] not in server.models.served or not server.makes(record["model"]):
        return
    claimed = await sharing.claim(name, there)
    if claimed is None:
        return
    turn, silent = claimed
    log.warning("%s: nobody makes it any more; this server goes on", name)
    content = await asyncio.to_thread(server.store.read, name, ASK)
    status, body = 500, {"error": {"code": "lost", "message": "its request is not kept any more"}}
    if silent > _SILENT:
        body = {"error": {"code": "lost", "message": f"{silent} servers ended while they made it"}}
    elif content is not None:
        state = {"caller": Caller(record["owner"]), "resumed": Resumed(name, turn)}
        status, body = await answer_again(app, content, state)
    if status in _LATER:
        await sharing.end(name, free=True)
    elif status >= 400:
        error = {key: body.get("error", {}).get(key) or "" for key in ("code", "message")}
        await server.background.put(name, {**record, **failed(error["code"], error["message"])})
        await sharing.end(name)
