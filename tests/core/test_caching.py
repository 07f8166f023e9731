"""Caches: what is reused, when it is made anew, and that it stays with its trajectory."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from multigen.core import (
    Backbone,
    Cond,
    Denoiser,
    Driver,
    Noise,
    Sampling,
    Schedule,
    cfg,
    plain,
    predictions,
    samplers,
    schedules,
    solve,
    timesteps,
)
from multigen.core.backbone import Maps, Taps
from multigen.core.caches import deep, forecast, guidance, off
from multigen.core.caching import Caching, Held, cached
from multigen.core.deep import Deep, Reuse
from multigen.core.guides import Answers, Call, Query, apg
from multigen.core.noise import normal
from multigen.core.sharing import reuse_of

SHAPE = (2, 6, 5)


class Layered(Backbone):
    """Two outer stages around inner layers that can be reused. Counts its full and shallow calls, with their sizes."""

    outermost = 2

    def __init__(self) -> None:
        super().__init__()
        self.full: list[int] = []
        self.shallow: list[int] = []

    def forward(self, x: Tensor, c_noise: Tensor, cond: Cond, deep: Deep | None = None) -> Tensor:
        shift = torch.sin(c_noise / 5).reshape(-1, *[1] * (x.ndim - 1))
        assert cond.vector is not None
        outer = torch.tanh(x.roll(1, -1) + shift)
        if deep is not None and deep.made is not None:
            self.shallow.append(len(x))
            (inner,) = deep.made
        else:
            self.full.append(len(x))
            inner = torch.tanh(x.roll(2, -1) - shift + cond.vector.sum(1).reshape(shift.shape))
            if deep is not None:
                deep.kept.update(dict.fromkeys(deep.outer, (inner,)))
        return 0.7 * outer + 0.5 * inner


def denoiser() -> Denoiser:
    return Denoiser(Layered(), schedules.flow(), predictions.flow())


def conds(seed: int) -> tuple[Cond, Cond]:
    return Cond(normal((1, 4), seed, "vector")), Cond(torch.zeros(1, 4))


def walk(seed: int, steps: int, sampler: str = "euler") -> samplers.Trajectory:
    noise, schedule = Noise([seed], SHAPE), schedules.flow()
    return getattr(samplers, sampler)(schedule, noise("start"), timesteps.uniform(schedule, steps), noise)


def sampling(den: Denoiser, caching: Caching, seed: int = 0, steps: int = 6, scale: float = 3.0) -> Sampling:
    cond, null = conds(seed)
    return Sampling(walk(seed, steps), cached(cfg(cond, null, scale=scale), cond, den, caching, Held()), den)


def driven(*samplings: Sampling, max_batch: int = 64) -> list[Tensor]:
    driver = Driver(max_batch=max_batch)
    for one in samplings:
        driver.add(one)
    while driver.samplings:
        driver.round()
    return [one.sample for one in samplings if one.sample is not None]


def counts(den: Denoiser) -> tuple[list[int], list[int]]:
    assert isinstance(den.backbone, Layered)
    return den.backbone.full, den.backbone.shallow


@pytest.mark.parametrize("caching", [off(), deep(every=1), forecast(limit=0.0), guidance(every=1)])
def test_a_cache_that_reuses_nothing_changes_no_bit(caching: Caching) -> None:
    den = denoiser()
    (plainly,), (made,) = driven(sampling(den, off())), driven(sampling(den, caching))
    assert torch.equal(plainly, made)


def test_the_inner_layers_run_at_every_third_query() -> None:
    den = denoiser()
    driven(sampling(den, deep(every=3), steps=7))
    full, shallow = counts(den)
    assert (full, shallow) == ([2] * 3, [2] * 4)  # both halves of guidance share each call


def test_reused_features_are_those_of_the_query_at_which_they_were_made() -> None:
    """By hand, for two queries: the second has the inner layers of the first."""
    den, (cond, _) = denoiser(), conds(0)
    seen: list[Tensor] = []

    def twice(xs: list[Tensor], ts: Tensor) -> samplers.Trajectory:
        for x, t in zip(xs, ts, strict=True):
            seen.append((yield Query(x, t)))
        return seen[-1]

    xs, ts = [normal((1, *SHAPE), k, "x") for k in (1, 2)], torch.tensor([0.8, 0.5], dtype=torch.float64)
    solve(twice(xs, ts), cached(plain(cond, cond), cond, den, deep(every=2), Held()), den)
    keep = Deep((1,))
    assert torch.equal(seen[0], den(xs[0], ts[:1], cond, deep=keep))
    assert torch.equal(seen[1], den(xs[1], ts[1:], cond, deep=Deep((1,), keep.kept[1])))
    assert not torch.allclose(seen[1], den(xs[1], ts[1:], cond))


def test_extrapolation_is_exact_for_features_linear_in_t() -> None:
    """The third query continues the line through the first two."""

    class Line(Layered):
        def forward(self, x: Tensor, c_noise: Tensor, cond: Cond, deep: Deep | None = None) -> Tensor:
            if deep is not None and deep.made is not None:
                return deep.made[0]
            inner = torch.zeros_like(x) + torch.sigmoid(-c_noise / 2).reshape(-1, 1, 1, 1)  # t of flow
            if deep is not None:
                deep.kept[1] = (inner,)
            return inner

    den, (cond, _) = Denoiser(Line(), schedules.flow(), predictions.x0()), conds(0)
    asked: list[tuple[float, float]] = []

    def three() -> samplers.Trajectory:
        x = torch.zeros(1, *SHAPE)
        for t in (0.9, 0.8, 0.55):
            x0 = yield Query(x, torch.tensor(t, dtype=torch.float64))
            asked.append((t, float(x0.mean())))
        return x

    rule: Callable[[], Callable[[Query, Denoiser], bool]] = lambda: lambda q, _: float(q.t) > 0.7  # noqa: E731
    solve(three(), cached(plain(cond, cond), cond, den, Caching(rule, order=1), Held()), den)
    assert [found for _, found in asked] == pytest.approx([t for t, _ in asked], abs=1e-6)


def test_forecast_refreshes_where_the_input_has_changed() -> None:
    den = denoiser()
    driven(sampling(den, forecast(limit=0.4, order=0), steps=12))
    full, shallow = counts(den)
    assert len(full) + len(shallow) == 12
    assert 1 < len(full) < 12
    driven(sampling(rare := denoiser(), forecast(limit=1e9, order=0), steps=12))
    assert counts(rare) == ([2], [2] * 11)


def test_guidance_is_asked_for_at_every_second_query_and_its_difference_kept() -> None:
    """Exact where the difference does not change; modifiers see both predictions all the same."""

    class Apart(Layered):
        def forward(self, x: Tensor, c_noise: Tensor, cond: Cond, deep: Deep | None = None) -> Tensor:
            self.full.append(len(x))
            assert cond.vector is not None
            return 0.5 * x + cond.vector.sum(1).reshape(-1, 1, 1, 1)

    den = Denoiser(Apart(), schedules.flow(), predictions.x0())
    (plainly,), (made,) = (driven(sampling(den, how)) for how in (off(), guidance(every=2)))
    torch.testing.assert_close(made, plainly, rtol=0, atol=1e-5)
    assert counts(den)[0] == [2] * 6 + [2, 1] * 3
    cond, null = conds(0)
    moving = cached(apg(cond, null, scale=3.0), cond, den, guidance(every=3), Held())
    assert solve(walk(0, 5), moving, den).isfinite().all()


@pytest.mark.parametrize("max_batch", [64, 3])
def test_each_is_the_same_in_a_mixed_batch_and_alone(max_batch: int) -> None:
    """Caches of several kinds and depths, none, and another network's; calls cut to three samples."""
    ways = [
        off(),
        deep(every=2),
        deep(every=3, outer=2),
        deep(every=2, order=1, guidance=2),
        forecast(limit=0.3),
        off(),
    ]
    den, other = denoiser(), denoiser()

    def all_of_them() -> list[Sampling]:
        return [sampling(den, how, seed, steps=5 + seed) for seed, how in enumerate(ways)] + [
            sampling(other, deep(every=2), 9)
        ]

    alone = [driven(one)[0] for one in all_of_them()]
    before = len(counts(den)[0]) + len(counts(den)[1])
    together = driven(*all_of_them(), max_batch=max_batch)
    for a, b in zip(alone, together, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)
    if max_batch == 64:
        assert len(counts(den)[0]) + len(counts(den)[1]) - before < 0.6 * before


