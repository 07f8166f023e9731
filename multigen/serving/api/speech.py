"""/v1/audio/speech, for models whose modality is speech."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from multigen.errors import MultigenError
from multigen.generation.declared import options_of
from multigen.options import Option
from multigen.serving.api.audio_answers import SOUNDS, AudioMembers, Format, answer
from multigen.serving.api.encoding import check_signed
from multigen.serving.api.errors import ApiError
from multigen.serving.api.members import Members
from multigen.serving.api.sampling import Sampling, request_of
from multigen.serving.api.state import Server, TheCaller, TheServer
from multigen.serving.api.work import submit
from multigen.serving.engine.models import Served

router = APIRouter()
VOICE = "voice"  # the option that models of speech declare


class Speech(Sampling):
    """A request for speech, as OpenAI's client sends it."""

    input: str = Field(description="what to say")
    voice: str | Voice | None = Field(default=None, description="one that the model has")
    instructions: str | None = Field(default=None, description="how to say it, where the model takes that")
    speed: float | None = Field(default=None, ge=0.25, le=4, description="where the model takes that")
    response_format: Format = "mp3"
    stream_format: Literal["sse", "audio"] | None = None


class Voice(Members):
    """A voice by its id."""

    id: str


Speech.model_rebuild()


@router.post("/v1/audio/speech", response_model=None, responses=SOUNDS)
async def speak(body: Speech, http: HttpRequest, server: TheServer, caller: TheCaller) -> Response:
    """Say something."""
    served = _served(server, body.model)
    check_signed(served, f".{body.response_format}", "response_format")
    options = {**body.options, **_options(body, served)}
    request = request_of(body.model_copy(update={"options": options}), body.input, server.limits)
    engine, ticket = await submit(server, caller, served, body, request, 1)
    stream = {"stream": True, "stream_format": body.stream_format} if body.stream_format else {}
    shape = AudioMembers(prompt="", response_format=body.response_format, **stream)
    return await answer(http, engine, ticket, shape, "speech.audio")


def _served(server: Server, name: str | None) -> Served:
    """The model of speech that is asked for. ApiError 400 names those that are served."""
    able = [name for name, one in server.models.served.items() if VOICE in declared(one)]
    if name in able:
        return server.models.served[name]
    if name is None and able:
        return server.models.served[able[0]]
    asked = "no model of speech is served" if name is None else f"{name!r} is no model of speech"
    text = f"model: {asked}. Models of speech: {', '.join(able) or 'none'}"
    raise ApiError(400, text, param="model", code="no_speech_model")


def declared(served: Served) -> dict[str, Option]:
    """What requests to a model may say beside what all may, by name."""
    return {option.name: option for option in options_of(served.recipe)}


def _options(body: Speech, served: Served) -> dict[str, Any]:
    """Voice, instructions and speed as options of the modality. ApiError for what it does not have."""
    able = declared(served)
    voice = body.voice.id if isinstance(body.voice, Voice) else body.voice
    given = {"voice": voice, "instructions": body.instructions, "speed": body.speed}
    given = {name: value for name, value in given.items() if value is not None}
    if given.get("voice") in ("default", "auto"):
        del given["voice"]
    if given.get("speed") == 1:
        del given["speed"]
    for name, value in given.items():
        if name not in able:
            hint = "; give default" if name == "voice" else ""
            text = f"{name}: {served.id} does not take it{hint}"
            raise ApiError(400, text, param=name, code="invalid_value")
        try:
            able[name].check(value)
        except MultigenError as error:
            raise ApiError(400, str(error), param=name, code="invalid_value") from error
    return given
