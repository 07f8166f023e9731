"""The app: routes, errors and guards around one server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from multigen.serving.api import (
    audio,
    errors,
    files,
    health,
    image_edits,
    images,
    jobs,
    models,
    page,
    speech,
    videos,
)
from multigen.serving.api.lag import watch_loop
from multigen.serving.api.state import Server
from multigen.serving.guard.guard import Guard, Rules
from multigen.version import __version__

ROUTERS = tuple(
    part.router for part in (images, image_edits, audio, speech, videos, jobs, models, files, health, page)
)


def create_app(server: Server, *, root_path: str = "", rules: Rules | None = None) -> FastAPI:
    """The app of a server; `root_path` is what a proxy puts in front of its paths, `rules` are the guard's."""

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        await server.background.restore()
        watching = asyncio.create_task(watch_loop(server.models.watch))
        yield
        watching.cancel()
        await server.models.close("the server is ending")
        await server.background.finish()

    app = FastAPI(
        title="multigen",
        version=__version__,
        lifespan=life,
        docs_url=None,
        redoc_url=None,
    )
    app.state.server = server
    errors.install(app)
    for router in ROUTERS:
        app.include_router(router)
    app.add_middleware(Guard, server=server, rules=rules or Rules(), root_path=root_path)
    return app
