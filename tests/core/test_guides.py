"""Guides and modifiers: closed forms, the spaces they act in, and no more calls than they need."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from multigen.core import Backbone, Cond, Denoiser, Driver, Guide, Query, Sampling, cfg, plain, solve
from multigen.core import schedules as S
from multigen.core.guides import Call, apg, autoguidance, cfg_zero, compose
from multigen.core.modifiers import (
    interval,
    perturbed_attention,
    posterior,
    posterior_in_windows,
    rescale,
    skip_layers,
    threshold,
)
from multigen.core.noise import Noise
from multigen.core.predictions import eps, flow, v, x0
from multigen.core.samplers import heun
from multigen.core.sliding_window import sliding_windows
from multigen.core.timesteps import uniform
from tests.core.gaussians import Analytic

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
T = torch.tensor(0.6, dtype=torch.float64)
COND = Cond(vector=torch.tensor([[1.0, 0.5], [0.0, 2.0], [-1.0, 1.0]]))
NULL = Cond(vector=torch.zeros(1, 2))


class Linear(Backbone):
    """F(x, c_noise, cond): depends on all of them, rows apart."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.randn(4, 6, generator=torch.Generator().manual_seed(1)) / 2)

    def forward(self, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        assert cond.vector is not None
        return torch.cat([x, cond.vector], 1) @ self.mix.T + 0.01 * c_noise[:, None]


def denoiser(prediction: Callable[..., object] = flow) -> Denoiser:
    return Denoiser(Linear(), S.flow(), prediction())  # type: ignore[arg-type]


def ask(guide: Guide, d: Denoiser, t: Tensor = T, x: Tensor = X) -> tuple[Tensor, list[list[Call]]]:
    """The guide's answer to one query, and the calls of each round."""
    asked: list[list[Call]] = []
    answers = guide(Query(x, t))
    with torch.no_grad():
        try:
            calls = next(answers)
            while True:
                asked.append(calls)
                given = [(c.denoiser or d)(c.x, c.t.expand(len(c.x)), c.cond.expand(len(c.x))) for c in calls]
                calls = answers.send(given)
        except StopIteration as stop:
            return stop.value, asked


def at(d: Denoiser, cond: Cond) -> Tensor:
    with torch.no_grad():
        return d(X, T.expand(3), cond.expand(3))


# --- guides -----------------------------------------------------------------------------------------------------


def test_compose_is_a_weighted_sum_of_differences_in_one_call() -> None:
    d = denoiser()
    others = {"a": Cond(vector=torch.tensor([[3.0, 0.0]])), "b": Cond(vector=torch.tensor([[0.0, -2.0]]))}
    guide = compose(COND, NULL, others.__getitem__, scale=2.0, prompts=("a", "b"), weights=(0.5, -1.5))
    answer, calls = ask(guide, d)
    null = at(d, NULL)
    expected = (
        null
        + 2 * (at(d, COND) - null)
        + 0.5 * (at(d, others["a"]) - null)
        - 1.5 * (at(d, others["b"]) - null)
    )
    torch.testing.assert_close(answer, expected)
    assert [len(c) for c in calls] == [4]
    with pytest.raises(ValueError, match="1 prompts and 2 weights"):
        compose(COND, NULL, others.__getitem__, prompts=("a",), weights=(1.0, 2.0))


def test_compose_of_gaussians_has_the_product_as_its_answer() -> None:
    """Of unit Gaussians around m_i against one around 0, at scale and weights 1: a unit Gaussian around sum m_i."""

    class Around(Analytic):
        def __init__(self) -> None:
            super().__init__()
            self.schedule = S.flow()

        def forward(self, x: Tensor, t: Tensor, cond: Cond) -> Tensor:
            assert cond.vector is not None
            alpha, sigma = (c[:, None].float() for c in self.schedule(t))
            return cond.vector + alpha / (alpha**2 + sigma**2) * (x - alpha * cond.vector)

    noise = Noise(range(4000), (2,))
    here, zero = Cond(vector=torch.tensor([[1.0, 0.0]])), Cond(vector=torch.zeros(1, 2))
    other = Cond(vector=torch.tensor([[0.0, -2.0]]))
    guide = compose(here, zero, lambda _: other, scale=1.0, prompts=("other",), weights=(1.0,))
    ts = uniform(S.flow(), 24)
    x = solve(heun(S.flow(), noise("start"), ts, noise), guide, Around())  # type: ignore[arg-type]
    torch.testing.assert_close(x.mean(0), torch.tensor([1.0, -2.0]), atol=0.05, rtol=0)
    torch.testing.assert_close(x.std(0), torch.ones(2), atol=0.05, rtol=0)


def test_autoguidance_leads_away_from_the_weaker_denoiser() -> None:
    d, weak = denoiser(), denoiser()
    with torch.no_grad():
        weak.backbone.get_parameter("mix").mul_(0.5)
    loaded: list[str] = []
    answer, calls = ask(
        autoguidance(COND, lambda source: (loaded.append(source), weak)[1], weights="early", scale=3.0), d
    )
    torch.testing.assert_close(answer, at(weak, COND) + 3 * (at(d, COND) - at(weak, COND)))
    assert loaded == ["early"]
    assert [[c.denoiser for c in round_] for round_ in calls] == [[None, weak]]


def test_apg_without_its_three_changes_is_cfg() -> None:
    d = denoiser()
    expected, _ = ask(cfg(COND, NULL, scale=4.0), d)
    answer, _ = ask(apg(COND, NULL, scale=4.0, parallel=1.0, momentum=0.0), d)
    torch.testing.assert_close(answer, expected)


def test_apg_adds_what_is_orthogonal_to_the_answer_cut_to_a_length() -> None:
    d = denoiser()
    conditional = at(d, COND)
    answer, _ = ask(apg(COND, NULL, scale=4.0, momentum=0.0), d)
    torch.testing.assert_close(
        ((answer - conditional) * conditional).sum(1), torch.zeros(3), atol=1e-4, rtol=0
    )
    short, _ = ask(apg(COND, NULL, scale=4.0, momentum=0.0, parallel=1.0, norm=0.01), d)
    torch.testing.assert_close((short - conditional).norm(dim=1), torch.full((3,), 0.03), atol=1e-6, rtol=0)


def test_apg_remembers_within_its_trajectory_alone() -> None:
    d = denoiser()
    guide = apg(COND, NULL, scale=2.0, parallel=1.0, momentum=-0.5)
    first, second = ask(guide, d)[0], ask(guide, d)[0]
    conditional, unconditional = at(d, COND), at(d, NULL)
    torch.testing.assert_close(first, conditional + (conditional - unconditional))
    torch.testing.assert_close(second, conditional + 0.5 * (conditional - unconditional))
    torch.testing.assert_close(ask(apg(COND, NULL, scale=2.0, parallel=1.0, momentum=-0.5), d)[0], first)


def test_cfg_zero_projects_the_null_velocity_and_stands_still_at_first() -> None:
    d = denoiser()
    guide = cfg_zero(COND, NULL, d, scale=3.0, zero=1)
    still, calls = ask(guide, d)
    assert not calls
    torch.testing.assert_close(still, X)  # flow: alpha + sigma = 1, so that v = (x - x0)/sigma = 0
    answer, _ = ask(guide, d)
    sigma = float(T)
    vc, vu = ((X - at(d, c)) / sigma for c in (COND, NULL))
    vu = ((vc * vu).sum(1) / (vu * vu).sum(1))[:, None] * vu
    torch.testing.assert_close(answer, X - sigma * (vu + 3 * (vc - vu)))


# --- modifiers --------------------------------------------------------------------------------------------------


def test_interval_asks_for_the_null_answer_inside_alone() -> None:
    d = denoiser()
    snr = float(d.schedule.log_snr(T))
    inner = cfg(COND, NULL, scale=4.0)
    for low, high, calls in (
        (snr - 1, None, 2),
        (snr + 1, None, 1),
        (None, snr - 1, 1),
        (snr - 1, snr + 1, 2),
    ):
        answer, asked = ask(interval(inner, COND, d, low=low, high=high), d)
        assert [len(c) for c in asked] == [calls]
        torch.testing.assert_close(answer, ask(inner if calls == 2 else plain(COND, COND), d)[0])


@pytest.mark.parametrize("prediction", [eps, v, flow, x0])
def test_rescale_gives_the_output_the_conditional_deviation(prediction: Callable[..., object]) -> None:
    d = denoiser(prediction)
    inner = cfg(COND, NULL, scale=6.0)
    answer, calls = ask(rescale(inner, COND, d, share=1.0), d)
    assert [len(c) for c in calls] == [2]
    out, wanted = d.output(X, T, answer), d.output(X, T, at(d, COND))
    torch.testing.assert_close(out.std(1), wanted.std(1), atol=1e-4, rtol=1e-4)
    guided = d.output(X, T, ask(inner, d)[0])
    torch.testing.assert_close(
        out / out.std(1)[:, None], guided / guided.std(1)[:, None], atol=1e-3, rtol=1e-3
    )
    torch.testing.assert_close(ask(rescale(inner, COND, d, share=0.0), d)[0], ask(inner, d)[0])


@pytest.mark.parametrize("prediction", [eps, v, flow, x0])
def test_output_is_the_inverse_of_the_denoiser(prediction: Callable[..., object]) -> None:
    d = denoiser(prediction)
    answer = at(d, COND)
    torch.testing.assert_close(d.from_output(X, T, d.output(X, T, answer)), answer)


def test_threshold_shrinks_what_is_beyond_and_nothing_else() -> None:
    values = torch.tensor([[0.5, -0.9, 0.2, 0.1], [3.0, -0.5, 1.0, 0.0]])

    def inner(q: Query):
        return values
        yield []

    answer, _ = ask(threshold(inner, quantile=1.0, limit=1.0), denoiser())
    torch.testing.assert_close(answer, torch.stack([values[0], values[1] / 3]))
    answer, _ = ask(threshold(inner, quantile=0.7, limit=0.5), denoiser())
    # Of the first row the second largest is 0.5: nothing to do. Of the second it is 1, to which 3 is cut.
    torch.testing.assert_close(answer[0], values[0])
    torch.testing.assert_close(answer[1], torch.tensor([0.5, -0.25, 0.5, 0.0]))


# --- taps -------------------------------------------------------------------------------------------------------


def unet() -> Denoiser:
    from multigen.backbones.unet import UNet
    from multigen.core import CondSpec

    torch.manual_seed(0)
    net = UNet(
        axes=2, channels=2, out_channels=2, cond=CondSpec(tokens=8), widths=(16, 16), blocks=1,
        attention=(True, True),
    )  # fmt: skip
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.05 * torch.randn(p.shape))
    return Denoiser(net.eval(), S.flow(), flow())


