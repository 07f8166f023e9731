"""The peer: one pipeline behind FastAPI with a lock, as in diffusers' `examples/server-async`, on the same network.

Requests go through one after the other; each runs whole in a thread, so that the event loop answers meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import socket
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

import multigen
from multigen.modalities.raster import to_levels, to_pil


class Wish(BaseModel):
    """A request, in the members of the other server."""

    model: str | None = None
    prompt: str
    seed: int = 0
    steps: int = 20


def app_of(name: str) -> FastAPI:
    """The app of one model."""
    app, lock, model = FastAPI(), asyncio.Lock(), multigen.load(name, device="cpu")

    def run(wish: Wish) -> str:
        (medium,) = model.generate(wish.prompt, n=1, seed=wish.seed, steps=wish.steps)
        file = io.BytesIO()
        to_pil(to_levels(medium.tensor)).save(file, format="PNG")
        return base64.b64encode(file.getvalue()).decode("ascii")

    @app.get("/ready")
    async def ready() -> dict[str, str]:
        return {"status": "ready"}

    @app.post("/v1/images/generations")
    async def generate(wish: Wish) -> dict[str, Any]:
        async with lock:
            content = await run_in_threadpool(run, wish)
        return {"data": [{"b64_json": content}]}

    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    app = app_of(parser.parse_args().name)
    listening = socket.create_server(("127.0.0.1", 0), backlog=256)
    print(f"peer: http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run([listening])
