"""Models that share a machine: loaded beside the network, unloaded to make room, never while they are in use."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from multigen.errors import MultigenError
from multigen.generation.request import Request
from multigen.model.load import load
from multigen.model.model import Model
from multigen.serving.engine import models as module
from multigen.serving.engine.engine import Engine
from multigen.serving.engine.models import Models
from multigen.serving.engine.settings import Busy, Draining
from multigen.serving.engine.ticket import Ticket
from multigen.storage import lora
from tests.model.test_model import small
from tests.serving.engine.engines import TINY, Calls, ask, tiny

STEPS = 4


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny().save(tmp_path_factory.mktemp("weights") / "tiny.safetensors")


@pytest.fixture(scope="module")
def adapters(file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two LoRAs on a layer of the network."""
    weights = load(file, device="cpu").state_dict()
    name = next(
        n for n, w in weights.items() if n.startswith("backbone.") and n.endswith("weight") and w.ndim == 4
    )
    rows, columns = weights[name].shape[0], weights[name][0].numel()
    layer, folder = name.removeprefix("backbone.").removesuffix(".weight"), tmp_path_factory.mktemp("loras")
    found: dict[str, str] = {}
    for k, style in enumerate(("bold", "thin")):
        made = torch.Generator().manual_seed(k)
        down, up = torch.randn(2, columns, generator=made), torch.randn(rows, 2, generator=made)
        pair = lora.Pair(down.reshape(2, *weights[name].shape[1:]), up[..., None, None], 1.0)
        found[style] = str(
            lora.write(folder / f"{style}.safetensors", lora.Adapter({layer: pair}, {}, style))
        )
    return found


@asynccontextmanager
async def models(file: Path, names: str = "abc", **more: Any) -> AsyncIterator[Models]:
    one = Models(dict.fromkeys(names, str(file)), device="cpu", watch=Calls(), **more)
    try:
        yield one
    finally:
        await one.close("the test is over")


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 60))


def size_of(file: Path) -> int:
    return Models({"a": str(file)}).served["a"].size


def loaded(one: Models) -> list[str]:
    return sorted(engine.name for engine in one.engines)


async def made(engine: Engine, seed: int = 1, key: str = "a") -> Ticket:
    ticket = await ask(engine, Request("3", seed=seed, steps=STEPS), key=key)
    await ticket.wait()
    assert ticket.state == "done"
    return ticket


def test_the_size_is_known_before_a_weight_is_read(file: Path) -> None:
    tensors = load(file, device="cpu").state_dict().values()
    assert size_of(file) == sum(t.numel() * t.element_size() for t in tensors)


def test_the_least_recently_used_goes_and_comes_back(file: Path) -> None:
    """What it held is free at once: nothing waits for a collector that would block the loop."""

    async def work() -> None:
        async with models(file, budget=2 * size_of(file)) as one:
            assert one.fitting == ["a", "b"]
            first = await made(await one.engine("a"))
            await made(await one.engine("b"))
            await one.engine("a")
            gone = weakref.ref((await one.engine("b")).model)
            await one.engine("a")
            gc.disable()
            try:
                await made(await one.engine("c"))
                assert loaded(one) == ["a", "c"] and one.weights == 2 * size_of(file)
                await asyncio.sleep(0)
                assert gone() is None
            finally:
                gc.enable()
            await one.engine("b")
            assert loaded(one) == ["b", "c"]
            again = await made(await one.engine("a"))
            assert torch.equal(again.media[0].tensor, first.media[0].tensor)

    run(work())


def test_one_that_is_in_use_ends_its_work_before_it_makes_room(file: Path) -> None:
    """What comes for it meanwhile waits behind the other, so that neither keeps the other out for good."""

    async def work() -> None:
        async with models(file, "ab", budget=size_of(file)) as one:
            order: list[str] = []

            async def use(name: str, key: str) -> None:
                ticket = await made(await one.engine(name), key=key)
                order.append(f"{name}{key}")
                assert ticket.state == "done"

            engine = await one.engine("a")
            ticket = await ask(engine, Request("3", seed=1, steps=40))
            other = asyncio.create_task(use("b", "1"))
            while not one._leaving:
                await asyncio.sleep(0)
            late = asyncio.create_task(use("a", "2"))
            assert one.engines == [engine] and not ticket.over
            await ticket.wait()
            assert ticket.state == "done"
            await asyncio.gather(other, late)
            assert order == ["b1", "a2"] and loaded(one) == ["a"]

    run(work())


def test_who_waits_too_long_for_room_is_told_to_come_again(file: Path) -> None:
    async def work() -> None:
        async with models(file, "ab", budget=size_of(file), patience=0.0) as one:
            engine = await one.engine("a")
            ticket = await ask(engine, Request("3", seed=1, steps=60))
            with pytest.raises(Busy, match=r"b: there is no room for it while others are in use \(a\)"):
                await one.engine("b")
            assert not ticket.over and not one._leaving
            assert await one.engine("a") is engine
            await ticket.wait()
            assert ticket.state == "done"
            await made(await one.engine("b"))

    run(work())


