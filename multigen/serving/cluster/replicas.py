"""The deployments: the app in front, and a model with its engine."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.exceptions import RayActorError, RayError, TaskCancelledError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle, DeploymentResponseGenerator
from starlette.types import Message, Scope

from multigen.serving.api.app import create_app
from multigen.serving.cluster.forward import Forward, Full, Gone, answered
from multigen.serving.cluster.scaling import METRIC
from multigen.serving.logs import show_logs
from multigen.serving.run import Options, root_of, rules_of, server_of
from multigen.serving.tracing import tracing_of

log = logging.getLogger(__name__)


class ModelReplica:
    """One model: the whole app, of which this replica makes the media of one model."""

    def __init__(self, sources: Sequence[str], options: Options, name: str) -> None:
        show_logs()
        self._options, self._name = options, name
        self._server = server_of(sources, options, own=frozenset([name]))
        self._app = create_app(self._server, root_path=root_of(options.root_path), rules=rules_of(options))
        self._life: Any = None
        self._starting: asyncio.Task[None] | None = None

    async def reconfigure(self, _: object) -> None:
        """Load the model, before the replica is ready."""
        if self._life is None:
            self._life = self._app.router.lifespan_context(self._app)
            await self._life.__aenter__()
            await self._server.models.engine(self._name)
            self._server.loading = False

    async def answer(self, scope: Scope, body: bytes) -> AsyncIterator[Message]:
        """Answer one request."""
        async for message in answered(self._app, scope, body):
            yield message

    async def metrics(self) -> str:
        """What happened here, for Prometheus."""
        from multigen.serving.api.metrics import Metrics

        server, watch = self._server, self._server.models.watch
        return watch.text(server.models, ready=server.ready).decode() if isinstance(watch, Metrics) else ""

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """What the scaling asks for."""
        engines = self._server.models.engines
        return {METRIC: float(sum(engine.waiting + engine.running for engine in engines))}

    async def __del__(self) -> None:
        """Drain: requests have ended; jobs have some time, and then others go on with them."""
        self._server.draining = True
        until = time.monotonic() + self._options.drain
        while time.monotonic() < until and not all(engine.idle for engine in self._server.models.engines):
            await asyncio.sleep(0.05)
        if self._life is not None:
            await self._life.__aexit__(None, None, None)


class Front:
    """What clients reach: pages, jobs and files from the store; what makes media goes to its model."""

    def __init__(
        self, sources: Sequence[str], options: Options, models: Mapping[str, DeploymentHandle[Any]]
    ) -> None:
        show_logs()
        self._sources, self._options, self._models = sources, options, models

    def __serve_build_asgi_app__(self) -> FastAPI:
        """The app, which Ray asks for when the replica starts."""
        server = server_of(self._sources, replace(self._options, memory=1.0), own=frozenset())
        server.loading = False
        root = root_of(self._options.root_path)
        calls = {name: partial(_called, handle) for name, handle in self._models.items()}
        forward = partial(Forward, server=server, calls=calls, root=root, metrics=self._metrics)
        rules, tracing = rules_of(self._options), tracing_of(self._options.otlp)
        return create_app(server, root_path=root, rules=rules, forward=forward, tracing=tracing)

    async def _metrics(self) -> dict[str, str]:
        """What each replica tells Prometheus."""
        found: dict[str, str] = {}
        for name, handle in self._models.items():
            try:
                texts = await handle.broadcast("metrics").results_async(timeout_s=5)
            except (TimeoutError, RayError, DeploymentUnavailableError) as error:
                log.warning(
                    "%s tells no metrics (%s)", name, error
                )  # what the others tell counts all the same
                continue
            found |= {f"{name}/{number}": text for number, text in enumerate(texts)}
        return found


FrontDeployment = serve.ingress()(Front)


def _called(handle: DeploymentHandle[Any], scope: Scope, body: bytes) -> _Answer:
    return _Answer(handle.options(method_name="answer", stream=True).remote(scope, body))


class _Answer:
    """What a replica answers."""

    def __init__(self, parts: DeploymentResponseGenerator[Any]) -> None:
        self._parts = parts

    async def __aiter__(self) -> AsyncIterator[Message]:
        try:
            async for message in self._parts:
                yield message
        except TaskCancelledError as error:
            raise asyncio.CancelledError from error
        except BackPressureError as error:
            raise Full(str(error)) from error
        except (RayActorError, DeploymentUnavailableError) as error:
            raise Gone(type(error).__name__) from error

    def cancel(self) -> None:
        self._parts.cancel()
