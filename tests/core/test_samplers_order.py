"""Orders above 2, between the ends of a grid and from exact start-up values; the adaptive sampler; keyed noise."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from multigen.core import Cond, Noise, Sampling, Schedule, drive, plain, samplers, schedules, solve, timesteps
from tests.core.gaussians import Mixture
from tests.core.test_samplers import ENDS, SAMPLERS, SCHEDULES, fitted_order, no_noise, quantiles, run

HIGH, LOW = 2.0, 0.2  # sigma/alpha of the interval


def of_ratios(schedule: Schedule, ratios: Tensor) -> Tensor:
    return schedule.inverse(-2 * torch.log(ratios))


def answered(trajectory: samplers.Trajectory, mixture: Mixture, ts: Tensor, count: int) -> Tensor:
    """x of query `count`, all before it answered by the mixture."""
    query = next(trajectory)
    for t in ts[:count]:
        assert query.t == t
        query = trajectory.send(mixture(query.x, query.t.expand(len(query.x)), Cond()))
    return query.x


@pytest.mark.parametrize("kind", SCHEDULES)
@pytest.mark.parametrize(("order", "expected"), [(1, 2.0), (2, 3.0), (3, 3.5)])
def test_unipc_is_of_one_order_more_than_its_predictor(order: int, expected: float, kind: str) -> None:
    """Theorem 3.1 of its paper. x is read at a query inside the grid, before the order falls towards the end.

    The first three steps, of rising order, are as short as the square of the others: their errors are none to speak of.
    """
    schedule = SCHEDULES[kind]
    mixture, counts, errors = Mixture(schedule), [64, 128, 256, 512], []
    for n in counts:
        logs = torch.linspace(math.log(HIGH), math.log(LOW), n + 1, dtype=torch.float64)
        h = logs[1] - logs[0]
        begin, end = logs[0] - h * h * torch.arange(4), logs[-1] + h * torch.arange(1, 4)
        ts = of_ratios(schedule, torch.exp(torch.cat([begin, logs[1:], end])))
        x = quantiles(mixture, ts[0].item())
        found = answered(samplers.unipc(schedule, x, ts, no_noise, order=order), mixture, ts, n + 3)
        errors.append((found - mixture.flow(x, ts[0].item(), ts[n + 3].item())).abs().max().item())
    # Order 3 is still on its way from 3 to 4 where rounding takes over.
    assert fitted_order(counts, errors) == pytest.approx(expected, abs=0.5 if order == 3 else 0.1), errors


@pytest.mark.parametrize("kind", SCHEDULES)
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_ipndm_is_of_full_order_on_equal_steps(order: int, kind: str) -> None:
    """Equal in sigma/alpha (VP, VE) or t (flow), with exact slopes and an exact x where the full order begins.

    The first slopes are set by what is answered; as x is affine in the start, one secant step finds the start from
    which the steps of lower order end on the flow.
    """
    schedule = SCHEDULES[kind]
    flow = schedule.family == "flow"
    mixture, counts, errors = Mixture(schedule), [64, 128, 256, 512], []
    for n in counts:
        ends = (HIGH / (1 + HIGH), LOW / (1 + LOW)) if flow else (HIGH, LOW)
        even = torch.linspace(*ends, n + 1, dtype=torch.float64)
        even = torch.cat([even, even[-1:] * 0.9])
        ts = even if flow else of_ratios(schedule, even)
        alpha = torch.ones_like(ts) if flow else schedule(ts).alpha
        x = quantiles(mixture, ts[0].item())
        exact = [mixture.flow(x, ts[0].item(), t) for t in ts[:order].tolist()]

        def walk(
            x: Tensor, ts: Tensor = ts, exact: list[Tensor] = exact, alpha: Tensor = alpha
        ) -> list[Tensor]:
            trajectory = samplers.ipndm(schedule, x, ts, no_noise, order=order)
            xs = [next(trajectory).x]
            for i in range(len(ts) - 2):
                here = exact[i] if i < order - 1 else xs[i]
                x0 = mixture(here, ts[i].expand(len(x)), Cond())
                # Such that (x - alpha x0)/sigma, of flow (x - x0)/sigma, is that of the exact x.
                xs.append(trajectory.send(x0 + (xs[i] - here) / alpha[i]).x)
            return xs

        off, moved = walk(x)[order - 1] - exact[-1], walk(x + 1)[order - 1] - exact[-1]
        xs = walk(x - off / (moved - off))
        torch.testing.assert_close(xs[order - 1], exact[-1], atol=1e-10, rtol=0)
        errors.append((xs[-1] - mixture.flow(x, ts[0].item(), ts[n].item())).abs().max().item())
    # Order 4 is above itself here (4.1 to 4.7): the largest error of nine points changes its point.
    assert order - 0.2 < fitted_order(counts, errors) < order + (0.9 if order == 4 else 0.2), errors


# --- adaptive ---------------------------------------------------------------------------------------------------


def adapted(
    schedule: Schedule, x: Tensor, ts: Tensor, tolerance: float, budget: int = 1000
) -> tuple[Tensor, list[Tensor]]:
    """The sample of x [1, 1] and the times of its queries."""
    times: list[Tensor] = []
    trajectory = samplers.adaptive(schedule, x, ts, no_noise, tolerance=tolerance, budget=budget)
    mixture: torch.nn.Module = Mixture(schedule)
    sample = solve(
        trajectory,
        plain(Cond(), Cond()),
        mixture,  # type: ignore[arg-type]
        on_progress=lambda progress: times.append(progress.query.t),
    )
    return sample, times


@pytest.mark.parametrize("kind", SCHEDULES)
def test_adaptive_keeps_to_its_tolerance(kind: str) -> None:
    """The error of the sample falls with what is allowed for a step, and the queries rise as its cube root."""
    schedule = SCHEDULES[kind]
    mixture = Mixture(schedule)
    ts = of_ratios(schedule, torch.tensor([4.0, 0.05], dtype=torch.float64))
    x = quantiles(mixture, ts[0].item())
    exact = mixture.flow(x, *ts.tolist())
    counts = []
    for tolerance in (1e-2, 1e-3, 1e-4, 1e-5):
        samples, times = zip(*[adapted(schedule, row, ts, tolerance) for row in x.split(1)], strict=True)
        assert (torch.cat(samples) - exact).abs().max() < 5 * tolerance
        counts.append(sum(map(len, times)))
    for fewer, more in pairwise(counts):
        assert 1.3 < more / fewer < 2.6


def test_adaptive_takes_the_same_steps_on_every_schedule() -> None:
    """The trajectory in x/alpha is one and the same, and so must its steps in log-SNR be."""
    found = {}
    for kind in ("cosine", "flow", "sigmoid", "flow_shift"):
        schedule = ENDS[kind]
        sample, times = adapted(
            schedule, torch.full((1, 1), 0.7).double(), timesteps.uniform(schedule, 4), 1e-3
        )
        found[kind] = sample, schedule.log_snr(torch.stack(times)[1:])
    for sample, snr in found.values():
        torch.testing.assert_close(sample, found["flow"][0], atol=1e-9, rtol=0)
        torch.testing.assert_close(snr, found["flow"][1], atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", ENDS)
@pytest.mark.parametrize("tolerance", [1e-12, 1e-3, 1.0])
def test_adaptive_ends_within_any_budget(tolerance: float, kind: str) -> None:
    schedule = ENDS[kind]
    ts = timesteps.uniform(schedule, 1)
    x = schedule(ts[:1]).sigma[:, None] * 0.6
    for budget in (5, 6, 7, 11, 30, 64):
        sample, times = adapted(schedule, x, ts, tolerance, budget)
        assert len(times) <= budget
        assert bool(torch.isfinite(sample).all())
    # With room enough for the tolerance, the budget changes nothing.
    if tolerance == 1e-3:
        assert torch.equal(adapted(schedule, x, ts, 1e-3, 2000)[0], adapted(schedule, x, ts, 1e-3, 1000)[0])


@pytest.mark.parametrize("kind", SCHEDULES)
def test_adaptive_is_of_order_three_where_the_budget_alone_sets_its_steps(kind: str) -> None:
    schedule = SCHEDULES[kind]
    ts = of_ratios(schedule, torch.tensor([4.0, 0.1], dtype=torch.float64))
    x = quantiles(Mixture(schedule), ts[0].item())[3:4]
    exact, counts, errors = Mixture(schedule).flow(x, *ts.tolist()), [16, 32, 64, 128], []
    for n in counts:
        sample, times = adapted(schedule, x, ts, 1e-30, 3 * n)
        errors.append((sample - exact).abs().item())
        assert 3 * n - 4 <= len(times) <= 3 * n  # what is left over is spent on first tries
    assert fitted_order(counts, errors) == pytest.approx(3, abs=0.12), errors


def test_adaptive_begins_and_ends_where_the_grid_does() -> None:
    schedule = schedules.flow()
    for ends, first in (((1.0, 0.0), 1.0), ((0.4, 0.1), 0.4), ((0.001, 0.0), 0.001)):
        _, times = adapted(schedule, torch.full((1, 1), 0.2).double(), torch.tensor(ends).double(), 0.01)
        assert times[0].item() == pytest.approx(first)
        assert min(times) >= ends[1]
    # Up in noise too, as an inversion goes: there and back is where it began.
    x = torch.full((1, 1), 0.3, dtype=torch.float64)
    up = torch.tensor([0.05, 0.95], dtype=torch.float64)
    there, _ = adapted(schedule, x, up, 1e-5)
    back, _ = adapted(schedule, there, up.flip(0), 1e-5)
    torch.testing.assert_close(back, x, atol=1e-4, rtol=0)


def test_a_sampler_of_one_sample_refuses_two() -> None:
    schedule = schedules.flow()
    assert [name for name, s in SAMPLERS.items() if samplers.sampler_traits(s).one_sample] == ["adaptive"]
    with pytest.raises(ValueError, match="one sample a trajectory, not 2"):
        next(samplers.adaptive(schedule, torch.zeros(2, 1), timesteps.uniform(schedule, 2), no_noise))


# --- keyed noise ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("kind", ["flow", "linear", "edm"])
def test_a_seed_gives_the_same_sample_alone_and_in_any_batch(name: str, kind: str) -> None:
    schedule = ENDS[kind]
    mixture, ts = Mixture(schedule), timesteps.karras(schedule, 12)

    def sample(*seeds: int) -> Tensor:
        noise = Noise(seeds, (1,))
        step = lambda purpose, index: noise(purpose, index).double()  # noqa: E731
        return run(name, schedule, schedule(ts[:1]).sigma * step("start", 0), ts, mixture, step)

    together = sample(5, 6, 7, 8)
    for k, seed in enumerate((5, 6, 7, 8)):
        torch.testing.assert_close(sample(seed)[0], together[k], atol=1e-9, rtol=0)
    torch.testing.assert_close(sample(8, 6)[1], together[1], atol=1e-9, rtol=0)
    assert len({round(v, 6) for v in together.flatten().tolist()}) == 4


@pytest.mark.parametrize("name", ["ddpm", "dpmpp_2m_sde", "edm", "restart"])
def test_no_draw_is_used_twice_and_the_global_generator_not_at_all(name: str) -> None:
    schedule = schedules.flow()
    noise, asked = Noise([1], (1,)), []

    def listed(purpose: str, index: int) -> Tensor:
        asked.append((purpose, index))
        return noise(purpose, index)

    state = torch.random.get_rng_state()
    run(name, schedule, torch.ones(1, 1), timesteps.karras(schedule, 10), Mixture(schedule), listed)
    assert len(asked) >= 2
    assert len(set(asked)) == len(asked)
    assert "start" not in {purpose for purpose, _ in asked}
    assert torch.equal(torch.random.get_rng_state(), state)


def test_requests_of_one_sample_merge_their_calls() -> None:
    """Four adaptive trajectories, each with times of its own, in as many network calls as the longest asks."""
    schedule = schedules.flow()
    mixture, ts = Mixture(schedule), timesteps.uniform(schedule, 4)
    requests = [
        Sampling(
            samplers.adaptive(schedule, torch.full((1, 1), z), ts, no_noise), plain(Cond(), Cond()), mixture
        )  # type: ignore[arg-type]
        for z in (-1.5, -0.2, 0.4, 2.0)
    ]
    rounds = 0
    for progress in drive(requests):
        rounds = max(rounds, progress.queries)
    assert [r.queries for r in requests] != [rounds] * 4
    assert rounds == max(r.queries for r in requests)


# --- restart and churn ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 2, 3, 20])
def test_restart_takes_no_step_that_heun_would_blow_up(steps: int) -> None:
    """Heun's correction of a step is half of (sigma_t/sigma_s - 1) times the difference of two x0: 8 for a single step
    from pure noise to restart's low level, which inverted colours."""
    schedule = schedules.flow()
    asked: list[float] = []
    start = torch.zeros(1, 1)
    walk = samplers.restart(schedule, start, timesteps.uniform(schedule, steps), lambda *_: start)
    solve(
        walk,
        plain(Cond(), Cond()),
        Mixture(schedule),  # type: ignore[arg-type]
        on_progress=lambda p: asked.append(float(schedule(p.query.t.reshape(1)).sigma)),
    )
    falls = [a / b for a, b in pairwise(asked) if b < a]
    assert max(falls) < 6


