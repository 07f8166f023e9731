"""Sounds that are longer than a model's own, made window by window: each goes on from the end of the last.

A window begins with the end of what is there, as an edit that extends it. What has been sent is never changed: the last
bit of a window, in which it fades into the next, is sent with that.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from starlette.requests import Request as HttpRequest
from torch import Tensor

from multigen.generation.request import EditRequest, Request
from multigen.generation.sizes import prompt_extent
from multigen.modalities.audio import Audio
from multigen.modalities.audio_encoding import playable
from multigen.modalities.media import Media
from multigen.provenance.made import Made
from multigen.serving.api.encoding import check_streamed
from multigen.serving.api.option_media import with_media
from multigen.serving.api.sampling import Sampling, loras_of
from multigen.serving.api.state import Caller, Server
from multigen.serving.api.units import units_of
from multigen.serving.api.work import media_of, submit
from multigen.serving.engine.engine import Engine
from multigen.serving.engine.models import Served
from multigen.serving.engine.ticket import Ticket
from multigen.serving.guard.budgets import Budget

CONTEXT = 0.5  # of a window: the end of what is there, from which the next one goes on
FADE = 0.05  # s
_SEEDS = 2**32  # from one window to the next, so that no other sound of a request has them


@dataclass(frozen=True)
class Windows:
    """A sound that is made window by window.

    request  of all of it
    first    the ticket of the first window, in `engine`
    count    samples of all of it
    own      samples of the model's own length
    begun    time.monotonic(): the deadline is that of all of it
    """

    server: Server
    caller: Caller
    served: Served
    body: Sampling
    request: Request
    engine: Engine
    first: Ticket
    modality: Audio
    count: int
    own: int
    begun: float = field(default_factory=time.monotonic)

    @property
    def steps(self) -> int:
        """Samples by which each window is longer than the last."""
        return self.own - int(self.own * CONTEXT)

    def made(self) -> Made:
        """How it is made, for its file."""
        model = self.engine.model
        return Made(model.recipe.name, model.known_hash(), sign="off")

    async def pieces(self, http: HttpRequest | None) -> AsyncGenerator[np.ndarray, None]:
        """The sound, float32 [C, N] in pieces, each as soon as it is made. ApiError where a window fails."""
        fade = round(FADE * self.modality.rate)
        (medium,) = await media_of(http, self.engine, self.first)
        there = torch.from_numpy(playable(medium.tensor.float(), "sound"))
        sent, window = 0, 0
        while True:
            last = sent + there.shape[1] >= self.count
            ready = there.shape[1] - (0 if last else fade)
            yield there[:, :ready].numpy()
            if last:
                return
            sent, window = sent + ready, window + 1
            there = await self._next(http, there, window, self.count - sent - fade, fade)

    async def _next(
        self, http: HttpRequest | None, there: Tensor, window: int, left: int, fade: int
    ) -> Tensor:
        """What follows on a window [C, N], `left` samples at most, from its last `fade` samples on."""
        context = there[:, -int(self.own * CONTEXT) :]
        edit = EditRequest(
            Media(context, self.modality),
            extend=(0, min(self.steps, left)),
            feather=fade / self.modality.rate,
        )
        seed = (self.request.seed or 0) + window * _SEEDS
        request = replace(self.request, edit=edit, duration=None, seed=seed % 2**53)
        body, deadline = self.body, self.body.deadline
        if deadline is not None:
            rest = max(deadline - (time.monotonic() - self.begun), 0.0)
            body = body.model_copy(update={"deadline": rest})
        engine, ticket = await submit(self.server, self.caller, self.served, body, request, 1)
        (medium,) = await media_of(http, engine, ticket)
        # The window before it is remembered as far as the next one's context reaches back.
        return medium.tensor[:, context.shape[1] - fade :].float()


async def begin(
    server: Server, caller: Caller, served: Served, body: Sampling, request: Request
) -> Windows | None:
    """Accept a sound, and begin with its first window. None for one that is not longer than the model's own."""
    request = await with_media(request, served, server)
    engine = await server.models.engine(served.id, loras_of(body, server), fast=body.fast)
    modality = engine.model.modality
    assert isinstance(modality, Audio)
    own, count = modality.shape()[1], modality.shape(duration=request.duration)[1]
    # What is said in its own time is made whole: each window would say all of it.
    if count <= own or prompt_extent(engine.model, request) is not None:
        return None
    check_streamed(served)
    first = replace(request, duration=own / modality.rate)
    (job,) = await engine.plan(first, 1)
    steps = own - int(own * CONTEXT)
    units = units_of(engine.model, job) * (1 + -(-(count - own) // steps))
    caller.budget.units.take(units)
    paid = replace(caller, budget=Budget())
    engine, ticket = await submit(server, paid, served, body, first, 1)
    return Windows(server, paid, served, body, request, engine, ticket, modality, count, own)
