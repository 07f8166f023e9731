"""Edits of the core, on exact denoisers: windows are seamless, inversion goes back, resampling keeps the law."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from multigen.core import Cond, Driver, Guide, Query, Sampling, plain, solve
from multigen.core import schedules as S
from multigen.core.circles import Closed, extend
from multigen.core.edits import add_noise, invert, last_steps, resample, slerp
from multigen.core.guides import Call, cfg
from multigen.core.noise import Noise
from multigen.core.samplers import ddim, ddpm, heun
from multigen.core.sliding_window import Crop, sliding_windows, windows_of
from multigen.core.timesteps import uniform
from tests.core.gaussians import Analytic, Mixture

NONE = Cond()


class Pointwise(Analytic):
    """x0 = tanh(x) (1 + t): a denoiser that sees no neighbours, so that windows can change nothing."""

    def forward(self, x: Tensor, t: Tensor, cond: Cond) -> Tensor:
        return x.tanh() * (1 + t.view(-1, *[1] * (x.ndim - 1)).to(x))


def answered(guide: Guide, x: Tensor) -> tuple[Tensor, int]:
    def sampler():
        return (yield Query(x, torch.tensor(0.5, dtype=torch.float64)))

    driver = Driver(max_batch=10_000)
    request = driver.add(Sampling(sampler(), guide, Pointwise()))  # type: ignore[arg-type]
    while driver.samplings:
        driver.round()
    assert request.sample is not None
    return request.sample, driver.calls


@pytest.mark.parametrize(
    ("shape", "size"),
    [((2, 3, 50), (16,)), ((1, 2, 20, 33), (8, 16)), ((1, 2, 9, 12, 12), (4, 12, 12)), ((1, 1, 5), (8,))],
)
@pytest.mark.parametrize("wrap", [False, True])
def test_windows_of_a_pointwise_denoiser_change_nothing(
    shape: tuple[int, ...], size: tuple[int, ...], wrap: bool
) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    for overlap in (0.0, 0.25, 0.5):
        closed = range(-len(size), 0) if wrap else ()
        made, calls = answered(sliding_windows(lambda _: plain(NONE, NONE), size, overlap, closed), x)
        torch.testing.assert_close(made, answered(plain(NONE, NONE), x)[0])
        assert calls == 1  # all windows in one network call


@pytest.mark.parametrize("shape", [(2, 3, 12, 16), (1, 2, 3, 7, 10), (1, 1, 8, 30)])
def test_windows_beyond_the_poles_of_a_globe_see_it_go_on(shape: tuple[int, ...]) -> None:
    """Rows beyond a pole are those behind it, upside down; a pointwise denoiser changes nothing."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    for high, wide in ((min(8, shape[-2]), 8), (5, 6)):
        size = (*shape[2:-2], high, wide)
        whole = extend(x, (0, 0, high, high), Closed((-1,), poles=True))
        rows = range(shape[-2] + high)
        seen = [whole.roll(-k, -1)[..., r : r + high, :wide].clone() for k in range(shape[-1]) for r in rows]
        found = windows_of(x, size, 0.5, (-1,), poles=True)
        assert all(any(torch.equal(window.crop(x), one) for one in seen) for window in found)
        made, _ = answered(sliding_windows(lambda _: plain(NONE, NONE), size, 0.5, (-1,), poles=True), x)
        torch.testing.assert_close(made, answered(plain(NONE, NONE), x)[0])


def test_windows_see_no_more_than_their_size_and_wrap_around() -> None:
    seen: list[tuple[int, ...]] = []

    class Spy(Pointwise):
        def forward(self, x: Tensor, t: Tensor, cond: Cond) -> Tensor:
            seen.append(tuple(x.shape))
            return x.mean(-1, keepdim=True).expand_as(x)

    x = torch.zeros(1, 1, 24)
    x[..., -1] = 24.0

    def one(wrap: bool) -> Tensor:
        def sampler():
            return (yield Query(x, torch.tensor(0.5, dtype=torch.float64)))

        windows = sliding_windows(lambda _: plain(NONE, NONE), (8,), 0.5, (-1,) if wrap else ())
        return solve(sampler(), windows, Spy())  # type: ignore[arg-type]

    assert one(False)[0, 0, 0] == 0
    assert one(True)[0, 0, 0] > 0  # the window across the end saw the last place
    assert {s[-1] for s in seen} == {8}


def test_each_window_has_a_guide_of_its_own() -> None:
    made: list[list[int]] = []

    def make(crop: Crop) -> Guide:
        made.append(crop(torch.arange(32)[None, None])[0, 0].tolist())
        return cfg(NONE, NONE, scale=2.0)

    guide = sliding_windows(make, (8,))
    answered(guide, torch.zeros(1, 1, 32))
    answered(guide, torch.zeros(1, 1, 32))
    # And the same ones at the next query.
    assert made == [list(range(4 * k, 4 * k + 8)) for k in range(7)]


