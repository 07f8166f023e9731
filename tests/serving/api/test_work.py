"""From a request to its ticket: what a refusal costs."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from multigen.generation.request import Request
from multigen.serving.api.sampling import Sampling
from multigen.serving.api.state import Caller, Server
from multigen.serving.api.work import submit
from multigen.serving.engine.models import Models
from multigen.serving.engine.settings import Busy, Settings
from multigen.serving.engine.store import Store
from multigen.serving.guard.budgets import Budget
from tests.serving.servers import LIMITS


def test_a_full_queue_costs_no_units(digits: Path, tmp_path: Path) -> None:
    async def run() -> None:
        models = Models({"digits": str(digits)}, device="cpu", settings=Settings(max_batch=1, max_queue=2))
        server = Server(models, Store(tmp_path), LIMITS)
        caller = Caller("ana", budget=Budget(units=1.0))
        served, asked = models.served["digits"], Sampling()
        slow = Request("3", steps=100)
        for _ in range(2):
            engine, _ = await submit(server, Caller("bob"), served, asked, slow, 1)
        while (engine.running, engine.waiting) != (1, 1):
            await asyncio.sleep(0.001)
        with pytest.raises(Busy):  # each would fit into the queue, but not both
            await submit(server, caller, served, asked, [slow, slow], 1)
        caller.budget.units.take(0.999)
        await models.close("done")

    asyncio.run(run())
