"""Shapes of answers, for the OpenAPI document; a test compares them with what is answered."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel


class Shape(BaseModel):
    """An object that has these members and no others."""

    model_config = {"extra": "forbid"}


class Fault(Shape):
    """What is wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class Error(Shape):
    """The answer to what cannot be met."""

    error: Fault


class Usage(Shape):
    """What OpenAI's client reads of tokens; `output_tokens` counts the answered queries of the sampler."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_tokens_details: dict[str, int]


class Flagged(Shape):
    """What a filter found, and what was done."""

    filter: str
    label: str
    score: float
    action: Literal["flag", "blur"]


class PictureRow(Shape):
    """A picture."""

    seed: int
    b64_json: str | None = None
    url: str | None = None
    source: int | None = None
    safety: list[Flagged] | None = None


class Pictures(Shape):
    """Pictures that were made."""

    created: int
    data: list[PictureRow]
    output_format: Literal["png", "jpeg", "webp"]
    size: str
    background: Literal["transparent", "opaque"]
    quality: Literal["auto"]
    usage: Usage


class SoundRow(Shape):
    """A sound."""

    b64_json: str
    seed: int


class Sounds(Shape):
    """Sounds that were made."""

    created: int
    data: list[SoundRow]
    response_format: Literal["wav", "mp3", "flac", "opus", "aac", "pcm"]
    rate: int
    channels: int
    seconds: float
    usage: Usage


class Reason(Shape):
    """Why a video or job did not end well."""

    code: str
    message: str


class Video(Shape):
    """A video, under way or ended."""

    id: str
    object: Literal["video"]
    status: Literal["queued", "in_progress", "completed", "failed"]
    progress: int
    created_at: int
    completed_at: int | None
    expires_at: int | None
    model: str
    prompt: str
    size: str
    seconds: str
    seed: int
    output_format: Literal["mp4", "webm", "gif"]
    remixed_from_video_id: str | None
    error: Reason | None


class Videos(Shape):
    """Videos of the caller."""

    object: Literal["list"]
    data: list[Video]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Deleted(Shape):
    """What was forgotten."""

    id: str
    object: Literal["video.deleted", "job.deleted"]
    deleted: bool


class JobRow(Shape):
    """A medium that a job made."""

    index: int
    seed: int
    url: str
    format: str


class Steps(Shape):
    """How far a medium is."""

    index: int
    step: int
    of: int


class Job(Shape):
    """A job; `line` and `steps` while it is under way."""

    id: str
    object: Literal["job"]
    status: Literal["queued", "in_progress", "completed", "failed", "cancelled"]
    progress: float
    created_at: int
    ended_at: int | None
    model: str
    n: int
    seed: int
    request: dict[str, Any]
    data: list[JobRow]
    error: Reason | None
    line: int | None = None
    steps: list[Steps] | None = None


class Model(BaseModel):
    """A model, and what it takes."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    description: str
    modality: str
    natural: str
    shape: list[int]


class Models(Shape):
    """The models that are served."""

    object: Literal["list"]
    data: list[Model]


class Signature(Shape):
    """What the check of a signature found, by whom, and what is wrong."""

    state: Literal["trusted", "signed", "altered", "unreadable", "unsigned", "not_checked"]
    by: str
    faults: list[str]


class Watermark(Shape):
    """Whether a file carries the mark of this server's key."""

    state: Literal["found", "absent", "small", "no_key", "not_checked"]
    p_value: float | None
    payload: int | None


class Told(Shape):
    """What a file tells of how it was made. `said`: what multigen says of it, signed where the signature is intact."""

    format: str
    signature: Signature
    actions: list[dict[str, str]]
    sources: list[str]
    said: dict[str, str | int | float]
    watermark: Watermark


class Health(Shape):
    """The process answers."""

    status: Literal["ok"]


class Ready(Shape):
    """Whether requests should be sent here, and how many media wait or are under way."""

    status: Literal["ready", "loading", "draining"]
    waiting: int
    running: int
