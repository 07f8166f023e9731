"""Members of every request that say how it is sampled, and the `Request` that they make."""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field
from torch import Tensor

from multigen import registry
from multigen.generation.request import EditRequest, Request, Size
from multigen.serving.api.errors import NAME, ApiError, unknown
from multigen.serving.api.members import Members
from multigen.serving.api.state import Limits, Server
from multigen.serving.engine.models import Served

LARGEST = 1_000_000  # of a number that goes into the arithmetic of a sampler or guide
_SIZE = re.compile(r"([0-9]{1,5})x([0-9]{1,5})")


class Lora(Members):
    """A LoRA of the server's folder, and how strongly it counts."""

    name: str
    weight: float = Field(default=1.0, ge=-4, le=4)


class Sampling(Members):
    """How media are made. What is left out comes from the model's recipe, the seed by chance."""

    model: str | None = Field(default=None, description="id of a served model; null: the first that fits")
    seed: int | None = Field(
        default=None,
        ge=0,
        lt=2**53,
        description="of the first medium; medium k has seed + k; null: by chance",
    )
    steps: int | None = Field(default=None, ge=1, description="of the sampler")
    guidance_scale: float | None = Field(
        default=None, ge=-LARGEST, le=LARGEST, description="1 turns guidance off"
    )
    negative_prompt: str | None = Field(default=None, description="what guidance leads away from")
    sampler: str | dict[str, Any] | None = Field(default=None, description="a name, or {name, arguments}")
    guide: str | dict[str, Any] | None = Field(default=None, description="a name, or {name, arguments}")
    cache: str | dict[str, Any] | None = Field(
        default=None, description="what is reused from step to step: off, auto, a name, or {name, arguments}"
    )
    sliding_window: bool = Field(
        default=False, description="what is larger than the model's size, in windows"
    )
    tile: bool | Literal["x", "y", "xy", "globe"] = Field(
        default=False,
        description="sides of a picture that meet without a seam; true: all of them, or a sound's ends",
    )
    loop: bool = Field(default=False, description="the end of a sound or video meets its beginning")
    loras: list[Lora] = Field(default_factory=list, max_length=8, description="LoRAs of the server's folder")
    fast: bool = Field(default=False, description="with the model's student, in few calls of its network")
    options: dict[str, Any] = Field(
        default_factory=dict, description="what the model declares, such as lufs; a medium as base64"
    )
    priority: int = Field(default=0, ge=0, le=9, description="higher ones begin first")
    deadline: float | None = Field(default=None, gt=0, description="s after which the request is dropped")


def request_of(
    given: Sampling,
    prompt: str,
    limits: Limits,
    *,
    size: Size | None = None,
    duration: float | None = None,
    edit: EditRequest | None = None,
    overrides: tuple[str, ...] = (),
    images: Sequence[Tensor | None] = (),
    unit: str = "s",
) -> Request:
    """The request of some members. `images`: for adapters; `unit`: of the duration. ApiError over a limit."""
    for name, text in (("prompt", prompt), ("negative_prompt", given.negative_prompt or "")):
        if len(text) > limits.prompt:
            said = f"{name}: {len(text):,} characters; allowed: {limits.prompt:,}"
            raise ApiError(400, said, param=name, code="too_long")
    if given.steps is not None and given.steps > limits.steps:
        raise ApiError(
            400, f"steps: {given.steps}; allowed: 1 to {limits.steps}", param="steps", code="invalid_value"
        )
    if duration is not None and not 0 < duration <= limits.seconds:
        text = f"duration: {duration:g} {unit} is not allowed; give over 0 to {limits.seconds:g}"
        raise ApiError(400, text, param="duration", code="invalid_value")
    if size is not None and math.prod((size, size) if isinstance(size, int) else size) > limits.pixels:
        text = f"size: more than {limits.pixels:,} pixels is not allowed"
        raise ApiError(400, text, param="size", code="invalid_value")
    for name, part in (("sampler", given.sampler), ("guide", given.guide), ("cache", given.cache)):
        check_part(name, part)
    if isinstance(given.sampler, dict):
        check_repeats(given.sampler, limits)
    return Request(
        prompt=prompt,
        negative_prompt=given.negative_prompt,
        seed=secrets.randbelow(2**31) if given.seed is None else given.seed,
        steps=given.steps,
        guidance_scale=given.guidance_scale,
        size=size,
        duration=duration,
        sliding_window=given.sliding_window,
        tile=given.tile or None,
        loop=given.loop,
        sampler=given.sampler,
        guide=given.guide,
        cache=given.cache,
        overrides=overrides,
        options=given.options,
        edit=edit,
        images=tuple(images),
    )


def loras_of(given: Sampling, server: Server) -> list[tuple[str, float]]:
    """Names and weights of the LoRAs. ApiError for one that the server does not have."""
    for lora in given.loras:
        if lora.name not in server.models.loras:
            raise unknown(lora.name, server.models.loras, "LoRA")
    return [(lora.name, lora.weight) for lora in given.loras]


def size_of(text: str | None, served: Served) -> Size | None:
    """WIDTHxHEIGHT or "auto" as (height, width); None: the model's own. ApiError for anything else."""
    if text is None or text == "auto":
        return None
    found = _SIZE.fullmatch(text)
    width, height = (int(side) for side in found.groups()) if found else (0, 0)
    if not (0 < width <= 16384 and 0 < height <= 16384):
        said = f"size: {text[:40]!r} is not allowed; give WIDTHxHEIGHT or auto"
        raise ApiError(400, said, param="size", code="invalid_value")
    return height, width


def check_repeats(arguments: Mapping[str, Any], limits: Limits) -> None:
    """ApiError for a sampler that does something more often than a request may take steps.

    The whole numbers among its arguments say how often, and one within the other: they are multiplied.
    """
    counts = {
        argument.name
        for name in registry.names("sampler")
        for argument in registry.arguments("sampler", name)
        if type(argument.default) is int
    }
    given = {key: value for key, value in arguments.items() if key in counts and value is not None}
    if math.prod(max(abs(value), 1) for value in given.values()) > limits.steps:
        said = " x ".join(f"sampler.{key}={value}" for key, value in given.items())
        text = f"{said} is not allowed; allowed: up to {limits.steps} in all"
        raise ApiError(400, text, param="sampler", code="invalid_value")


def check_part(name: str, part: str | dict[str, Any] | None) -> None:
    """Only plain arguments: no weights of this machine and no other part may come in from a client."""
    for key, value in ({"name": part} if isinstance(part, str) else part or {}).items():
        if key == "name":
            if not (isinstance(value, str) and len(value) <= NAME and value.replace("_", "").isalnum()):
                raise ApiError(
                    400, f"{name}: give a name, or {{name, arguments}}", param=name, code="invalid_value"
                )
        elif value is not None and not (isinstance(value, int | float) and abs(value) <= LARGEST):
            text = f"{name}.{key}: a client may give numbers alone, up to {LARGEST:,}"
            raise ApiError(400, text, param=f"{name}.{key}", code="invalid_value")