@pytest.mark.parametrize("schedule", [S.flow(), S.cosine(), S.edm()])
def test_inversion_and_back_converge_to_the_source(schedule: S.Schedule) -> None:
    model = Mixture(schedule)
    x0 = torch.tensor([[-1.1], [-0.7], [0.5], [0.9]], dtype=torch.float64)
    errors = []
    for steps in (40, 160):
        ts = torch.linspace(0.02, 0.9, steps + 1, dtype=torch.float64)
        alpha = float(schedule(ts[:1]).alpha)
        x = solve(invert(schedule, x0 * alpha, ts), plain(NONE, NONE), model)  # type: ignore[arg-type]
        back = solve(heun(schedule, x, ts.flip(0), Noise([0], (1,))), plain(NONE, NONE), model)  # type: ignore[arg-type]
        errors.append((back - x0 * alpha).abs().max().item())
    assert errors[1] < 0.15 * errors[0]  # second order


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("sampler", [ddim, ddpm, heun])
def test_resampling_keeps_the_law_of_the_data(sampler, times: int) -> None:
    schedule = S.cosine()
    model = Mixture(schedule)
    drawn = Noise([0], (3000,))  # one stream for all samples: 3000 streams take a hundred times as long

    def noise(purpose: str, index: int) -> Tensor:
        return drawn(purpose, index).double().view(3000, 1)

    ts = uniform(schedule, 40)
    x = noise("start", 0) * float(schedule(ts[:1]).sigma)
    walk = resample(sampler, schedule, x, ts, noise, times=times)
    made = solve(walk, plain(NONE, NONE), model)  # type: ignore[arg-type]
    torch.testing.assert_close(model.share(made).double(), model.weights, atol=0.05, rtol=0)


def test_resampling_draws_new_noise_each_time() -> None:
    asked: list[tuple[str, int]] = []

    def noise(purpose: str, index: int) -> Tensor:
        asked.append((purpose, index))
        return torch.randn(2, 1, dtype=torch.float64)

    schedule = S.cosine()
    walk = resample(ddpm, schedule, torch.randn(2, 1).double(), uniform(schedule, 4), noise, times=3)
    solve(walk, plain(NONE, NONE), Mixture(schedule))  # type: ignore[arg-type]
    assert len(set(asked)) == len(asked)
    assert sum(p == "resample" for p, _ in asked) == 3 * 2  # none after the last step, which ends in data


def test_start_and_tail() -> None:
    schedule = S.flow()
    t = torch.tensor(0.25, dtype=torch.float64)
    torch.testing.assert_close(
        add_noise(schedule, torch.ones(1, 2), t, 2 * torch.ones(1, 2)), torch.full((1, 2), 1.25)
    )
    ts = uniform(schedule, 10)
    assert len(last_steps(ts, 1.0)) == 11
    assert torch.equal(last_steps(ts, 0.3), ts[-4:])
    # Between the points of the grid: 0.07 of 10 steps are 0.7 of one, 0.25 are two and a half.
    torch.testing.assert_close(last_steps(ts, 0.07), torch.tensor([0.07, 0.0], dtype=torch.float64))
    torch.testing.assert_close(last_steps(ts, 0.25), torch.tensor([0.25, 0.2, 0.1, 0.0], dtype=torch.float64))
    assert [round(float(last_steps(ts, s)[0]), 9) for s in (0.001, 0.05, 0.1)] == [0.001, 0.05, 0.1]
    assert len(last_steps(ts, 0.6000000000000001)) == 7
    for wrong in (0.0, -1.0, 1.01):
        with pytest.raises(ValueError, match="strength"):
            last_steps(ts, wrong)


def test_slerp_keeps_the_length_between() -> None:
    a, b = torch.randn(2, 4, 100, generator=torch.Generator().manual_seed(0))
    b = b * a.norm() / b.norm()
    torch.testing.assert_close(slerp(a, b, 0.0), a)
    torch.testing.assert_close(slerp(a, b, 1.0), b)
    torch.testing.assert_close(slerp(a, b, 0.3).norm(), a.norm())
    torch.testing.assert_close(slerp(a, a, 0.5), a)


def test_calls_of_windows_keep_their_condition() -> None:
    cond = Cond(vector=torch.tensor([[1.0], [2.0]]))
    guide = sliding_windows(lambda _: plain(cond, cond), (4,))
    answers = guide(Query(torch.zeros(2, 1, 8), torch.tensor(0.5, dtype=torch.float64)))
    calls: list[Call] = next(answers)
    assert all(call.cond is cond and call.x.shape == (2, 1, 4) for call in calls)
    answers.close()