TOKENS = Cond(
    tokens=torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(3)), mask=torch.ones(2, 5).bool()
)
PICTURE = torch.randn(2, 2, 8, 8, generator=torch.Generator().manual_seed(4))


def driven(guide: Guide, d: Denoiser) -> tuple[Tensor, int]:
    """One query through the driver; the number of network calls."""

    def sampler():
        return (yield Query(PICTURE, T))

    driver = Driver()
    request = driver.add(Sampling(sampler(), guide, d))
    while driver.samplings:
        driver.round()
    assert request.sample is not None
    return request.sample, driver.calls


@pytest.mark.parametrize("modifier", [perturbed_attention, skip_layers])
def test_attention_guidance_pushes_away_from_the_weakened_answer(modifier: Callable[..., Guide]) -> None:
    d = unet()
    bare, _ = driven(plain(TOKENS, TOKENS), d)
    one, calls = driven(modifier(plain(TOKENS, TOKENS), TOKENS, d, scale=1.0, layers=(0, 2)), d)
    assert calls == 2
    three, _ = driven(modifier(plain(TOKENS, TOKENS), TOKENS, d, scale=3.0, layers=(0, 2)), d)
    assert (one - bare).abs().max() > 1e-4
    torch.testing.assert_close(three - bare, 3 * (one - bare), atol=1e-4, rtol=1e-3)
    off, calls = driven(modifier(plain(TOKENS, TOKENS), TOKENS, d, scale=0.0), d)
    assert calls == 1
    torch.testing.assert_close(off, bare)


