"""Whether traces are asked for, and where they go."""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Mapping
from typing import Protocol
from urllib.parse import urlsplit

from starlette.types import ASGIApp

from multigen.errors import MultigenError
from multigen.storage.packages import install

log = logging.getLogger(__name__)
_ADDRESSES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_MODULE = "multigen.serving.otel"


class Tracing(Protocol):
    """What traces the requests of an app."""

    def around(self, app: ASGIApp) -> ASGIApp:
        """An app whose requests are traced."""
        ...

    def close(self) -> None:
        """Send what is left."""


def tracing_of(endpoint: str | None, environ: Mapping[str, str] = os.environ) -> Tracing | None:
    """Traces to a collector, or where OTEL_EXPORTER_OTLP_ENDPOINT says; None where neither is there.

    MultigenError for an address that is none, and where the packages are missing. What is only in the environment may
    be meant for others: without the packages it is said, and the server starts.
    """
    if endpoint is None and not _in(environ):
        return None
    if endpoint is not None and (
        urlsplit(endpoint).scheme not in ("http", "https") or not urlsplit(endpoint).netloc
    ):
        raise MultigenError(
            f"--otlp {endpoint}: give the address of a collector, such as http://localhost:4318"
        )
    try:
        made: Tracing = importlib.import_module(_MODULE).Traces.to(endpoint)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "opentelemetry":
            raise
        text = f"traces need the package opentelemetry-sdk: {install('otel')}"
        if endpoint is not None:
            raise MultigenError(f"--otlp: {text}") from None
        log.warning("OTEL_EXPORTER_OTLP_ENDPOINT is set, but %s", text)
        return None
    return made


def _in(environ: Mapping[str, str]) -> bool:
    off = (
        environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
        or environ.get("OTEL_TRACES_EXPORTER") == "none"
    )
    return not off and any(environ.get(name) for name in _ADDRESSES)
