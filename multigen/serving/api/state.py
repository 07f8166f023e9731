"""What all routes share: models, results, settings, and who asks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from multigen.prompts.normal import LONGEST
from multigen.serving.api.background import Background
from multigen.serving.api.errors import no_model
from multigen.serving.api.readers import Readers
from multigen.serving.api.sharing import Sharing
from multigen.serving.engine.models import Models, Served
from multigen.serving.engine.store import Store
from multigen.serving.guard.budgets import Budget


@dataclass(frozen=True)
class Limits:
    """What a request may take.

    body     bytes of a request
    json     bytes of a request that is JSON: it is read whole
    upload   bytes of one file in it
    pixels   of a picture or of all frames that are uploaded: 2048 x 2048, or 16 of 512 x 512
    seconds  of a sound or clip that is uploaded
    prompt   characters
    n        media of one request
    steps    of one medium
    depth    of nested JSON
    """

    body: int = 64 << 20
    json: int = 8 << 20
    upload: int = 32 << 20
    pixels: int = 1 << 22
    seconds: float = 300.0
    prompt: int = LONGEST
    n: int = 10
    steps: int = 200
    depth: int = 16


@dataclass(frozen=True)
class Caller:
    """Who asks: the key by which users take turns and are counted, what it may do, and what it may still use.

    priority  the highest that it may ask for
    """

    key: str = "local"
    scopes: frozenset[str] = frozenset({"generate", "read"})
    budget: Budget = field(default_factory=Budget, compare=False)
    priority: int = 9


@dataclass
class Server:
    """The state of a server.

    sharing   of the store with other servers; None: this one has it for itself
    own       the models whose media it makes; others make those of the rest. None: all
    loading   whether its first models are being loaded
    draining  whether it takes nothing new
    active    requests that are being answered and may make media
    readers   of uploads
    """

    models: Models
    store: Store
    limits: Limits = field(default_factory=Limits)
    sharing: Sharing | None = None
    own: frozenset[str] | None = None
    loading: bool = False
    draining: bool = False
    active: int = 0
    readers: Readers = field(default_factory=Readers)
    background: Background = field(init=False)
    secret: bytes = field(init=False, repr=False)  # signs addresses of media

    def __post_init__(self) -> None:
        self.background = Background(self.store, self.sharing)
        self.secret = self.store.secret()

    def makes(self, name: str) -> bool:
        """Whether media of a model are this server's to make."""
        return self.own is None or name in self.own

    @property
    def ready(self) -> bool:
        """Whether requests should be sent here."""
        return not (self.loading or self.draining)

    def served(self, name: str | None, modality: str) -> Served:
        """The model that a request names, or the first that makes such media. ApiError 404 or 400."""
        able = self.models.of_modality(modality)
        if name is None and able:
            return self.models.served[able[0]]
        if name is None or name not in self.models.served:
            raise no_model(name or modality, able)
        one = self.models.served[name]
        if one.modality != modality:
            raise no_model(name, able)
        return one


def server_of(request: Request) -> Server:
    """The server of a request."""
    found: Server = request.app.state.server
    return found


def caller_of(request: Request) -> Caller:
    """Who asks; the guard has found out."""
    found: Caller = getattr(request.state, "caller", None) or Caller()
    return found


TheServer = Annotated[Server, Depends(server_of)]
TheCaller = Annotated[Caller, Depends(caller_of)]