def test_attention_guidance_around_cfg_needs_one_call_more() -> None:
    d = unet()
    null = Cond(tokens=torch.zeros(2, 5, 8), mask=TOKENS.mask)
    inner = cfg(TOKENS, null, scale=2.0)
    answer, calls = driven(perturbed_attention(inner, TOKENS, d, scale=1.5), d)
    assert calls == 2  # the conditional and the unconditional call share one; the perturbed one has its own
    push = driven(perturbed_attention(plain(TOKENS, TOKENS), TOKENS, d, scale=1.5), d)[0]
    push = push - driven(plain(TOKENS, TOKENS), d)[0]
    torch.testing.assert_close(answer, driven(inner, d)[0] + push, atol=1e-5, rtol=1e-4)


def test_undone_attention_sees_its_own_place_alone() -> None:
    """With attention only at one place there is nothing to undo: a picture of one cell a level."""
    from multigen.backbones.attention import Attention

    torch.manual_seed(0)
    attention = Attention(16, head_width=8)
    with torch.no_grad():
        attention.out.weight.normal_()
    x = torch.randn(2, 5, 16)
    alone = attention(x.reshape(10, 1, 16)).reshape(2, 5, 16)
    torch.testing.assert_close(attention(x, undone=True), alone)
    assert (attention(x) - alone).abs().max() > 1e-2


