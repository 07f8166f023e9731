"""The driver: merged requests equal the same requests alone, with few network calls, whoever comes and goes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from multigen.core import (
    Call,
    Cond,
    Denoiser,
    Driver,
    Guide,
    Noise,
    Progress,
    Query,
    Sampling,
    cfg,
    drive,
    fill,
    plain,
    predictions,
    samplers,
    schedules,
    solve,
    timesteps,
)
from multigen.core.guides import Answers
from multigen.core.noise import normal
from tests.core.gaussians import Analytic
from tests.core.networks import Tiny

SHAPE = (2, 6, 5)
# Batch sizes change the order of fp32 sums in real networks; measured 1.2e-7 here, 1e-5 is the promise.
CLOSE = {"atol": 1e-5, "rtol": 0.0}


def denoiser() -> Denoiser:
    return Denoiser(Tiny(), schedules.flow(), predictions.flow())


def calls(den: Denoiser) -> list[int]:
    assert isinstance(den.backbone, Tiny)
    return den.backbone.batches


def condition(n: int, seed: int, length: int = 3) -> Cond:
    mask = torch.ones(n, length, dtype=torch.bool)
    mask[:, -1] = seed % 2 == 0 or length == 1
    return Cond(normal((n, 4), seed, "vector"), normal((n, length, 3), seed, "tokens"), mask)


def trajectory(n: int, seed: int, sampler: str, steps: int, **options: float) -> samplers.Trajectory:
    noise = Noise(range(seed, seed + n), SHAPE)
    schedule = schedules.flow()
    ts = timesteps.uniform(schedule, steps)
    return getattr(samplers, sampler)(schedule, noise("start"), ts, noise, **options)


def guides(n: int, seed: int) -> dict[str, Guide]:
    cond, null = condition(n, seed, 2 + seed % 4), condition(1, 99, 1)
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    mask[:, :2] = True
    known = normal(SHAPE, seed, "known")
    return {
        "plain": plain(cond, null),
        "cfg": cfg(cond, null, scale=2.5),
        "fill": fill(cfg(cond, null, scale=1.7), known, mask),
    }


# (batch, seed, sampler, steps, guide): every pair differs in something
ASKED = [
    (n, 10 * i, sampler, 4 + i, guide)
    for i, (n, sampler, guide) in enumerate(
        [
            (1, "ddim", "plain"),
            (3, "heun", "cfg"),
            (2, "dpmpp_2m", "fill"),
            (1, "ddpm", "cfg"),
            (4, "euler", "fill"),
            (2, "euler_ancestral", "plain"),
            (1, "heun", "fill"),
            (2, "dpmpp_2m", "cfg"),
            (1, "ddim", "cfg"),
            (3, "ddpm", "plain"),
            (1, "euler", "cfg"),
            (2, "heun", "plain"),
        ]
    )
]


def request(den: Denoiser, n: int, seed: int, sampler: str, steps: int, guide: str) -> Sampling:
    return Sampling(trajectory(n, seed, sampler, steps), guides(n, seed)[guide], den)


def alone(n: int, seed: int, sampler: str, steps: int, guide: str) -> tuple[Tensor, int]:
    den = denoiser()
    one = solve(trajectory(n, seed, sampler, steps), guides(n, seed)[guide], den)
    return one, len(calls(den))


def test_merged_requests_equal_the_same_requests_alone_with_far_fewer_calls() -> None:
    den = denoiser()
    requests = [request(den, *asked) for asked in ASKED]
    last: dict[int, Progress] = {}
    for progress in drive(requests, max_batch=1000):
        last[id(progress.sampling)] = progress
    separate = 0
    for asked, merged in zip(ASKED, requests, strict=True):
        expected, count = alone(*asked)
        assert merged.sample is not None
        torch.testing.assert_close(merged.sample, expected, **CLOSE)
        assert last[id(merged)].sample is merged.sample
        assert last[id(merged)].queries == merged.queries == count
        separate += count
    # One call a round, and as many rounds as the longest request asks queries.
    assert len(calls(den)) == max(r.queries for r in requests)
    assert len(calls(den)) * 4 < separate  # 29 instead of 141


def test_sample_k_of_a_batch_is_the_same_seed_alone() -> None:
    batch = solve(trajectory(8, 40, "ddpm", 6), plain(Cond(), Cond()), denoiser())
    one = solve(trajectory(1, 43, "ddpm", 6), plain(Cond(), Cond()), denoiser())
    torch.testing.assert_close(batch[3:4], one, **CLOSE)
    assert (batch[2:3] - one).abs().max() > 0.1


def test_the_same_request_gives_the_same_bytes_twice_and_leaves_global_randomness_alone() -> None:
    state = torch.get_rng_state()
    first, second = alone(*ASKED[3])[0], alone(*ASKED[3])[0]
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("max_batch", [1, 3, 5, 64])
def test_max_batch_bounds_every_network_call(max_batch: int) -> None:
    den = denoiser()
    driver = Driver(max_batch=max_batch)
    requests = [driver.add(request(den, *asked)) for asked in ASKED[:6]]
    while driver.samplings:
        driver.round()
    assert max(calls(den)) <= max_batch
    assert driver.calls == len(calls(den))
    assert driver.samples == sum(calls(den))
    for asked, merged in zip(ASKED, requests, strict=False):
        assert merged.sample is not None
        torch.testing.assert_close(merged.sample, alone(*asked)[0], **CLOSE)


def test_cfg_is_one_network_call_a_query_and_scale_one_half_its_batch() -> None:
    for scale, batch in ((3.0, 6), (1.0, 3)):
        den = denoiser()
        guide = cfg(condition(3, 1), condition(1, 2, 1), scale=scale)
        solve(trajectory(3, 0, "ddim", 5), guide, den)
        assert calls(den) == [batch] * 5


def test_cfg_is_its_formula() -> None:
    cond, null = condition(3, 1), condition(3, 2)
    x, t = normal((3, *SHAPE), 0, "x"), torch.tensor(0.4, dtype=torch.float64)
    den = denoiser()
    one = {scale: ask(cfg(cond, null, scale=scale), x, t, den) for scale in (0.0, 1.0, 4.0)}
    conditional, unconditional = den(x, t.expand(3), cond), den(x, t.expand(3), null)
    torch.testing.assert_close(one[0.0], unconditional, **CLOSE)
    torch.testing.assert_close(one[1.0], conditional, **CLOSE)
    torch.testing.assert_close(one[4.0], unconditional + 4 * (conditional - unconditional), **CLOSE)


def ask(guide: Guide, x: Tensor, t: Tensor, den: nn.Module) -> Tensor:
    """The x0 that a guide gives for one query."""

    def once() -> samplers.Trajectory:
        return (yield Query(x, t))

    return solve(once(), guide, den)  # type: ignore[arg-type]


def test_fill_keeps_the_known_region_exactly() -> None:
    known, mask = normal(SHAPE, 5, "known"), torch.zeros(SHAPE, dtype=torch.bool)
    mask[..., 3:] = True
    for sampler in ("ddim", "ddpm", "heun", "dpmpp_2m"):
        sample = solve(trajectory(2, 0, sampler, 5), fill(plain(Cond(), Cond()), known, mask), denoiser())
        assert torch.equal(sample[:, mask], known[mask].expand(2, -1))
        free = solve(trajectory(2, 0, sampler, 5), plain(Cond(), Cond()), denoiser())
        assert (sample - free)[:, ~mask].abs().max() > 1e-3  # the rest heeds what is known


def test_padding_tokens_changes_nothing() -> None:
    short, long = condition(2, 4, 2), condition(2, 6, 7)
    den = denoiser()
    both = [Sampling(trajectory(2, 0, "ddim", 4), plain(c, c), den) for c in (short, long)]
    list(drive(both))
    assert len(calls(den)) == 4
    for one, cond in zip(both, (short, long), strict=True):
        assert one.sample is not None
        expected = solve(trajectory(2, 0, "ddim", 4), plain(cond, cond), denoiser())
        torch.testing.assert_close(one.sample, expected, **CLOSE)


def test_what_cannot_share_a_call_is_grouped_and_not_an_error() -> None:
    den, other = denoiser(), denoiser()
    nothing, vector = Cond(), Cond(normal((1, 4), 0, "v"))
    grid = Cond(grid=normal((1, 2, 6, 5), 0, "g"))
    requests = [
        Sampling(trajectory(1, 0, "ddim", 3), plain(nothing, nothing), den),
        Sampling(
            trajectory(1, 0, "ddim", 3), cfg(vector, nothing, scale=2.0), den
        ),  # its two calls differ in structure
        Sampling(trajectory(1, 0, "ddim", 3), plain(grid, grid), den),
        Sampling(trajectory(1, 0, "ddim", 3), plain(nothing, nothing), other),
    ]
    list(drive(requests))
    assert sorted(calls(den)) == [1] * 6 + [2] * 3
    assert calls(other) == [1] * 3
    assert requests[0].sample is not None
    assert requests[3].sample is not None
    torch.testing.assert_close(requests[0].sample, requests[3].sample, **CLOSE)


@pytest.mark.parametrize("when", [0, 1, 4])
def test_joining_and_leaving_at_any_round(when: int) -> None:
    den = denoiser()
    driver = Driver()
    stays = driver.add(request(den, *ASKED[1]))
    leaves = driver.add(request(den, *ASKED[2]))
    for _ in range(when):
        driver.round()
    driver.cancel(leaves)
    driver.cancel(leaves)  # a second time: nothing happens
    joins = driver.add(request(den, *ASKED[4]))
    before = len(calls(den))
    while driver.samplings:
        assert all(progress.sampling is not leaves for progress in driver.round())
    assert not leaves.finished
    assert leaves.queries == when
    for one, asked in ((stays, ASKED[1]), (joins, ASKED[4])):
        assert one.sample is not None
        torch.testing.assert_close(one.sample, alone(*asked)[0], **CLOSE)
    assert max(calls(den)[before:]) == 6 + 8  # theirs alone: 3 and 4 samples, each with and without


def test_cancel_runs_the_clean_up_of_both_coroutines() -> None:
    ended = []

    def guide(q: Query) -> Answers:
        try:
            (x0,) = yield [Call(q.x, q.t, Cond())]
            return x0
        finally:
            ended.append("guide")

    def sampler() -> samplers.Trajectory:
        try:
            return (yield Query(torch.zeros(1, 3), torch.tensor(0.5)))
        finally:
            ended.append("sampler")

    driver = Driver()
    driver.cancel(driver.add(Sampling(sampler(), guide, denoiser())))
    assert ended == ["guide", "sampler"]


def test_guides_may_call_several_times_or_not_at_all() -> None:
    """A cache answers every second query on its own; a two-stage guide asks twice for one."""

    def cached() -> Guide:
        kept: list[Tensor] = []

        def guide(q: Query) -> Answers:
            if kept:
                return kept.pop()
            (x0,) = yield [Call(q.x, q.t, Cond())]
            (again,) = yield [Call(x0, q.t, Cond())]
            kept.append(again)
            return again

        return guide

    den = denoiser()
    seen: list[Progress] = []
    solve(trajectory(2, 0, "ddim", 6), cached(), den, on_progress=seen.append)
    assert calls(den) == [2] * 6  # twice for three queries, none for the other three
    assert [p.queries for p in seen] == [1, 2, 3, 4, 5, 6]
    torch.testing.assert_close(seen[0].x0, seen[1].x0, atol=0, rtol=0)
    never = denoiser()

    def guide(q: Query) -> Answers:
        return torch.ones_like(q.x)
        yield []

    assert torch.equal(solve(trajectory(2, 0, "heun", 3), guide, never), torch.ones(2, *SHAPE))
    assert calls(never) == []


def test_a_call_may_name_another_denoiser() -> None:
    """Autoguidance: a weaker network beside the request's own."""
    weak, strong = denoiser(), denoiser()

    def guide(q: Query) -> Answers:
        good, bad = yield [Call(q.x, q.t, Cond()), Call(q.x, q.t, Cond(), denoiser=weak)]
        return bad + 2 * (good - bad)

    sample = solve(trajectory(2, 0, "ddim", 3), guide, strong)
    assert calls(weak) == calls(strong) == [2] * 3
    torch.testing.assert_close(
        sample, solve(trajectory(2, 0, "ddim", 3), plain(Cond(), Cond()), strong), **CLOSE
    )


