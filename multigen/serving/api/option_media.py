"""Options of a request that are media: a client sends each as base64, never as a path of the server's machine."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from multigen.errors import MultigenError
from multigen.generation.declared import options_of
from multigen.generation.request import Request
from multigen.modalities.media import Media
from multigen.registry import Part
from multigen.serving.api.errors import ApiError
from multigen.serving.api.state import Server
from multigen.serving.api.uploads import inline_upload, medium_of_kind
from multigen.serving.engine.models import Served


async def with_media(request: Request, served: Served, server: Server) -> Request:
    """The request with its options that are media read within the server's limits.

    ApiError for what is no base64, no medium of that kind, or beyond the limits.
    """
    kinds = {option.name: option.media for option in options_of(served.recipe) if option.media}
    found: dict[str, Any] = {}
    for name, value in request.options.items():
        if name in kinds and value is not None and not isinstance(value, Media):
            found[name] = await _medium(f"options.{name}", value, kinds[name], server)
    return replace(request, options={**request.options, **found}) if found else request


async def _medium(member: str, value: object, kind: str, server: Server) -> Media:
    if not isinstance(value, str):
        text = f"{member}: send the file as base64"
        raise ApiError(400, text, param=member, code="invalid_value")
    upload = await asyncio.to_thread(inline_upload, member, value, server.limits)
    try:
        return await medium_of_kind(upload, Part(kind), server)
    except MultigenError as error:
        raise ApiError(400, f"{member}: {error}", param=member, code="invalid_media") from None
