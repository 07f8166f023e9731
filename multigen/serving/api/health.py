"""/health, /ready and /metrics: what a supervisor, a balancer and Prometheus ask."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.responses import JSONResponse, PlainTextResponse, Response

from multigen.serving.api.document import answers
from multigen.serving.api.errors import ApiError
from multigen.serving.api.metrics import Metrics
from multigen.serving.api.shapes import Error, Health, Ready
from multigen.serving.api.state import TheServer

router = APIRouter()


@router.get("/health", response_model=None, responses=answers(Health, "it does"))
async def health() -> dict[str, Any]:
    """Whether the process answers."""
    return {"status": "ok"}


@router.get(
    "/ready",
    response_model=None,
    responses=answers(Ready, "they should")
    | answers(Ready | Error, "they should not, or not now", status=503),
)
async def ready(server: TheServer) -> Response:
    """Whether requests should be sent here: 503 while models are loaded, and before the end."""
    state = "draining" if server.draining else "loading" if server.loading else "ready"
    engines = server.models.engines
    counts = {"waiting": sum(e.waiting for e in engines), "running": sum(e.running for e in engines)}
    return JSONResponse({"status": state, **counts}, 200 if state == "ready" else 503)


@router.get(
    "/metrics",
    response_model=None,
    response_class=PlainTextResponse,
    responses=answers(about="the metrics", others={404: "this server counts nothing"}),
)
async def metrics(server: TheServer) -> Response:
    """What happened, for Prometheus."""
    watch = server.models.watch
    if not isinstance(watch, Metrics):
        raise ApiError(404, "this server counts nothing", code="not_found")
    return Response(watch.text(server.models, ready=server.ready), media_type=watch.media_type)