def test_merged_grad_calls_are_differentiable_and_others_build_no_graph() -> None:
    den = denoiser()
    target = normal(SHAPE, 9, "target")
    graphs = []

    def guide(q: Query) -> Answers:
        x = q.x.detach().requires_grad_()
        (x0,) = yield [Call(x, q.t, Cond(), grad=True)]
        with torch.enable_grad():
            loss = (x0 - target).square().sum()
        (slope,) = torch.autograd.grad(loss, x, retain_graph=True)
        return (x0 - 0.1 * slope).detach()

    def observed(q: Query) -> Answers:
        (x0,) = yield [Call(q.x, q.t, Cond())]
        graphs.append(x0.requires_grad)
        return x0

    with torch.no_grad():  # whatever the caller has set
        requests = [
            Sampling(trajectory(n, n, "ddim", 3), g, den) for n, g in ((1, guide), (2, guide), (1, observed))
        ]
        list(drive(requests))
    assert sorted(calls(den)) == [1] * 3 + [3] * 3
    assert graphs == [False] * 3
    for n, one in ((1, requests[0]), (2, requests[1])):
        assert one.sample is not None
        assert not one.sample.requires_grad
        torch.testing.assert_close(one.sample, solve(trajectory(n, n, "ddim", 3), guide, denoiser()), **CLOSE)