def test_maps_are_shares_of_the_tokens() -> None:
    from multigen.core import Maps, Taps

    d, maps = unet(), Maps()
    cond = Cond(tokens=TOKENS.tokens, mask=torch.tensor([[True] * 5, [True, True, False, False, False]]))
    with torch.no_grad():
        tapped = d(PICTURE, T.expand(2), cond, Taps(maps=maps))
        torch.testing.assert_close(tapped, d(PICTURE, T.expand(2), cond))
    assert set(maps.found) == set(range(d.backbone.attentions))  # type: ignore[arg-type]
    first = maps.found[0]
    assert first.shape == (2, 5, 1, 8, 8)
    torch.testing.assert_close(first.sum(1), torch.ones(2, 1, 8, 8))
    assert first[1, 2:].abs().max() == 0


def test_taps_of_a_backbone_without_attention_are_refused() -> None:
    with pytest.raises(ValueError, match="no access to its attention"):
        perturbed_attention(plain(COND, NULL), COND, denoiser())
    with pytest.raises(ValueError, match=r"layers: \[9\].*0 to"):
        skip_layers(plain(TOKENS, TOKENS), TOKENS, unet(), layers=(9,))


def test_modifiers_nest() -> None:
    d = denoiser()
    inner = rescale(cfg(COND, NULL, scale=5.0), COND, d, share=0.5)
    outer = interval(threshold(inner, limit=math.inf), COND, d, low=-20.0)
    torch.testing.assert_close(ask(outer, d)[0], ask(inner, d)[0])


# --- posterior sampling -----------------------------------------------------------------------------------------


class Gaussian(Analytic):
    """E[x0 | x_t] for x0 ~ N(mean, covariance) over two axes, exact."""

    def __init__(self, schedule: S.Schedule) -> None:
        super().__init__()
        self.schedule = schedule
        self.mean = torch.tensor([0.5, -0.3])
        self.covariance = torch.tensor([[0.25, 0.15], [0.15, 0.25]])

    def forward(self, x: Tensor, t: Tensor, cond: Cond) -> Tensor:
        alpha, sigma = (float(c[0]) for c in self.schedule(t.double()))
        spread = alpha**2 * self.covariance + sigma**2 * torch.eye(2)
        gain = alpha * self.covariance @ torch.linalg.inv(spread)
        return self.mean + (x - alpha * self.mean) @ gain.T