def test_what_never_fits_is_refused_before_the_start(file: Path) -> None:
    with pytest.raises(MultigenError, match=r"a: its weights take .* GB, and the budget is .* --budget"):
        Models({"a": str(file)}, budget=size_of(file) - 1)


def held_loading() -> tuple[threading.Event, Callable[[str, str | None, Any, bool, bool], Model]]:
    """How models are loaded, but not before the event."""
    read = threading.Event()

    def slow(source: str, device: str | None, loras: Any, fast: bool, filtered: bool) -> Model:
        assert read.wait(60)
        return load(source, device=device)

    return read, slow


def test_networks_go_on_while_another_model_is_loaded(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, slow = held_loading()

    async def work() -> None:
        async with models(file) as one:
            engine = await one.engine("a")
            with monkeypatch.context() as patch:
                patch.setattr(module, "_loaded", slow)
                other = asyncio.create_task(one.engine("b"))
                await asyncio.sleep(0)
                for seed in range(3):  # they are planned and made by the network's thread
                    await made(engine, seed)
                assert not other.done()
                read.set()
                await made(await other)

    run(work())


def test_the_end_may_come_while_a_model_is_loaded(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, slow = held_loading()

    async def work() -> None:
        async with models(file) as one:
            monkeypatch.setattr(module, "_loaded", slow)
            waiting = [asyncio.create_task(one.engine(name)) for name in "ab"]
            await asyncio.sleep(0)
            await one.close("enough")
            read.set()
            for task in waiting:
                with pytest.raises(Draining, match="enough"):
                    await task
            assert one.engines == []

    run(work())


def test_one_that_cannot_be_loaded_is_an_error_of_its_request_alone(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(source: str, device: str | None, loras: Any, fast: bool, filtered: bool) -> Model:
        raise MultigenError("the file has gone")

    async def work() -> None:
        async with models(file, budget=size_of(file) * 2) as one:
            engine = await one.engine("a")
            with monkeypatch.context() as patch:
                patch.setattr(module, "_loaded", broken)
                with pytest.raises(MultigenError, match="has gone"):
                    await one.engine("b")
            await made(engine)
            await made(await one.engine("b"))

    run(work())


def test_loras_of_a_request_do_not_reach_its_neighbours(file: Path, adapters: dict[str, str]) -> None:
    async def work() -> None:
        async with models(file, "a", loras=adapters) as one:
            chosen: list[list[tuple[str, float]]] = [
                [],
                [("bold", 1.0)],
                [("thin", 0.5)],
                [("bold", 1.0), ("thin", 0.5)],
            ]
            engines = [await one.engine("a", rows) for rows in chosen]
            tickets = await asyncio.gather(*(made(engine) for engine in engines * 2))
            assert len(one.engines) == 4 and await one.engine("a", [("bold", 1.0)]) is engines[1]
        found = [ticket.media[0].tensor for ticket in tickets]
        for k, rows in enumerate(chosen):
            model = load(file, device="cpu", loras={adapters[name]: weight for name, weight in rows})
            (alone,) = model.generate("3", seed=1, steps=STEPS)
            for tensor in (found[k], found[k + 4]):
                torch.testing.assert_close(tensor, alone.tensor, rtol=0, atol=1e-4)
        assert min((found[0] - other).abs().max() for other in found[1:4]) > 0.01

    run(work())


def test_copies_of_weights_take_memory_too(tmp_path: Path) -> None:
    """Sampling makes them after the model was loaded: then idle models go, when the next request comes."""
    wide = small("image_digits", [*TINY[1:], "backbone.widths=[96,96]"]).save(tmp_path / "wide.safetensors")

    async def work() -> None:
        async with models(wide, "ab", budget=int(2.5 * size_of(wide))) as one:
            await made(await one.engine("a"))
            assert one.weights > 1.5 * size_of(wide)
            await one.engine("b")
            assert loaded(one) == ["b"] and one.weights == size_of(wide)
        async with models(wide, "ab", budget=int(2.5 * size_of(wide))) as one:
            first = await one.engine("a")
            await one.engine("b")
            assert loaded(one) == ["a", "b"]
            await made(first)
            assert await one.engine("a") is first
            assert loaded(one) == ["a"]

    run(work())


def test_loras_take_memory_too(file: Path, adapters: dict[str, str]) -> None:
    """Clients choose LoRAs and their weights: as many models as they like would fill any memory."""

    async def work() -> None:
        async with models(file, "a", loras=adapters, budget=3 * size_of(file)) as one:
            for k in range(6):
                await one.engine("a", [("bold", k / 10)])
                assert one.weights <= 3 * size_of(file)
            assert 1 <= len(one.engines) <= 3
            assert one.weights > size_of(file) * len(one.engines)  # the base's numbers are kept beside

    run(work())
