"""The six predictions say the same of x0, and their targets are what their coefficients undo."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from multigen.core import Backbone, Cond, Denoiser, predictions, schedules
from multigen.core.predictions import Prediction
from tests.core.networks import Same

PREDICTIONS: dict[str, Prediction] = {
    "eps": predictions.eps(),
    "x0": predictions.x0(),
    "v": predictions.v(),
    "flow": predictions.flow(),
    "edm": predictions.edm(sigma_data=0.5),
    "consistency": predictions.consistency(sigma_data=0.5),
}
SCHEDULES = {
    "vp": schedules.cosine(),
    "table": schedules.linear(),
    "ve": schedules.edm(sigma_min=0.01),
    "flow": schedules.flow(shift=2.0),
}


class Says(Backbone):
    """A network that answers F for what x0 it believes in, in any prediction."""

    def __init__(self, prediction: Prediction, believe: Tensor) -> None:
        super().__init__()
        self.prediction, self.believe = prediction, believe
        self.alpha = self.sigma = torch.empty(0)

    def forward(self, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        alpha, sigma = self.alpha[:, None], self.sigma[:, None]
        c_in = self.prediction.coefficients(alpha, sigma).c_in
        eps = (x / c_in - alpha * self.believe) / sigma  # the noise, if x0 is what it believes
        return self.prediction.target(self.believe, eps, alpha, sigma)


@pytest.mark.parametrize("kind", SCHEDULES)
@pytest.mark.parametrize("name", PREDICTIONS)
def test_converted_outputs_give_the_same_x0_in_float64(name: str, kind: str) -> None:
    schedule, prediction = SCHEDULES[kind], PREDICTIONS[name]
    t = torch.linspace(0, 1, 401, dtype=torch.float64)
    alpha, sigma = schedule(t)
    inside = (alpha >= 0.01) & (sigma >= 0.01)
    assert int(inside.sum()) > 300
    t, alpha, sigma = t[inside], alpha[inside], sigma[inside]
    generator = torch.Generator().manual_seed(1)
    believed = torch.randn(len(t), 16, dtype=torch.float64, generator=generator)
    x = alpha[:, None] * believed + sigma[:, None] * torch.randn(
        len(t), 16, dtype=torch.float64, generator=generator
    )
    network = Says(prediction, believed)
    network.alpha, network.sigma = alpha, sigma
    x0 = Denoiser(network, schedule, prediction)(x, t, Cond())
    torch.testing.assert_close(x0, believed, atol=1e-10, rtol=0)


@pytest.mark.parametrize("name", ["x0", "v", "flow", "edm"])
def test_targets_are_undone_at_pure_noise_and_at_the_data(name: str) -> None:
    prediction = PREDICTIONS[name]
    x0, eps = torch.randn(2, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    for alpha, sigma in ((0.0, 1.0), (1.0, 0.0), (0.3, 0.9), (1.0, 80.0)):
        a, s = torch.tensor([alpha], dtype=torch.float64), torch.tensor([sigma], dtype=torch.float64)
        _, c_skip, c_out = prediction.coefficients(a, s)
        back = c_skip * (a * x0 + s * eps) + c_out * prediction.target(x0, eps, a, s)
        torch.testing.assert_close(back, x0, atol=1e-12, rtol=0)


def test_eps_at_pure_noise_is_refused_with_a_way_out() -> None:
    denoiser = Denoiser(Same(), schedules.flow(), predictions.eps())
    with pytest.raises(ValueError, match=r"eps .* alpha = 0 .* use prediction v, flow or x0"):
        denoiser(torch.zeros(2, 1), torch.tensor([0.5, 1.0]), Cond())


@pytest.mark.parametrize("name", PREDICTIONS)
def test_network_inputs_never_grow(name: str) -> None:
    """With data of standard deviation sd, c_in keeps inputs at unit variance or less, up to sigma = 80."""
    prediction = PREDICTIONS[name]
    t = torch.linspace(0.001, 0.999, 50, dtype=torch.float64)
    for schedule in SCHEDULES.values():
        alpha, sigma = schedule(t)
        c_in, _, _ = prediction.coefficients(alpha, sigma)
        size = c_in * (alpha**2 * prediction.sigma_data**2 + sigma**2).sqrt()
        assert bool((size <= 1 + 1e-12).all())
        if name == "edm":
            torch.testing.assert_close(size, torch.ones_like(size))


def test_edm_is_karras_table_1() -> None:
    sd, sigma = 0.5, torch.tensor([0.002, 0.3, 80.0], dtype=torch.float64)
    c_in, c_skip, c_out = predictions.edm(sigma_data=sd).coefficients(
        torch.ones(3, dtype=torch.float64), sigma
    )
    torch.testing.assert_close(c_in, 1 / (sigma**2 + sd**2).sqrt())
    torch.testing.assert_close(c_skip, sd**2 / (sigma**2 + sd**2))
    torch.testing.assert_close(c_out, sigma * sd / (sigma**2 + sd**2).sqrt())


@pytest.mark.parametrize("name", PREDICTIONS)
def test_loss_is_zero_for_the_truth_and_per_sample(name: str) -> None:
    prediction, schedule = PREDICTIONS[name], schedules.cosine()
    x0, eps = torch.randn(2, 3, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    t = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    network = Says(prediction, x0)
    network.alpha, network.sigma = schedule(t)
    denoiser = Denoiser(network, schedule, prediction)
    torch.testing.assert_close(denoiser.loss(x0, t, Cond(), eps), torch.zeros(3, dtype=torch.float64))
    network.believe = x0 + torch.tensor([[0.0], [1.0], [0.0]])
    wrong = denoiser.loss(x0, t, Cond(), eps)
    assert wrong[1] > 1e-3
    assert wrong[[0, 2]].max() < 1e-20


@pytest.mark.parametrize("name", PREDICTIONS)
def test_huber_is_the_same_of_x0_in_every_prediction(name: str) -> None:
    """Times c_out², the loss is 2 h (sqrt(e² + d²) - d) of the error e of x0."""
    prediction, schedule, h = PREDICTIONS[name], schedules.flow(), 0.3
    x0, eps, off = torch.randn(3, 4, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    t = torch.tensor([0.05, 0.3, 0.6, 0.9], dtype=torch.float64)
    network = Says(prediction, x0 + off)
    alpha, sigma = network.alpha, network.sigma = schedule(t)
    found = Denoiser(network, schedule, prediction).loss(x0, t, Cond(), eps, huber=h)
    d = (h * (sigma**2 / (alpha**2 + sigma**2)) ** 4)[:, None]
    wanted = (2 * h * ((off**2 + d**2).sqrt() - d)).mean(1)
    c_out = prediction.coefficients(alpha, sigma).c_out.expand(4)
    torch.testing.assert_close(found * c_out**2, wanted)


def test_huber_is_squared_in_pure_noise_and_absolute_in_none() -> None:
    x0, eps = torch.randn(2, 2, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    denoiser = Denoiser(Same(), schedules.flow(), predictions.x0())
    denoiser.network = lambda x, c_noise, cond, taps=None: torch.zeros_like(x)  # type: ignore[method-assign]
    ends = torch.tensor([1.0, 1e-6], dtype=torch.float64)
    noisy, clean = denoiser.loss(x0, ends, Cond(), eps, huber=1e3)
    torch.testing.assert_close(noisy, x0[0].square().mean(), rtol=1e-5, atol=0)
    torch.testing.assert_close(clean, 2e3 * x0[1].abs().mean(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", ["flow", "v"])
def test_huber_is_bounded_where_x0_hardly_shows_the_network(name: str) -> None:
    """With c_out = 1e-4 it would weigh errors of F ten thousandfold."""
    denoiser = Denoiser(Same(), schedules.flow(), PREDICTIONS[name])
    denoiser.network = lambda x, c_noise, cond, taps=None: torch.zeros_like(x)  # type: ignore[method-assign]
    x0, eps = torch.randn(2, 1, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    t = torch.tensor([1e-4], dtype=torch.float64)
    squared, huber = (denoiser.loss(x0, t, Cond(), eps, huber=h) for h in (None, 0.3))
    assert squared < huber < 2 * 0.3 / 0.05 * squared.sqrt()


def test_remembered_coefficients_are_those_of_their_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of old, new and mixed times answer as a denoiser that never saw any, also past the memory's limit."""
    monkeypatch.setattr("multigen.core.denoiser.REMEMBERED", 5)
    schedule, prediction = schedules.edm(), predictions.edm()
    old = Denoiser(Same(), schedule, prediction)

    def network(x: Tensor, c_noise: Tensor, cond: Cond, *asked: object) -> Tensor:
        return torch.tanh(x + c_noise[:, None])

    monkeypatch.setattr(old, "network", network)
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(4))
    for times in (
        (0.1, 0.2, 0.3, 0.4),
        (0.4, 0.3, 0.2, 0.1),
        (0.1, 0.5, 0.6, 0.1),
        (0.2, 0.7, 0.1, 0.8),
        (0.9,) * 4,
    ):
        new = Denoiser(Same(), schedule, prediction)
        monkeypatch.setattr(new, "network", network)
        t = torch.tensor(times, dtype=torch.float64)
        assert torch.equal(old(x, t, Cond()), new(x, t, Cond()))
    refuses = Denoiser(Same(), schedules.flow(), predictions.eps())
    for _ in range(2):  # what was refused is not remembered
        with pytest.raises(ValueError, match="alpha = 0"):
            refuses(x, torch.ones(4), Cond())


def test_only_a_backbone_is_wrapped() -> None:
    with pytest.raises(TypeError, match=r"backbone: Tanh is not a subclass of multigen\.core\.Backbone"):
        Denoiser(torch.nn.Tanh(), schedules.flow(), predictions.flow())  # type: ignore[arg-type]


class Watch(Backbone):
    def forward(self, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        self.seen, self.dtype = c_noise, (x @ x.T).dtype
        return x


def test_network_sees_the_clamped_log_snr_and_the_precision() -> None:
    watch = Watch()
    denoiser = Denoiser(watch, schedules.flow(), predictions.flow(), precision=torch.bfloat16)
    x = torch.ones(3, 4)
    assert denoiser(x, torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64), Cond()).dtype == torch.float32
    assert watch.seen.tolist() == [20, 0, -20]
    assert watch.dtype == torch.bfloat16
    plain = Denoiser(watch, schedules.flow(), predictions.flow())
    plain(x, torch.full((3,), 0.5), Cond())
    assert watch.dtype == torch.float32