@pytest.mark.parametrize(("max_batch", "sizes"), [(64, [5]), (2, [2, 2, 1])])
def test_per_sample_times_reach_the_network(max_batch: int, sizes: list[int]) -> None:
    seen: list[Tensor] = []

    class Spy(Analytic):
        def forward(self, x: Tensor, t: Tensor, cond: Cond) -> Tensor:
            seen.append(t)
            return x

    def once(t: Tensor) -> Callable[[Query], Answers]:
        def guide(q: Query) -> Answers:
            (x0,) = yield [Call(q.x, t, Cond())]
            return x0

        return guide

    spy = Spy()
    requests = [
        Sampling(trajectory(2, 0, "ddim", 1), plain(Cond(), Cond()), spy),  # type: ignore[arg-type]
        Sampling(trajectory(3, 0, "ddim", 1), once(torch.tensor([0.1, 0.2, 0.3])), spy),  # type: ignore[arg-type]
    ]
    list(drive(requests, max_batch=max_batch))
    assert [len(t) for t in seen] == sizes
    t = torch.cat(seen)
    assert t.dtype == torch.float64
    torch.testing.assert_close(t, torch.tensor([1, 1, 0.1, 0.2, 0.3], dtype=torch.float64), atol=1e-7, rtol=0)


def test_on_progress_gets_every_query_and_the_sample() -> None:
    seen: list[Progress] = []
    sample = solve(trajectory(1, 0, "heun", 4), plain(Cond(), Cond()), denoiser(), on_progress=seen.append)
    assert [p.queries for p in seen] == list(range(1, 9 - 1))
    assert all(p.sample is None for p in seen[:-1])
    assert seen[-1].sample is sample
    assert seen[0].query.t == 1


