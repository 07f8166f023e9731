"""/v1/audio/generations and /v1/audio/edits: music and sound."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from multigen.serving.api.audio_answers import SOUNDS, AudioMembers, answer, answer_windows
from multigen.serving.api.audio_windows import begin
from multigen.serving.api.editing import Editing, edit_of
from multigen.serving.api.encoding import check_signed
from multigen.serving.api.errors import ApiError
from multigen.serving.api.forms import one, read_form, schema
from multigen.serving.api.sampling import Sampling, request_of
from multigen.serving.api.state import TheCaller, TheServer
from multigen.serving.api.uploads import medium_of
from multigen.serving.api.work import submit, whose

router = APIRouter()
FILES = {"audio": "the sound to edit: WAV, FLAC, MP3, Ogg, Opus, AAC, MP4, WebM"}


class AudioGeneration(AudioMembers, Sampling):
    """A request for new sounds."""

    seconds: float | None = Field(default=None, gt=0, description="length; null: the model's own")
    window_by_window: bool | None = Field(
        default=None,
        description="a sound that is longer than the model's own goes on from window to window; null: if it is "
        "streamed and sliding_window is off",
    )


class AudioEdit(AudioMembers, Editing):
    """A request to edit a sound."""

    prompt: str = Field(default="", description="what to make")


@router.post("/v1/audio/generations", response_model=None, responses=SOUNDS)
async def generate(
    body: AudioGeneration, http: HttpRequest, server: TheServer, caller: TheCaller
) -> Response:
    """Make sounds."""
    served = server.served(body.model, "audio")
    check_signed(served, f".{body.response_format}", "response_format")
    request = request_of(body, body.prompt, server.limits, duration=body.seconds)
    user = whose(caller, body.user)
    if _by_window(body):
        windows = await begin(server, user, served, body, request)
        if windows is not None:
            return await answer_windows(http, windows, body)
    engine, ticket = await submit(server, user, served, body, request, body.n)
    return await answer(http, engine, ticket, body)


def _by_window(body: AudioGeneration) -> bool:
    """Whether a sound goes on from window to window where it is long."""
    if body.window_by_window is None:
        return body.stream and body.n == 1 and not body.sliding_window
    for name, wrong in (("n", body.n > 1), ("sliding_window", body.sliding_window)):
        if body.window_by_window and wrong:
            text = f"{name}: it does not go with window_by_window"
            raise ApiError(400, text, param=name, code="invalid_value")
    return body.window_by_window


@router.post(
    "/v1/audio/edits",
    response_model=None,
    responses=SOUNDS,
    openapi_extra=schema(AudioEdit, FILES, required=("audio",)),
)
async def edit(http: HttpRequest, server: TheServer, caller: TheCaller) -> Response:
    """Extend a sound, make a part of it anew (`keep`), or vary it (`strength`)."""
    body, uploads = await read_form(http, AudioEdit, FILES, server.limits)
    served = server.served(body.model, "audio")
    check_signed(served, f".{body.response_format}", "response_format")
    upload = one(uploads, "audio")
    if upload is None:
        raise ApiError(400, "audio: it is missing", param="audio", code="missing_member")
    sound = await medium_of(upload, served, server)
    request = request_of(body, body.prompt, server.limits, edit=edit_of(body, sound, server.limits))
    engine, ticket = await submit(server, whose(caller, body.user), served, body, request, body.n)
    return await answer(http, engine, ticket, body)
