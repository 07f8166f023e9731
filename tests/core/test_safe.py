"""Safe latent diffusion: the paper's arithmetic in units of the noise, computed from predictions of x0."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from multigen.core import Cond, Query, cfg, plain
from multigen.core import schedules as S
from multigen.core.guides import Guide
from multigen.core.modifiers import safe
from tests.core.gaussians import Analytic

COND, NULL, AWAY = (Cond(vector=torch.full((1, 1), float(k))) for k in range(3))
X = torch.randn(2, 2, 5, generator=torch.Generator().manual_seed(0))


class Given(Analytic):
    """Predictions of the noise that are given, by condition."""

    schedule = S.flow()

    def __init__(self) -> None:
        super().__init__()
        noise = torch.Generator().manual_seed(1)
        self.noise = [torch.randn(X.shape, generator=noise) * 0.02 for _ in range(3)]
        self.calls: list[int] = []

    def __call__(self, x: Tensor, t: Tensor, cond: Cond) -> Tensor:
        assert cond.vector is not None
        which = int(cond.vector.reshape(-1)[0])
        self.calls.append(which)
        alpha, sigma = self.schedule(t.reshape(1))
        return (x - float(sigma) * self.noise[which]) / float(alpha)


def steps(guide: Guide, model: Given, times: tuple[float, ...]) -> list[Tensor]:
    out = []
    for time in times:
        q = Query(X, torch.tensor(time, dtype=torch.float64))
        running = guide(q)
        answers = None
        while True:
            try:
                calls = next(running) if answers is None else running.send(answers)
            except StopIteration as stop:
                out.append(stop.value)
                break
            answers = [model(call.x, call.t, call.cond) for call in calls]
    return out


def reference(model: Given, times: tuple[float, ...], w: float, **a: float) -> list[Tensor]:
    """The paper, as its authors' code computes it, on the noise."""
    e_p, e_u, e_s = model.noise
    v, out = torch.zeros_like(X), []
    for step, time in enumerate(times):
        phi = (scale := a["scale"]) * (e_p - e_s)
        mu = torch.where(e_p - e_s < a["threshold"], phi.abs().clamp(max=1), torch.zeros(()))
        gamma = mu * (e_s - e_u) + a["momentum"] * v
        v = a["beta"] * v + (1 - a["beta"]) * gamma
        guidance = (e_p - e_u) - (gamma if step >= a["warmup"] else 0)
        e = e_u + w * guidance
        alpha, sigma = (float(one) for one in model.schedule(torch.tensor([time], dtype=torch.float64)))
        out.append((X - sigma * e) / alpha)
        assert scale
    return out


@pytest.mark.parametrize("w", [1.0, 3.0, 7.5])
def test_it_is_the_papers(w: float) -> None:
    model, times = Given(), (0.9, 0.7, 0.5, 0.3, 0.1)
    settings = {"scale": 20.0, "threshold": 0.01, "warmup": 2, "momentum": 0.3, "beta": 0.4}
    inner = plain(COND, NULL) if w == 1 else cfg(COND, NULL, scale=w)
    guide = safe(inner, COND, NULL, model, lambda _: AWAY, concept="x", **settings)  # type: ignore[arg-type]
    for ours, theirs in zip(steps(guide, model, times), reference(model, times, w, **settings), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3)


def test_it_calls_the_network_once_for_all_three() -> None:
    model = Given()
    steps(safe(cfg(COND, NULL, scale=2.0), COND, NULL, model, lambda _: AWAY, concept="x"), model, (0.5,))  # type: ignore[arg-type]
    assert model.calls == [0, 1, 2]
    assert model.calls.count(1) == 1


def test_a_prompt_that_is_far_from_the_concept_stays() -> None:
    model = Given()
    model.noise[2] = model.noise[0] - 1.0  # e_p - e_S = 1, over the threshold everywhere
    inner = cfg(COND, NULL, scale=3.0)
    guide = safe(inner, COND, NULL, model, lambda _: AWAY, concept="x", warmup=0)  # type: ignore[arg-type]
    assert torch.equal(steps(guide, model, (0.5,))[0], steps(inner, model, (0.5,))[0])


def test_pure_noise_is_finite() -> None:
    model = Given()
    q = Query(X, torch.tensor(1.0, dtype=torch.float64))
    running = safe(cfg(COND, NULL), COND, NULL, model, lambda _: AWAY, concept="x", warmup=0)(q)  # type: ignore[arg-type]
    calls = next(running)
    with pytest.raises(StopIteration) as stop:
        running.send([torch.full_like(X, float(k)) for k in range(len(calls))])
    assert stop.value.value.isfinite().all()


@pytest.mark.parametrize(
    "wrong", [{"concept": " "}, {"scale": -1.0}, {"warmup": -1}, {"momentum": 2.0}, {"beta": 1.0}]
)
def test_values_out_of_range(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="modifier safe: a concept"):
        safe(plain(COND, NULL), COND, NULL, Given(), lambda _: AWAY, **{"concept": "x", **wrong})  # type: ignore[arg-type]
