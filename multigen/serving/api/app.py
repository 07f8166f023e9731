"""The app: routes, errors and guards around one server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp

from multigen.serving.api import (
    audio,
    errors,
    files,
    health,
    image_edits,
    images,
    jobs,
    models,
    origin,
    page,
    speech,
    videos,
)
from multigen.serving.api.ask import Recorder
from multigen.serving.api.document import completed
from multigen.serving.api.lag import watch_loop
from multigen.serving.api.state import Server
from multigen.serving.api.takeover import share
from multigen.serving.guard.guard import Guard, Rules
from multigen.serving.tracing import Tracing
from multigen.version import __version__

ROUTERS = tuple(
    part.router
    for part in (images, image_edits, audio, speech, videos, jobs, models, files, origin, health, page)
)


class App(FastAPI):
    """An app whose document says all that it answers. `keys`: whether it asks for keys."""

    keys = False

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        if self.openapi_schema is None:
            self.openapi_schema = completed(super().openapi(), keys=self.keys)
        return self.openapi_schema


def create_app(
    server: Server,
    *,
    root_path: str = "",
    rules: Rules | None = None,
    forward: Callable[[ASGIApp], ASGIApp] | None = None,
    tracing: Tracing | None = None,
) -> FastAPI:
    """The app of a server.

    root_path  what a proxy puts in front of its paths
    rules      the guard's
    tracing    traces every request
    forward    stands between guard and routes, and may answer in their place
    """

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        await server.readers.start()
        await server.background.restore()
        app.openapi()  # takes long, once: not when a client asks
        tasks = [asyncio.create_task(watch_loop(server.models.watch))]
        if server.sharing is not None:
            tasks.append(asyncio.create_task(share(app, server, server.sharing)))
        yield
        for task in tasks:
            task.cancel()
        await server.models.close("the server is ending")
        await server.background.finish()
        server.readers.close()
        if tracing is not None:
            await asyncio.to_thread(tracing.close)

    asked = rules or Rules()
    app = App(title="multigen", version=__version__, lifespan=life, docs_url=None, redoc_url=None)
    app.keys = asked.keys is not None
    app.state.server = server
    errors.install(app)
    for router in ROUTERS:
        app.include_router(router)
    if forward is not None:
        app.add_middleware(forward)
    elif server.sharing is not None:  # whoever makes it keeps the request
        app.add_middleware(Recorder)
    app.add_middleware(Guard, server=server, rules=asked, root_path=root_path)
    if tracing is not None:
        app.add_middleware(tracing.around)
    return app