@pytest.mark.parametrize("schedule", [S.flow(), S.cosine(), S.edm()])
def test_posterior_samples_of_a_gaussian_have_the_closed_forms_mean(schedule: S.Schedule) -> None:
    """One axis is measured: it comes out as measured, the other at its conditional mean, both known exactly."""
    model = Gaussian(schedule)
    known = torch.tensor([[1.1]])
    noise = Noise(range(2000), (2,))
    ts = uniform(schedule, 60)
    guide = posterior(plain(Cond(), Cond()), model, lambda x0: x0[:, :1], known, sigma_data=0.5, noise=0.01)  # type: ignore[arg-type]
    start = noise("start", 0) * float(schedule(ts[:1]).sigma)
    x = solve(heun(schedule, start, ts, noise), guide, model)  # type: ignore[arg-type]
    expected = model.mean[1] + 0.15 / 0.25 * (1.1 - model.mean[0])
    torch.testing.assert_close(x[:, 0].mean(), known[0, 0], atol=0.03, rtol=0)
    assert x[:, 0].std() < 0.08
    torch.testing.assert_close(x[:, 1].mean(), expected, atol=0.05, rtol=0)


def test_posterior_weighs_each_measured_value_by_its_own_noise() -> None:
    """What is measured with a deviation far above the data's own says nothing: its axis stays at the closed form."""
    model = Gaussian(S.edm())
    noise = Noise(range(2000), (2,))
    ts = uniform(model.schedule, 60)
    guide = posterior(
        plain(Cond(), Cond()), model, lambda x0: x0, torch.tensor([[1.1, 9.0]]),
        sigma_data=0.5, noise=torch.tensor([0.01, 1e3]),
    )  # type: ignore[arg-type]  # fmt: skip
    start = noise("start", 0) * float(model.schedule(ts[:1]).sigma)
    x = solve(heun(model.schedule, start, ts, noise), guide, model)  # type: ignore[arg-type]
    expected = model.mean[1] + 0.15 / 0.25 * (1.1 - model.mean[0])
    torch.testing.assert_close(x.mean(0), torch.tensor([1.1, float(expected)]), atol=0.05, rtol=0)


def test_posterior_asks_for_differentiable_calls_and_leaves_no_graph() -> None:
    d = denoiser()
    # This network is no denoiser, so that its slope may be steep: a small step.
    guide = posterior(cfg(COND, NULL, scale=2.0), d, lambda x0: x0.sum(1), torch.zeros(3), gain=1e4)

    def sampler():
        return (yield Query(X, T))

    driver = Driver()
    request = driver.add(Sampling(sampler(), guide, d))
    assert [call.grad for call in request.calls] == [True, True]
    while driver.samplings:
        driver.round()
    assert request.sample is not None
    assert not request.sample.requires_grad
    bare, _ = ask(cfg(COND, NULL, scale=2.0), d)
    assert request.sample.sum(1).abs().mean() < bare.sum(1).abs().mean()


class Along(Backbone):
    """F(x, c_noise, cond) of x [B, 1, N]: neighbours are mixed, so that a window's edge differs from its middle."""

    def forward(self, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        line = torch.tensor([[[0.2, 0.5, 0.3]]])
        return torch.tanh(torch.nn.functional.conv1d(x, line, padding=1)) + 0.1 * x


@pytest.mark.parametrize("at_once", [1, 2, 16])
def test_the_posterior_in_windows_is_that_of_the_windows_together(at_once: int) -> None:
    """A few windows at a time hold their graphs; the gradient is that of all of them, at another order of additions."""
    d = Denoiser(Along(), S.flow(), flow())
    x = torch.randn(2, 1, 20, generator=torch.Generator().manual_seed(3))
    known = torch.randn(1, 1, 10, generator=torch.Generator().manual_seed(4))

    def measure(x0: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool1d(x0, 2)

    def one(guide: Guide) -> Tensor:
        def sampler():
            return (yield Query(x, T))

        return solve(sampler(), guide, d)

    whole = one(
        posterior(
            sliding_windows(lambda _: plain(Cond(), Cond()), (8,)), d, measure, known, gain=0.5, noise=0.1
        )
    )
    apart = one(
        posterior_in_windows(
            lambda _: plain(Cond(), Cond()), (8,), d, measure, known, gain=0.5, noise=0.1, at_once=at_once
        )
    )
    # Sums of some ten numbers of size 1 in another order: 1e-6.
    torch.testing.assert_close(apart, whole, rtol=0, atol=1e-5)
    bare = one(sliding_windows(lambda _: plain(Cond(), Cond()), (8,)))
    assert (bare - whole).abs().max() > 0.05
