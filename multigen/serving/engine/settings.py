"""How an engine shares a model, and how it refuses."""

from __future__ import annotations

from dataclasses import dataclass

from multigen.errors import MultigenError


class Busy(MultigenError):
    """There is no room now: try again after `seconds`."""

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


class Draining(MultigenError):
    """The server or the engine is about to end and takes nothing new."""


@dataclass(frozen=True)
class Settings:
    """How an engine shares a model.

    max_batch  most media that share a network call
    max_queue  most media that wait; beyond it a request is refused
    memory     bytes that the samples of a call may take; None: no bound
    public     whether others than this machine's users get the media
    """

    max_batch: int = 16
    max_queue: int = 256
    memory: int | None = None
    public: bool = False