def test_a_call_with_taps_or_gradients_shares_nothing() -> None:
    den, (cond, null) = denoiser(), conds(0)

    def differentiable(q: Query) -> Answers:
        answers = yield [Call(q.x, q.t, cond, grad=True), Call(q.x, q.t, null)]
        return answers[0].detach() + 0 * answers[1]

    guide = cached(differentiable, cond, den, deep(every=2), Held())
    assert torch.equal(solve(walk(0, 4), guide, den), solve(walk(0, 4), plain(cond, cond), den))


def test_what_is_held_is_freed_with_the_trajectory() -> None:
    den, held, (cond, null) = denoiser(), Held(), conds(0)
    one = Sampling(walk(0, 6), cached(cfg(cond, null), cond, den, deep(every=4, guidance=2), held), den)
    driver = Driver()
    driver.add(one)
    driver.round()
    driver.round()
    kept = [weakref.ref(m.at(0.5)[0]) for m in held.features.values()]
    assert len(kept) == 2
    assert held.differences
    driver.cancel(one)
    held.clear()
    gc.collect()
    assert all(ref() is None for ref in kept)


def test_rows_of_a_batch_do_not_hold_the_whole_batch() -> None:
    den, held = denoiser(), [Held(), Held()]
    driver = Driver()
    for seed, mine in enumerate(held):
        cond, null = conds(seed)
        driver.add(Sampling(walk(seed, 6), cached(cfg(cond, null), cond, den, deep(every=4), mine), den))
    driver.round()
    for mine in held:
        for made in mine.features.values():
            (rows,) = made.at(0.5)
            assert rows.untyped_storage().nbytes() == rows.nbytes