def test_mistakes_are_refused() -> None:
    with pytest.raises(ValueError, match="max_batch must be at least 1"):
        Driver(max_batch=0)
    with pytest.raises(ValueError, match="batch size 2 cannot serve 3 samples"):
        solve(trajectory(3, 0, "ddim", 2), plain(condition(2, 0), condition(1, 0)), denoiser())


@pytest.mark.parametrize("asked", [False, True])
def test_solving_builds_no_graph_but_for_calls_that_ask(asked: bool) -> None:
    """With gradients on, as they are in a user's code: the whole walk is under no_grad, a call only where it asks."""
    model, modes = denoiser(), []
    start = normal((2, *SHAPE), 0, "start").requires_grad_(True)

    def sampler() -> samplers.Trajectory:
        modes.append(torch.is_grad_enabled())
        x0 = yield Query(start, torch.tensor(0.5, dtype=torch.float64))
        modes.append(torch.is_grad_enabled())
        return start + x0

    def guide(q: Query) -> Answers:
        (x0,) = yield [Call(q.x, q.t, Cond(), grad=asked)]
        modes.append(x0.requires_grad)
        return x0.detach()

    assert torch.is_grad_enabled()
    sample = solve(sampler(), guide, model)
    assert modes == [False, asked, False]
    assert not sample.requires_grad
    assert torch.is_grad_enabled()


