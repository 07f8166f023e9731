"""Caches of requests: whatever is made, each is what it is alone; what cannot be cached says so."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

import multigen
from multigen import Request
from multigen.cli.main import main
from multigen.errors import MultigenError, RecipeError
from multigen.generation.caching import measured_with
from multigen.generation.plan import plan
from multigen.generation.request import EditRequest
from multigen.generation.trajectory import trajectory
from multigen.model.model import Model
from multigen.recipe.load import load_recipe
from multigen.recipe.manifest import read
from multigen.registry import Part

DEEP = {"name": "deep", "every": 2, "outer": 2, "guidance": 2}


@pytest.fixture(scope="module")
def model() -> Model:
    return multigen.load("image_digits", device="cpu")


def made(model: Model, *requests: Request, batch: int = 16) -> list[torch.Tensor]:
    return [medium.tensor for medium in model.stream(list(requests), batch=batch)]


def asked(cache: Any = None, prompt: str = "7", **options: Any) -> Request:
    return Request(prompt, **{"seed": 3, "steps": 4, "cache": cache} | options)


def test_each_request_has_its_own_cache_in_a_mixed_batch(model: Model) -> None:
    """Plain ones, cached ones, an edit of a part and a larger one in windows."""
    (medium,) = model.generate("3", seed=1, steps=2)
    keep = torch.zeros(28, 28, dtype=torch.bool)
    keep[:14] = True
    requests = [
        asked("off"),
        asked(DEEP),
        asked({"name": "deep", "every": 1}),
        asked({"name": "forecast", "limit": 0.3}, "4", steps=6),
        asked(DEEP, "3", edit=EditRequest(medium, keep=keep)),
        asked(DEEP, "3", edit=EditRequest(medium, strength=0.6, resample=2)),
        asked(DEEP, "5", size=(28, 44), sliding_window=True),
    ]
    alone = [made(model, request)[0] for request in requests]
    assert torch.equal(alone[0], alone[2])
    assert not torch.allclose(alone[0], alone[1], atol=1e-3)
    for a, b in zip(alone, made(model, *requests), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-4)


def test_what_a_trajectory_holds_is_freed_when_it_ends_or_is_cancelled(model: Model) -> None:
    requests = [asked(DEEP), asked(DEEP, "4", steps=8)]
    batcher = model.batcher(requests)
    guides = list(batcher.jobs.values())
    assert guides
    next(batcher)
    batcher.cancel(1)
    assert list(batcher) == []
    walk, guide = trajectory(model, guides[0])
    query = next(walk)
    calls = next(guide(query))
    assert all(call.reuse is not None and call.reuse.made is None for call in calls)
    walk.close()


def test_measured_caches_are_taken_as_they_were_measured_and_nowhere_else(
    model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    before = model.measured
    part = {"name": "deep", "every": 3, "outer": 2}
    model.measured = {"cache": {"part": part, "with": measured_with(model.recipe)}}
    try:
        assert plan(model, Request("7")).cache == Part("deep", {"every": 3, "outer": 2})
        assert plan(model, Request("7", cache="auto")).cache.name == "deep"
        for other in (
            Request("7", cache="off"),
            Request("7", steps=5),
            Request("7", sampler="ddim"),
            Request("7", guidance_scale=4.0),
            Request("7", overrides=("sample.polish.passes=2",)),
            Request("7", size=(28, 44), sliding_window=True),
        ):
            assert plan(model, other).cache.name == "off"
        newer = ({"name": "deep", "outer": 99}, {"name": "newer", "by": 3}, {"name": "deep", "evry": 3})
        for other in newer:
            caplog.clear()
            model.measured = {"cache": {"part": other, "with": measured_with(model.recipe)}}
            assert [plan(model, Request("7")).cache.name for _ in range(2)] == ["off", "off"]
            assert ["measured.json: cache" in r.getMessage() for r in caplog.records] == [True]
    finally:
        model.measured = before


def test_what_cannot_be_cached_says_so(model: Model, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(MultigenError, match="with the sampler adaptive, which chooses its steps"):
        plan(model, asked("deep", sampler="adaptive"))
    assert plan(model, asked(sampler="adaptive")).cache.name == "off"
    with pytest.raises(RecipeError, match=r"outer=9 is not allowed. Allowed: outer=1 to 3"):
        plan(model, asked({"name": "deep", "outer": 9}))
    with pytest.raises(RecipeError, match="every is 1 or more, not 0"):
        plan(model, asked({"name": "deep", "every": 0}))
    with pytest.raises(MultigenError, match="Did you mean 'deep'"):
        asked("depe").check()
    (medium,) = model.generate("3", seed=1, steps=1)
    restored = asked("deep", edit=EditRequest(medium, restore="downsample"))
    with caplog.at_level(logging.WARNING):
        assert plan(model, restored).cache.name == "off"
    assert "needs gradients" in caplog.text


def test_a_trace_of_a_cached_request_is_its_medium_without_attention(model: Model) -> None:
    request = asked(DEEP)
    trace = model.trace(request)
    assert trace.medium is not None
    torch.testing.assert_close(trace.medium.tensor, made(model, request)[0], rtol=0, atol=1e-5)
    assert trace.maps is None


def test_recipes_and_the_command_line_name_caches(tmp_path: Path) -> None:
    for text, part in (
        ("sample.cache=off", Part("off")),
        ("sample.cache={name: deep, every: 3}", Part("deep", {"every": 3})),
        ("sample.cache.name=guidance", Part("guidance")),
        ("sample.cache=null", None),
    ):
        assert load_recipe("image_digits", [text]).sample.cache == part
    again = load_recipe("image_digits", ["sample.cache=deep"])
    assert dataclasses.replace(again.sample, cache=None) == load_recipe("image_digits").sample
    with pytest.raises(RecipeError, match=r"sample\.cache\.evry"):
        load_recipe("image_digits", ["sample.cache={name: deep, evry: 3}"])
    out = tmp_path / "out"
    how = "{name: deep, every: 2}"
    line = [
        "sample",
        "image_digits",
        "--prompt",
        "7",
        "-n",
        "1",
        "--steps",
        "2",
        "--cache",
        how,
        "--out",
        str(out),
    ]
    assert main([*line, "--device", "cpu", "--quiet"]) == 0
    manifest = read(out)
    assert manifest is not None
    assert manifest["files"][0]["cache"] == {"name": "deep", "every": 2}