def test_wrong_numbers_are_refused() -> None:
    den, (cond, null) = denoiser(), conds(0)
    with pytest.raises(ValueError, match="outer: 3 is not allowed. Allowed: 1 to 2"):
        cached(cfg(cond, null), cond, den, deep(outer=3), Held())
    for wrong in (
        lambda: deep(every=0),
        lambda: deep(order=2),
        lambda: forecast(limit=-1),
        lambda: guidance(every=0),
    ):
        with pytest.raises(ValueError, match="cache"):
            wrong()


def schedule_of(name: str) -> Schedule:
    return getattr(schedules, name)()


@pytest.mark.parametrize("name", ["flow", "cosine", "edm"])
def test_schedules_of_every_family_can_be_forecast(name: str) -> None:
    schedule = schedule_of(name)
    prediction = predictions.edm(sigma_data=1.0) if name == "edm" else predictions.v()
    den, (cond, null), noise = Denoiser(Layered(), schedule, prediction), conds(0), Noise([0], SHAPE)
    start = noise("start") * float(schedule(torch.ones(1, dtype=torch.float64)).sigma)
    trajectory = samplers.ddim(schedule, start, timesteps.uniform(schedule, 10), noise)
    guide = cached(cfg(cond, null), cond, den, forecast(limit=0.5), Held())
    assert solve(trajectory, guide, den).isfinite().all()
    full, shallow = counts(den)
    assert full
    assert shallow


