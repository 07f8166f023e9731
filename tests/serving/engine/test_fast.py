"""A server's models sample with their students where a request asks for them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import torch

from multigen.errors import MultigenError
from multigen.generation.request import Request
from multigen.model.load import load
from multigen.recipe import students
from multigen.recipe.paths import shipped_weights
from multigen.serving.api.models import _row
from multigen.serving.api.state import Limits
from multigen.serving.engine.models import Models
from multigen.serving.engine.ticket import Ticket
from multigen.storage import lora
from tests.serving.engine.engines import Calls

HOW = {
    "sampler": {"name": "ddim"},
    "timesteps": {"name": "uniform"},
    "guide": {"name": "plain"},
    "modifiers": [],
    "sample": {"steps": 2, "polish": {"passes": 0, "noise": 0.1}},
}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A student of the shipped digits, as if it were shipped beside them."""
    weight = load("image_digits", device="cpu").state_dict()["backbone.enter.weight"]
    down = torch.randn(2, *weight.shape[1:], generator=torch.Generator().manual_seed(1))
    up = torch.ones(len(weight), 2, 1, 1)
    path = tmp_path / students.FILE
    adapter = lora.Adapter({"backbone.enter": lora.Pair(down, up, 0.1)}, {students.SAMPLING: HOW}, "here")
    lora.write(path, adapter)
    monkeypatch.setattr(students, "students", lambda: {"image_digits": path})
    monkeypatch.setattr("multigen.serving.engine.models.students", lambda: {"image_digits": path})
    return path


@pytest.mark.usefixtures("file")
def test_a_request_chooses_the_student_of_its_model() -> None:
    async def work() -> list[torch.Tensor]:
        models = Models({"digits": "image_digits", "emoji": "image_emoji"}, device="cpu", watch=Calls())
        try:
            assert (models.served["digits"].fast, models.served["emoji"].fast) == (2, None)
            assert [_row(one, Limits())["fast"] for one in models.served.values()] == [2, None]
            with pytest.raises(
                MultigenError, match="fast: emoji has no student. Models with one here: digits"
            ):
                await models.engine("emoji", fast=True)
            made = []
            for fast in (True, False):
                engine = await models.engine("digits", fast=fast)
                ticket = Ticket(
                    "digits", "me", await engine.plan(Request("3", seed=5, steps=None if fast else 2), 1)
                )
                engine.submit(ticket)
                await ticket.wait()
                made.append(ticket.media[0].tensor)
            assert len(models.engines) == 2
            return made
        finally:
            await models.close("done")

    student, teacher = asyncio.run(work())
    assert not torch.equal(student, teacher)
    torch.testing.assert_close(
        student, load("image_digits", fast=True, device="cpu").generate("3", seed=5)[0].tensor
    )
    assert shipped_weights()["image_digits"].is_file()
