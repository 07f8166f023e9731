"""Post-hoc averages: the formulas against integrals and direct tracking, snapshots through real trainings."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from multigen.errors import MultigenError
from multigen.recipe.schema import PostHoc
from multigen.training import checkpoint as checkpoints
from multigen.training.post_hoc import Averages, reconstructed
from multigen.training.profiles import Profile, combine, decay, exponent, overlap, spread
from tests.training.toys import trainer


def profile(step: float, sigma: float, points: Tensor) -> Tensor:
    """The weights of a profile at points in time, as the paper's eq. 2 has them."""
    gamma = exponent(sigma)
    inside = points <= step
    return torch.where(inside, (gamma + 1) / step * (points / step) ** gamma, 0.0)


def grid(end: float, count: int = 200_000) -> tuple[Tensor, float]:
    """Midpoints of [0, end], and their distance."""
    return (torch.arange(count, dtype=torch.float64) + 0.5) * end / count, end / count


@pytest.mark.parametrize(("sigma", "gamma"), [(0.05, 16.97), (0.10, 6.94)])
def test_the_papers_exponents(sigma: float, gamma: float) -> None:
    assert exponent(sigma) == pytest.approx(gamma, abs=0.005)  # Karras et al. 2024, section 3.1


@pytest.mark.parametrize("sigma", [0.001, 0.01, 0.05, 0.1, 0.2, 0.2886])
def test_exponent_is_the_root_and_spread_its_inverse(sigma: float) -> None:
    gamma, s = exponent(sigma), sigma**-2
    roots = torch.linalg.eigvals(
        torch.tensor([[-7.0, s - 16, s - 12], [1, 0, 0], [0, 1, 0]], dtype=torch.float64)
    )
    assert gamma == pytest.approx(roots.real.max().item(), rel=1e-9, abs=1e-9)
    assert spread(gamma) == pytest.approx(sigma, rel=1e-12)
    points, step = grid(1.0)
    p = profile(1.0, sigma, points)
    mean = (p * points).sum() * step
    deviation = ((p * (points - mean).square()).sum() * step).sqrt()
    assert deviation.item() == pytest.approx(sigma, rel=1e-4)


@pytest.mark.parametrize("sigma", [0.0, -0.1, 0.0009, 0.29, math.inf, math.nan])
def test_sigmas_that_no_profile_has_are_refused(sigma: float) -> None:
    with pytest.raises(ValueError, match=r"sigma_rel .* is not allowed. Allowed: 0.001 to below 0.2887"):
        exponent(sigma)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (Profile(100, 0.05), Profile(100, 0.10)),
        (Profile(60, 0.05), Profile(100, 0.10)),
        (Profile(100, 0.20), Profile(30, 0.08)),
        (Profile(77, 0.15), Profile(77, 0.15)),
    ],
)
def test_overlap_is_the_integral_of_the_product(a: Profile, b: Profile) -> None:
    points, step = grid(100.0)
    integral = (profile(*a, points) * profile(*b, points)).sum() * step
    assert overlap(a, b) == pytest.approx(integral.item(), rel=1e-5)
    assert overlap(a, b) == pytest.approx(overlap(b, a), rel=1e-12)