def test_a_call_that_is_made_again_gives_its_answers_and_features_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Memory runs out where the rows of the batch are copied: the batch is halved, and nothing is there twice."""
    copied, kept = Tensor.clone, [0]

    def clone(self: Tensor, *args: object, **more: object) -> Tensor:
        kept[0] += 1
        if kept[0] == 2:  # the first rows are copied already
            raise torch.OutOfMemoryError("out of memory")
        return copied(self)

    den = denoiser()
    expected = driven(*(sampling(den, deep(every=2), seed, steps=3) for seed in (0, 1)))
    again = [sampling(den, deep(every=2), seed, steps=3) for seed in (0, 1)]
    with monkeypatch.context() as patch:
        patch.setattr(Tensor, "clone", clone)
        made = driven(*again)
    assert kept[0] > 2 and [one.error for one in again] == [None, None]
    for a, b in zip(expected, made, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


@pytest.mark.parametrize("caching", [guidance(every=2), deep(every=4), deep(every=4, guidance=2)])
def test_conditions_made_at_each_query_are_told_apart_and_not_gathered(caching: Caching) -> None:
    """A freed condition's id may be the next one's: what is held keeps it, for one query more."""
    den, (cond, null), held = denoiser(), conds(0), Held()
    sizes: list[int] = []
    made: list[weakref.ref[Cond]] = []

    def fresh(q: Query) -> Answers:
        other = null.with_extra("turn", torch.ones(1, 1))
        made.append(weakref.ref(other))
        own, led = yield [Call(q.x, q.t, cond), Call(q.x, q.t, other)]
        sizes.append(max(len(held.features), len(held.differences), len(held.conds)))
        if caching.guidance > 1:  # what is known of a condition by its id is of that very condition
            assert all(key[0] == id(held.conds[key]) for key in held.differences)
        return torch.lerp(led, own, 3.0)

    made_so = solve(walk(0, 8), cached(fresh, cond, den, caching, held), den)
    gc.collect()
    assert len(made) == 8 and max(sizes) <= 3
    assert sum(ref() is not None for ref in made) <= 2
    if caching.due is None:  # each condition is new, so that guidance is asked for at every query
        assert torch.equal(made_so, solve(walk(0, 8), cfg(cond, null, scale=3.0), den))


def test_calls_for_the_learned_variance_reuse_features_and_others_with_taps_do_not() -> None:
    cond, _ = conds(0)
    reuse = Reuse(1, None, lambda features: None)
    call = Call(torch.zeros(1, *SHAPE), torch.tensor(0.5), cond, reuse=reuse)
    assert reuse_of(call._replace(taps=Taps(variance=True))) is reuse
    for other in (Taps(undone=(0,), variance=True), Taps(skipped=(0,)), Taps(maps=Maps(), variance=True)):
        assert reuse_of(call._replace(taps=other)) is None


def test_the_learned_variance_of_a_shallow_call_is_that_of_its_last_layer() -> None:
    class Learned(Layered):
        learned_variance = True

        def forward(
            self, x: Tensor, c_noise: Tensor, cond: Cond, deep: Deep | None = None, taps: Taps | None = None
        ) -> Tensor:
            answer = super().forward(x, c_noise, cond, deep)
            return torch.cat([answer, answer.cos()], 1) if taps is not None and taps.variance else answer

    den, (cond, null) = Denoiser(Learned(), schedules.flow(), predictions.flow()), conds(0)
    inner = cached(cfg(cond, null), cond, den, deep(every=3), Held())

    def guide(q: Query) -> Answers:
        own = inner(q)
        calls = next(own)
        answers = yield [call._replace(taps=Taps(variance=True)) for call in calls]
        assert all(answer.shape[1] == 2 * SHAPE[0] for answer in answers)
        try:
            own.send([answer[:, : SHAPE[0]] for answer in answers])
        except StopIteration as stop:
            return stop.value
        raise AssertionError("one round")

    made = solve(walk(0, 6), guide, den)
    assert counts(den) == ([2] * 2, [2] * 4)
    plainly = solve(walk(0, 6), cached(cfg(cond, null), cond, den, deep(every=3), Held()), den)
    assert torch.equal(made, plainly)