# --- what a sampler of one's own may get wrong ------------------------------------------------------------------


def _returns(schedule, x, ts, noise):
    return x


def _yields_a_pair(schedule, x, ts, noise):
    yield x, ts[0]
    return x


def _returns_nothing(schedule, x, ts, noise):
    yield Query(x, ts[0])


def _returns_a_part(schedule, x, ts, noise):
    x0 = yield Query(x, ts[0])
    return x0[:1]


@pytest.mark.parametrize(
    ("sampler", "kind", "said"),
    [
        (_returns, TypeError, "a sampler is a generator function.*this one gave Tensor"),
        (_yields_a_pair, TypeError, r"a sampler yields Query\(x, t\), not tuple"),
        (_returns_nothing, TypeError, r"a sampler returns the sample \[B, C, \*D\], not NoneType"),
        (_returns_a_part, ValueError, r"shape \(1, 2, 6, 5\); it asked about \(3, 2, 6, 5\)"),
    ],
)
def test_a_sampler_that_breaks_the_contract_is_told_which(sampler, kind, said):
    x = normal((3, *SHAPE), 0, "start")
    with pytest.raises(kind, match=said):
        solve(sampler(schedules.flow(), x, torch.tensor([1.0, 0.0]), None), plain(Cond(), Cond()), denoiser())


# --- what fails, fails alone --------------------------------------------------------------------------------------