def trajectory(steps: int) -> Tensor:
    """A parameter that drifts and jitters, [steps]."""
    t = torch.arange(1, steps + 1, dtype=torch.float64)
    noise = torch.randn(steps, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return 3 - 2 * (t / steps).sqrt() + 0.5 * noise


def tracked(values: Tensor, sigma: float, upto: int) -> float:
    return averages(values, sigma)[upto - 1]


def averages(values: Tensor, sigma: float) -> list[float]:
    """The average after each step."""
    average, after = 0.0, []
    for step, value in enumerate(values.tolist(), 1):
        beta = decay(exponent(sigma), step)
        average = beta * average + (1 - beta) * value
        after.append(average)
    return after


@pytest.fixture(scope="module")
def stored() -> list[tuple[Profile, float, Tensor]]:
    """Profiles of two lengths at each 50 of 2000 steps, what each had tracked then, and their curves on a grid."""
    values, (points, _) = trajectory(2000), grid(2000, 100_000)
    after = {sigma: averages(values, sigma) for sigma in (0.05, 0.1)}
    each = [Profile(k, sigma) for k in range(50, 2001, 50) for sigma in after]
    return [(p, after[p.sigma][int(p.step) - 1], profile(*p, points)) for p in each]


def test_the_recursion_is_the_integral_over_each_step() -> None:
    values, gamma = trajectory(500), exponent(0.07)
    edges = torch.arange(501, dtype=torch.float64) / 500
    expected = ((edges[1:] ** (gamma + 1) - edges[:-1] ** (gamma + 1)) * values).sum()
    assert tracked(values, 0.07, 500) == pytest.approx(expected.item(), rel=1e-10)


@pytest.mark.parametrize("sigma", [0.03, 0.05, 0.075, 0.1, 0.15, 0.2])
def test_any_length_comes_out_as_if_it_had_been_tracked(
    sigma: float, stored: list[tuple[Profile, float, Tensor]]
) -> None:
    steps = 2000
    found = combine([p for p, _, _ in stored], Profile(steps, sigma))
    made = sum(w * average for w, (_, average, _) in zip(found.weights, stored, strict=True))
    # Its error is the part of the profile that is missed; the rest of the trajectory averages to nothing.
    assert made == pytest.approx(tracked(trajectory(steps), sigma, steps), abs=2e-3)
    assert found.error < 0.01
    wanted = profile(steps, sigma, grid(steps, 100_000)[0])
    got = sum(w * curve for w, (_, _, curve) in zip(found.weights, stored, strict=True))
    missed = ((got - wanted).square().sum() / wanted.square().sum()).sqrt()
    assert found.error == pytest.approx(missed.item(), rel=0.02, abs=1e-4)


def test_a_stored_length_is_itself_and_a_strange_one_is_known_to_be_missed() -> None:
    stored = [Profile(k, s) for k in (50, 100) for s in (0.05, 0.1)]
    found = combine(stored, Profile(100, 0.1))
    assert found.weights == pytest.approx([0, 0, 0, 1], abs=1e-6)
    assert combine(stored, Profile(100, 0.005)).error > 0.5


# --- through the trainer ------------------------------------------------------------------------------------------

SETTINGS: dict[str, Any] = {"steps": 40, "checkpoint_every": 10, "keep": 0}


def post_hoc(**more: Any) -> PostHoc:
    return PostHoc(**{"every": 2, "precision": "fp32", **more})


def run(folder: Path, settings: PostHoc, **more: Any) -> dict[float, dict[str, Tensor]]:
    """Train; averages tracked beside, by their definition."""
    t = trainer(folder, post_hoc=settings, **{**SETTINGS, **more})
    t.counters.lr = lambda: 3e-2  # type: ignore[method-assign]  # still on its way at the end: lengths differ
    beside = {
        s: {n: p.detach().double().clone() for n, p in t.parameters.items()} for s in (0.05, 0.08, 0.15)
    }
    inner = t.averages.update

    def update(step: int) -> None:
        inner(step)
        for sigma, shadow in beside.items():
            beta = (1 - 1 / step) ** (exponent(sigma) + 1)
            for n, p in t.parameters.items():
                shadow[n] = beta * shadow[n] + (1 - beta) * p.detach().double()

    t.averages.update = update  # type: ignore[method-assign]
    t.run()
    return beside


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_trained_average_of_another_length(tmp_path: Path, precision: str) -> None:
    beside = run(tmp_path, post_hoc(precision=precision))
    written = [p.name[-2:] for p in checkpoints.found(tmp_path / "snapshots")]
    assert written == [f"{k:02}" for k in range(2, 41, 2)]
    apart = max((beside[0.05][n] - beside[0.15][n]).abs().max().item() for n in beside[0.05])
    assert apart > 0.05
    for sigma, expected in beside.items():
        made, step = reconstructed(tmp_path, sigma)
        assert step == 40 and made.keys() == expected.keys()
        far = max((made[n] - expected[n]).abs().max().item() for n in made)
        assert far < 0.05 * apart, sigma  # no other length could pass for it


def test_averages_resume_bit_for_bit_and_newer_snapshots_are_made_again(tmp_path: Path) -> None:
    trainer(tmp_path / "whole", post_hoc=post_hoc(), **SETTINGS).run()
    first = trainer(tmp_path / "parts", post_hoc=post_hoc(), **SETTINGS)
    inner = first._update

    def stop(batch: Any) -> dict[str, float]:
        if first.step == 17:
            raise KeyboardInterrupt
        return inner(batch)

    first._update = stop  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        first.run()
    folder = tmp_path / "parts"
    for path in checkpoints.found(folder / "checkpoints")[1:]:
        shutil.rmtree(path)
    assert len(checkpoints.found(folder / "snapshots")) == 8
    second = trainer(folder, seed=0, post_hoc=post_hoc(), **SETTINGS)
    second.restore(checkpoints.load(folder / "checkpoints" / "step-00000010"))
    assert len(checkpoints.found(folder / "snapshots")) == 5
    second.run()
    for whole in (tmp_path / "whole" / "snapshots").rglob("*.safetensors"):
        mine = folder / whole.relative_to(tmp_path / "whole")
        assert mine.read_bytes() == whole.read_bytes(), mine


def test_a_broken_snapshot_is_left_out_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    beside = run(tmp_path, post_hoc())
    file = tmp_path / "snapshots" / "step-00000020" / "sigma-0.05.safetensors"
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(bytes(data))
    made, _ = reconstructed(tmp_path, 0.08)
    assert (
        "step-00000020 is broken and skipped: sigma-0.05.safetensors does not match its checksum"
        in caplog.text
    )
    far = max((made[n] - beside[0.08][n]).abs().max().item() for n in made)
    assert far < 0.01


def test_what_cannot_be_is_said(tmp_path: Path) -> None:
    t = trainer(tmp_path / "plain", steps=5)
    t.run()
    assert not (tmp_path / "plain" / "snapshots").exists()
    with pytest.raises(MultigenError, match=r"has no snapshots .* train\.post_hoc\.every=100"):
        reconstructed(tmp_path / "plain", 0.1)
    with pytest.raises(MultigenError, match=r"--ema: sigma_rel 0\.5 is not allowed"):
        reconstructed(tmp_path / "plain", 0.5)
    late = trainer(tmp_path / "plain", post_hoc=post_hoc())
    newest = checkpoints.newest(tmp_path / "plain" / "checkpoints")
    assert newest is not None
    with pytest.raises(MultigenError, match=r"did not track sigma_rel 0\.05 from its start"):
        late.restore(checkpoints.load(newest))


def test_only_the_newest_stay_where_that_is_asked_for(tmp_path: Path) -> None:
    run(tmp_path, post_hoc(keep=3))
    assert [p.name[-2:] for p in checkpoints.found(tmp_path / "snapshots")] == ["36", "38", "40"]


def test_nothing_is_tracked_by_default(tmp_path: Path) -> None:
    averages = Averages({"p": nn.Parameter(torch.ones(1))}, PostHoc(), tmp_path)
    assert not averages.shadows and not averages.due(100) and not averages.state()
    averages.snapshot(100)
    assert not (tmp_path / "snapshots").exists()