def test_restart_goes_down_up_and_down_again() -> None:
    schedule, seen = schedules.edm(), []
    trajectory = samplers.restart(
        schedule,
        torch.full((1, 1), 80.0),
        timesteps.karras(schedule, 6),
        Noise([0], (1,)),
        low=0.1,
        high=1.0,
        steps=3,
        repeats=2,
    )
    query = next(trajectory)
    while True:
        seen.append(schedule(query.t).sigma.item())
        try:
            query = trajectory.send(torch.zeros(1, 1))
        except StopIteration:
            break
    tops = [after for before, after in pairwise(seen) if after > before * 1.5]
    assert tops == pytest.approx([1.0, 1.0])
    assert (
        sum(abs(s - 0.1) < 1e-9 for s in seen) == 4
    )  # the ends of three Heun descents, and the start of the last


@pytest.mark.parametrize("start", [0.2, 0.03])
def test_restart_leaves_alone_what_begins_below_it(start: float) -> None:
    """An edit that begins at little noise is never lifted above its own start."""
    schedule, seen = schedules.edm(), []
    ts = of_ratios(schedule, torch.tensor([start, start / 2, 0.01], dtype=torch.float64))
    mixture = Mixture(schedule)
    trajectory = samplers.restart(schedule, torch.full((1, 1), 0.5), ts, Noise([0], (1,)))
    solve(
        trajectory,
        plain(Cond(), Cond()),
        mixture,  # type: ignore[arg-type]
        on_progress=lambda p: seen.append(schedule(p.query.t).sigma.item()),
    )
    assert max(seen) == pytest.approx(start)