class Failing(Tiny):
    """Refuses calls that hold a sample of `bad`, or more samples than `room`."""

    def __init__(self, bad: Tensor | None = None, room: int = 10**9) -> None:
        super().__init__()
        self.bad, self.room, self.refused = bad, room, list[int]()

    def forward(self, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        if len(x) > self.room:
            self.refused.append(len(x))
            raise torch.OutOfMemoryError(f"no room for {len(x)}")
        if self.bad is not None and cond.vector is not None and (cond.vector == self.bad).all(1).any():
            self.refused.append(len(x))
            raise ArithmeticError("this condition")
        return super().forward(x, c_noise, cond)


def failing(bad: Tensor | None = None, room: int = 10**9) -> tuple[Denoiser, Failing]:
    backbone = Failing(bad, room)
    return Denoiser(backbone, schedules.flow(), predictions.flow()), backbone


def equal_alone(asked: list[tuple[int, int, str, int, str]], merged: list[Sampling]) -> None:
    for one, sampling in zip(asked, merged, strict=True):
        assert sampling.sample is not None and sampling.error is None
        torch.testing.assert_close(sampling.sample, alone(*one)[0], **CLOSE)


@pytest.mark.parametrize("place", [0, 2, 5])
def test_a_sample_that_the_network_refuses_fails_alone(place: int) -> None:
    asked = ASKED[:6]
    n, seed, *_ = asked[place]
    den, _ = failing(bad=condition(n, seed, 2 + seed % 4).vector[-1])  # type: ignore[index]
    driver = Driver()
    requests = [driver.add(request(den, *one)) for one in asked]
    while driver.samplings:
        driver.round()
    guilty = requests.pop(place)
    assert isinstance(guilty.error, ArithmeticError) and guilty.queries == 0 and not guilty.finished
    equal_alone([one for k, one in enumerate(asked) if k != place], requests)


@pytest.mark.parametrize("when", [0, 2])
@pytest.mark.parametrize("who", ["guide", "sampler"])
def test_a_guide_or_a_sampler_that_raises_fails_alone(who: str, when: int) -> None:
    den, queries = denoiser(), [0]

    def guide(q: Query) -> Answers:
        (x0,) = yield [Call(q.x, q.t, Cond())]
        queries[0] += 1
        if who == "guide" and queries[0] > when:
            raise ArithmeticError(who)
        return x0

    def sampler() -> samplers.Trajectory:
        for _ in range(when + 1):
            x = yield Query(torch.zeros(1, *SHAPE), torch.tensor(0.5, dtype=torch.float64))
        if who == "sampler":
            raise ArithmeticError(who)
        return x

    driver = Driver()
    guilty = driver.add(Sampling(sampler(), guide, den))
    others = [driver.add(request(den, *one)) for one in ASKED[:3]]
    while driver.samplings:
        assert all(progress.sampling is not guilty or guilty.error is None for progress in driver.round())
    assert isinstance(guilty.error, ArithmeticError) and guilty.queries == when + (who == "sampler")
    equal_alone(ASKED[:3], others)


def test_a_call_that_memory_does_not_hold_is_made_in_smaller_ones() -> None:
    """The size that fits is remembered while anything is under way, and tried anew after that."""
    den, backbone = failing(room=5)
    driver = Driver()
    for _ in range(2):
        backbone.refused.clear()
        requests = [driver.add(request(den, *one)) for one in ASKED[:6]]
        while driver.samplings:
            driver.round()
        equal_alone(ASKED[:6], requests)
        assert 1 <= len(backbone.refused) <= 8 and max(backbone.batches) <= 5


def test_a_call_of_many_samples_is_cut_within() -> None:
    den, _ = failing(room=3)
    sample = solve(trajectory(8, 40, "ddpm", 3), plain(Cond(), Cond()), den)
    torch.testing.assert_close(
        sample, solve(trajectory(8, 40, "ddpm", 3), plain(Cond(), Cond()), denoiser()), **CLOSE
    )


def test_what_fails_with_one_sample_fails() -> None:
    den, _ = failing(room=0)
    with pytest.raises(torch.OutOfMemoryError):
        solve(trajectory(2, 0, "ddim", 3), plain(Cond(), Cond()), den)
    good = request(denoiser(), *ASKED[0])
    with pytest.raises(torch.OutOfMemoryError):  # when the others are made
        list(drive([request(den, *ASKED[1]), good]))
    assert good.finished


def test_calls_that_differ_in_what_the_backbone_says_must_be_shared_do_not_merge() -> None:
    class Counting(Tiny):
        def shared(self, cond: Cond) -> int:
            return 0 if cond.tokens is None else cond.tokens.shape[1]

    den = Denoiser(Counting(), schedules.flow(), predictions.flow())
    lengths = [3, 4, 3]
    requests = [
        Sampling(trajectory(1, k, "ddim", 1), plain(condition(1, k, n), condition(1, k, n)), den)
        for k, n in enumerate(lengths)
    ]
    list(drive(requests))
    assert calls(den) == [2, 1]
