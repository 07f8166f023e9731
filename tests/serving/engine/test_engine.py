"""The engine: users take turns, what ends early frees its places, what fails fails alone."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Coroutine
from typing import Any

import pytest
import torch

from multigen.core.conditioning import Cond
from multigen.core.sampling import Sampling
from multigen.errors import MultigenError
from multigen.generation.request import EditRequest, Request
from multigen.model.model import Model
from multigen.serving.engine import places
from multigen.serving.engine.settings import Busy, Draining
from multigen.serving.engine.ticket import Failure, Ticket
from tests.model.test_model import steady
from tests.serving.engine.engines import Calls, ask, at_call, empty, ended, engine, tiny


@pytest.fixture(scope="module")
def model() -> Model:
    """In double precision, so that whoever shares a call changes nothing."""
    return steady(tiny())


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 60))


def same(ticket: Ticket, model: Model, request: Request) -> None:
    """What a ticket made is what its request makes alone."""
    assert (ticket.state, ticket.failure) == ("done", None)
    for index, medium in ticket.media.items():
        assert request.seed is not None
        (alone,) = model.batcher(Request(**{**vars(request), "seed": request.seed + index}))
        torch.testing.assert_close(medium.tensor, alone[1].tensor, rtol=0, atol=1e-4)


# --- turns --------------------------------------------------------------------------------------------------------


def test_a_light_user_beside_a_hundred_of_a_heavy_one(model: Model) -> None:
    """The heavy user fills no call: both have as many places in it, from the first call on."""

    async def work() -> None:
        calls = Calls()
        async with engine(model, calls, max_batch=8) as one:
            planned = await one.plan(Request("3", seed=1, steps=4), 100)
            heavy = [one.submit(Ticket("digits", "heavy", [job])) for job in planned]
            while len(calls.sizes) < 3:
                await asyncio.sleep(0)
            before = len(calls.sizes)
            light = await ask(one, Request("8", seed=7, steps=5), key="light")
            await light.wait()
            during = calls.sizes[before:]
            # Its five steps, and the call that was under way; each shared with one of the heavy user's.
            assert len(during) <= 6 and set(during[-5:]) == {2}
            assert sum(ticket.over for ticket in heavy) < 20
            await heavy[-1].wait()
            assert max(calls.sizes) == 8

    run(work())


def test_two_clients_do_not_double_the_time_of_each(model: Model) -> None:
    """sglang 30634: two clients double the latency of each. Here they share the calls that one alone needs."""

    async def work() -> None:
        for users in (1, 2, 4):
            calls = Calls()
            async with engine(model, calls) as one:
                for k in range(users):
                    await ask(one, Request("3", seed=k, steps=6), key=str(k))
                await ended(one)
            assert len(calls.sizes) <= 6 + 1 and max(calls.sizes) == users

    run(work())


def test_all_of_many_concurrent_calls_answer(model: Model) -> None:
    """vllm-omni 1080: of two concurrent calls one never answers."""

    async def work() -> None:
        async with engine(model, max_batch=2) as one:
            tickets = await asyncio.gather(
                *(ask(one, Request("3", seed=k, steps=1 + k % 3), key=str(k % 3)) for k in range(24))
            )
            await asyncio.gather(*(ticket.wait() for ticket in tickets))
            assert {ticket.state for ticket in tickets} == {"done"}

    run(work())


def test_more_users_than_places_all_go_on(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """vllm-omni 1080: one never answers, as long as others ask. Here a call takes those who waited longest for one."""

    async def work() -> None:
        tickets: list[Ticket] = []
        seen: list[list[int]] = []
        with monkeypatch.context() as patch:
            at_call(model, patch, lambda number, _: seen.append([t.steps.get(0, 0) for t in tickets]))
            async with engine(model, max_batch=2) as one:
                planned = await one.plan(Request("3", seed=1, steps=6), 1)
                tickets += [one.submit(Ticket("digits", str(k), planned)) for k in range(6)]
                await ended(one)
        assert all(max(steps) - min(steps) <= 1 for steps in seen)

    run(work())


def test_higher_priorities_begin_first(model: Model) -> None:
    async def work() -> None:
        order: list[int] = []
        async with engine(model, max_batch=1) as one:
            planned = await one.plan(Request("3", seed=1, steps=2), 1)
            tickets = [one.submit(Ticket("digits", "a", planned, priority=p)) for p in (0, 0, 5, 1, 5)]
            assert [ticket.line for ticket in tickets] == [0, 1, 0, 1, 1]

            async def follow(number: int) -> None:
                await tickets[number].wait()
                order.append(number)

            await asyncio.gather(*(follow(k) for k in range(5)))
        assert order == [2, 4, 3, 0, 1]

    run(work())


def test_a_full_queue_says_when_to_come_again_and_lives(model: Model) -> None:
    """vllm 44933: overload kills the engine where 429 was due."""

    async def work() -> None:
        async with engine(model, max_batch=1, max_queue=3) as one:
            taken, refused = list[Ticket](), list[Busy]()
            for k in range(50):
                try:
                    taken.append(await ask(one, Request("3", seed=k, steps=2)))
                except Busy as busy:
                    refused.append(busy)
            assert refused and len(taken) + len(refused) == 50
            assert all(busy.seconds >= 1 and "media wait already" in str(busy) for busy in refused)
            await ended(one)
            assert {ticket.state for ticket in taken} == {"done"}
            same(
                await done(await ask(one, Request("3", seed=4, steps=2))),
                model,
                Request("3", seed=4, steps=2),
            )
            # One request that is larger than the queue is taken where nothing waits.
            assert len((await done(await ask(one, Request("3", seed=4, steps=1), 5))).media) == 5

    run(work())


async def done(ticket: Ticket) -> Ticket:
    await ticket.wait()
    return ticket


def test_what_cannot_fit_is_refused_at_once_with_what_would(model: Model) -> None:
    async def work() -> None:
        async with engine(model) as one:
            cost = one._costs.of((await one.plan(Request("3"), 1))[0])
        calls = Calls()
        async with engine(model, calls, memory=int(3.5 * cost)) as one:
            with pytest.raises(MultigenError, match=r"this request needs .* MiB.*would fit.*28 x 28"):
                await one.plan(Request("3", size=112), 1)
            tickets = [await ask(one, Request("3", seed=k, steps=3)) for k in range(8)]
            await ended(one)
            assert {ticket.state for ticket in tickets} == {"done"} and max(calls.sizes) == 3

    run(work())


# --- what ends early ----------------------------------------------------------------------------------------------


def test_a_cancelled_ticket_is_gone_at_the_next_call(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """vllm-omni 1347: work goes on after a disconnect; ComfyUI 2566, 7513: an interrupt hits the wrong job."""

    async def work() -> None:
        tickets: list[Ticket] = []

        def then(number: int, cond: Cond) -> None:
            if number == 4:
                one.cancel(tickets[1])

        with monkeypatch.context() as patch:
            sizes = at_call(model, patch, then)
            async with engine(model, max_batch=3) as one:
                planned = [await one.plan(Request("3", seed=k, steps=7), 1) for k in range(4)]
                tickets += [one.submit(Ticket("digits", "a", jobs)) for jobs in planned]
                await ended(one)
        # The fourth takes the place of the second in the very next call.
        assert sizes[:8] == [3] * 7 + [1]
        assert [ticket.state for ticket in tickets] == ["done", "cancelled", "done", "done"]
        assert tickets[1].steps == {0: 3} and not tickets[1].media
        for k in (0, 2, 3):
            same(tickets[k], model, Request("3", seed=k, steps=7))

    run(work())


def test_a_hundred_cancels_at_every_stage_leave_nothing(model: Model) -> None:
    before = {
        id(thing) for thing in gc.get_objects() if type(thing) is Sampling
    }  # other tests' failures hold some

    async def work() -> None:
        calls = Calls()
        async with engine(model, calls, max_batch=4) as one:
            for k in range(100):
                ticket = await ask(
                    one, Request("3", seed=k, steps=5), n=1 + k % 3, key=str(k % 7), previews=1
                )
                for _ in range(k % 11):
                    await asyncio.sleep(0)
                one.cancel(ticket)
                one.cancel(ticket)  # a second time: nothing happens
            await ended(one)
            await done(await ask(one, Request("3", seed=1, steps=1)))
            assert empty(one)
        assert calls.early.count("client") <= 100 and max(calls.sizes) <= 4

    run(work())
    left: list[Any] = []
    for _ in range(50):  # the worker's thread may hold its last call for a moment
        gc.collect()
        left = [t for t in gc.get_objects() if type(t) is Sampling and id(t) not in before]
        if not left:
            break
        time.sleep(0.1)
    assert not left


def test_ten_thousand_that_wait_are_cancelled(model: Model) -> None:
    """They leave by the next call, in one go, and cost the one that runs nothing."""

    async def work() -> None:
        async with engine(model, max_batch=1, max_queue=20_000) as one:
            runs = await ask(one, Request("3", seed=1, steps=3))
            planned = await one.plan(Request("3", steps=100), 1)
            waiting = one.submit(Ticket("digits", "other", planned * 10_000))
            assert one.waiting >= 10_000
            one.cancel(waiting)
            await runs.wait()
            await asyncio.sleep(0)
            assert runs.state == "done" and waiting.state == "cancelled"

    run(work())


def test_deadlines_pass_in_the_queue_and_under_way(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        tickets: list[Ticket] = []

        def then(number: int, cond: Cond) -> None:
            if number == 3:
                for late in tickets[1:]:
                    late.deadline = 0.0

        with monkeypatch.context() as patch:
            sizes = at_call(model, patch, then)
            async with engine(model, max_batch=2) as one:
                planned = await one.plan(Request("3", seed=1, steps=6), 1)
                tickets += [
                    one.submit(Ticket("digits", "a", planned, deadline=float("inf"))) for _ in range(3)
                ]
                await ended(one)
        assert sizes == [2] * 3 + [1] * 3
        assert [ticket.state for ticket in tickets] == ["done", "failed", "failed"]
        assert [t.failure.code for t in tickets if t.failure] == ["deadline"] * 2

    run(work())


def test_what_is_left_at_the_end_is_handed_back_with_the_reason(model: Model) -> None:
    async def work() -> None:
        async with engine(model, max_batch=1) as one:
            tickets = [await ask(one, Request("3", seed=k, steps=50)) for k in range(3)]
            await asyncio.sleep(0)
            await one.close("the machine is switched off")
            for ticket in tickets:
                assert ticket.failure == Failure("draining", "the machine is switched off")
            with pytest.raises(Draining, match="switched off"):
                one.submit(Ticket("digits", "a", tickets[0].jobs))
            with pytest.raises(Draining, match="switched off"):
                await one.plan(Request("3"), 1)
            one._leave(list(one._batcher.jobs))

    run(work())


# --- what fails ---------------------------------------------------------------------------------------------------


def refuse(model: Model, prompt: str, error: Exception) -> Any:
    vector = model.encode(prompt).vector
    assert vector is not None

    def then(number: int, cond: Cond) -> None:
        assert cond.vector is not None
        if (cond.vector == vector).all(1).any():
            raise error

    return then


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ArithmeticError("secret"), "server_error"),
        (torch.OutOfMemoryError("secret"), "out_of_memory"),
        (MultigenError("guide.scale: too much"), "invalid_request"),
    ],
    ids=str,
)
def test_one_that_fails_leaves_the_others_alone(
    model: Model, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str
) -> None:
    async def work() -> None:
        with monkeypatch.context() as patch:
            at_call(model, patch, refuse(model, "8", error))
            async with engine(model) as one:
                tickets = [await ask(one, Request(p, seed=k, steps=4)) for k, p in enumerate("3845")]
                await ended(one)
        failure = tickets[1].failure
        assert failure is not None and failure.code == code and "secret" not in failure.message
        for k in (0, 2, 3):
            same(tickets[k], model, Request("3845"[k], seed=k, steps=4))

    run(work())


def test_calls_that_memory_does_not_hold_become_smaller(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work() -> None:
        def then(number: int, cond: Cond) -> None:
            assert cond.vector is not None
            if len(cond.vector) > 3:
                raise torch.OutOfMemoryError("no room")

        with monkeypatch.context() as patch:
            at_call(model, patch, then)
            async with engine(model) as one:
                tickets = [await ask(one, Request("3", seed=k, steps=3)) for k in range(8)]
                await ended(one)
        for k, ticket in enumerate(tickets):
            same(ticket, model, Request("3", seed=k, steps=3))

    run(work())


def test_a_codec_that_fails_at_one_medium(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """At its end that request fails; at a preview nothing does."""
    decode = model.codec.decode

    def decoded(x: torch.Tensor, *, seed: int) -> torch.Tensor:
        if seed in (0, 8):  # previews have seed 0
            raise ArithmeticError("codec")
        return decode(x, seed=seed)

    async def work() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(model.codec, "decode", decoded)
            patch.setattr(places.log, "exception", lambda *_: None)
            async with engine(model) as one:
                tickets = [await ask(one, Request("3", seed=k, steps=4), previews=2) for k in (7, 8)]
                await ended(one)
        assert [ticket.state for ticket in tickets] == ["done", "failed"]
        assert all(event.kind != "preview" for ticket in tickets for event in ticket._events)

    run(work())


def test_a_fault_of_the_engine_itself_ends_what_is_there_and_the_next_is_served(model: Model) -> None:
    """vllm-omni 1080: of two concurrent calls one never answers, because the loop behind it has ended."""

    class Broken(Calls):
        def called(self, model: str, samples: int, seconds: float, network: float) -> None:
            super().called(model, samples, seconds, network)
            if len(self.sizes) == 2:
                raise ArithmeticError("a counter")

    async def work() -> None:
        async with engine(model, Broken(), max_batch=1) as one:
            tickets = [await ask(one, Request("3", seed=k, steps=4)) for k in range(2)]
            await ended(one)
            assert [ticket.failure and ticket.failure.code for ticket in tickets] == ["server_error"] * 2
            await done(last := await ask(one, Request("3", seed=5, steps=4)))
            same(last, model, Request("3", seed=5, steps=4))

    run(work())


# --- the same sample ----------------------------------------------------------------------------------------------


def test_a_seed_alone_and_among_twenty_that_come_and_go_at_every_step(model: Model) -> None:
    """sglang 28502: batching changes the image of a seed. Samplers, guides, sizes and edits differ, and share calls."""
    media = model.generate("5", seed=99, steps=2)[0].tensor
    keep = torch.zeros(28, 28, dtype=torch.bool)
    keep[:14] = True
    kinds: list[dict[str, Any]] = [
        {},
        {"sampler": "dpmpp_2m"},
        {"guide": {"name": "cfg", "scale": 2.0}},
        {"size": 20},
        {"edit": EditRequest(media, strength=0.6)},
        {"edit": EditRequest(media, keep=keep, feather=1)},
        {"sampler": "ddpm", "guide": {"name": "apg", "scale": 1.5}},
    ]

    async def work() -> None:
        calls = Calls()
        asked = [Request(str(k % 10), seed=k, steps=3 + k % 5, **kinds[k % 7]) for k in range(20)]
        own = Request("7", seed=1000, steps=9)
        async with engine(model, calls, max_batch=16) as one:
            first = await ask(one, own)
            tickets = []
            for k, request in enumerate(asked):
                tickets.append(await ask(one, request, key=str(k % 2)))
                if k % 4 == 3:
                    one.cancel(tickets[k - 1])
                await asyncio.sleep(0)
            await ended(one)
            same(first, model, own)
            for k, ticket in enumerate(tickets):
                if k % 4 != 2:
                    same(ticket, model, asked[k])
            assert sum(calls.sizes) > 2 * len(calls.sizes)

    run(work())


def test_n_counts_the_seeds_on_for_edits_too(model: Model) -> None:
    """vllm-omni 2082: edits ignore n. 3436: the seed is ignored."""
    media = model.generate("5", seed=99, steps=2)[0].tensor

    async def work() -> None:
        asked = Request("3", seed=10, steps=3, edit=EditRequest(media, strength=0.7))
        async with engine(model) as one:
            ticket = await done(await ask(one, asked, 3))
            assert sorted(ticket.media) == [0, 1, 2]
            same(ticket, model, asked)
            levels = [medium.tensor for medium in ticket.media.values()]
            assert (levels[0] - levels[1]).abs().max() > 0.01

    run(work())


# --- what is told -------------------------------------------------------------------------------------------------


def test_events_from_the_queue_to_the_end(model: Model) -> None:
    """The first preview comes with the first network call."""

    async def work() -> None:
        async with engine(model, max_batch=1) as one:
            first = await ask(one, Request("3", seed=1, steps=4), previews=2)
            second = await ask(one, Request("3", seed=2, steps=2))
            kinds = [(e.kind, e.data if e.kind in ("queued", "step") else None) async for e in first.events()]
            assert kinds[:3] == [("queued", 0), ("running", None), ("step", 1)]
            assert kinds.index(("preview", None)) in (3, 4)  # filters look at it beside the next call
            assert [data for kind, data in kinds if kind == "step"] == [1, 2, 3, 4]
            assert [kind for kind, _ in kinds].count("preview") == 2 and kinds[-1] == ("done", None)
            kinds = [(e.kind, e.data if e.kind == "queued" else None) async for e in second.events()]
            assert kinds[:3] == [("queued", 0), ("running", None), ("step", None)]
            assert (first.progress, second.total) == (1.0, 2)

    run(work())