def test_churn_stays_within_the_schedule_and_its_bounds() -> None:
    schedule, seen = schedules.edm(), []
    ts = timesteps.karras(schedule, 10)
    sigma = schedule(ts).sigma.tolist()
    mixture = Mixture(schedule)
    trajectory = samplers.edm(
        schedule,
        torch.full((1, 1), 80.0).double(),
        ts,
        Noise([0], (1,)),
        churn=1.0,
        churn_low=0.5,
        churn_high=100.0,
    )
    solve(
        trajectory,
        plain(Cond(), Cond()),
        mixture,  # type: ignore[arg-type]
        on_progress=lambda p: seen.append(schedule(p.query.t).sigma.item()),
    )
    for i, (raised, plain_) in enumerate(zip(seen[::2], sigma[:-1], strict=True)):
        wanted = min(plain_ * 1.1, 80.0) if plain_ >= 0.5 else plain_
        assert raised == pytest.approx(wanted, rel=1e-6), i


def test_presets_are_the_general_samplers() -> None:
    schedule = schedules.cosine()
    mixture, ts = Mixture(schedule), timesteps.uniform(schedule, 9)
    x = torch.linspace(-1, 1, 5, dtype=torch.float64)[:, None]
    noise = Noise([1, 2, 3, 4, 5], (1,))

    def walk(name: str, ts: Tensor = ts, **options: float) -> Tensor:
        return run(name, schedule, x, ts, mixture, lambda p, i: noise(p, i).double(), **options)

    for a, b in (
        (walk("heun"), walk("edm", churn=0.0)),
        (walk("dpmpp_2m"), walk("dpmpp_2m_sde", eta=0.0)),
        (walk("euler"), walk("ipndm", order=1)),
        (walk("ddpm", ts[[3, 6]]), walk("dpmpp_2m_sde", ts[[3, 6]])),
    ):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)
