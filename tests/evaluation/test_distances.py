"""Distances between sets of features whose answers are known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from multigen.errors import MultigenError
from multigen.evaluation.distances import (
    Moments,
    frechet,
    frechet_problem,
    inception_score,
    kernel,
    moments,
    neighbours,
    prdc,
)


def draw(n: int, w: int, seed: int = 0) -> Tensor:
    return torch.randn(n, w, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def spread(w: int, seed: int) -> Tensor:
    """A covariance matrix of full rank."""
    a = draw(w, w, seed)
    return a @ a.T / w + 0.1 * torch.eye(w, dtype=torch.float64)


# --- Fréchet ------------------------------------------------------------------------------------------------------


def test_frechet_of_gaussians_that_commute() -> None:
    """sum (m - m')^2 + (s - s')^2 where the axes are shared, whichever they are."""
    axes = torch.linalg.qr(draw(5, 5, 1)).Q
    s, t = torch.tensor([1.0, 2, 3, 0.5, 0]).double(), torch.tensor([2.0, 2, 1, 0.25, 3]).double()
    a = Moments(torch.zeros(5).double(), axes @ torch.diag(s**2) @ axes.T, 100)
    b = Moments(torch.arange(5).double(), axes @ torch.diag(t**2) @ axes.T, 100)
    expected = 30 + float((s - t).square().sum())
    assert frechet(a, b) == pytest.approx(expected, rel=1e-6)
    assert frechet(b, a) == pytest.approx(expected, rel=1e-6)
    assert frechet(a, a) == pytest.approx(0, abs=1e-6)


def test_frechet_of_gaussians_that_do_not_commute() -> None:
    """Against the eigenvalues of C C', which may be complex by rounding."""
    a, b = spread(12, 2), spread(12, 3)
    root = torch.linalg.eigvals(a @ b).sqrt().real.sum()
    zero = torch.zeros(12).double()
    expected = float(a.trace() + b.trace() - 2 * root)
    assert frechet(Moments(zero, a, 9), Moments(zero, b, 9)) == pytest.approx(expected, rel=1e-9)


def test_frechet_with_fewer_samples_than_features() -> None:
    """Singular covariances: all in a plane, moved by 3 along one axis."""
    x = torch.cat([draw(20, 2), torch.zeros(20, 48).double()], 1)
    y = x + 3 * torch.eye(50).double()[10]
    assert frechet(moments(x), moments(y)) == pytest.approx(9, rel=1e-6)
    assert frechet_problem(20, 50).startswith(
        "20 samples are too few for 50 features: the covariance is singular"
    )
    assert "50 samples are too few for 50 features" in frechet_problem(50, 50)
    assert frechet_problem(51, 50) == ""


def test_moments() -> None:
    x = draw(40, 6)
    found = moments(x.float())
    torch.testing.assert_close(found.covariance, torch.cov(x.float().double().T))
    assert found.count == 40 and found.covariance.dtype == torch.float64


# --- kernel -------------------------------------------------------------------------------------------------------


def by_hand(x: Tensor, y: Tensor) -> float:
    def k(a: Tensor, b: Tensor) -> float:
        return (float(a @ b) / len(a) + 1) ** 3

    m, n = len(x), len(y)
    xx = sum(k(x[i], x[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    yy = sum(k(y[i], y[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    return xx + yy - 2 * sum(k(a, b) for a in x for b in y) / (m * n)


def test_kernel_and_its_jackknife_by_hand() -> None:
    x, y = draw(9, 4), draw(6, 4, 1) + 1
    value, error = kernel(x, y)
    assert value == pytest.approx(by_hand(x, y), rel=1e-10)
    without_x = [by_hand(torch.cat([x[:i], x[i + 1 :]]), y) for i in range(9)]
    without_y = [by_hand(x, torch.cat([y[:i], y[i + 1 :]])) for i in range(6)]
    parts = [(n - 1) / n * sum((v - sum(w) / n) ** 2 for v in w) for n, w in ((9, without_x), (6, without_y))]
    assert error == pytest.approx(math.sqrt(sum(parts)), rel=1e-8)


@pytest.mark.parametrize("shape", ["cubic", "gaussian"])
def test_kernel_is_unbiased_and_knows_its_error(shape) -> None:
    """Over many draws of one distribution: mean 0 within its error; the stated error is not below the true one."""
    found = [kernel(draw(40, 8, 2 * s), draw(50, 8, 2 * s + 1), shape=shape) for s in range(300)]
    values = torch.tensor([f.value for f in found])
    assert abs(float(values.mean())) < 3 * float(values.std()) / math.sqrt(300)
    stated = torch.tensor([f.error for f in found]).square().mean().sqrt()
    assert float(values.std()) * 0.95 < float(stated) < float(values.std()) * 1.6
    assert (values < 0).any()  # a biased one would never be


def test_windows_of_one_medium_do_not_count_as_independent() -> None:
    """Media whose windows are nearly alike: unbiased over media, not over windows; the error is that over media."""

    def clips(n: int, k: int, seed: int) -> Tensor:
        return draw(n, 8, seed)[:, None] + 0.1 * draw(n * k, 8, seed + 7000).reshape(n, k, 8)

    found = [kernel(clips(30, 4, 2 * s), clips(25, 3, 2 * s + 1)) for s in range(200)]
    values = torch.tensor([f.value for f in found])
    assert abs(float(values.mean())) < 3 * float(values.std()) / math.sqrt(200)
    stated = torch.tensor([f.error for f in found]).square().mean().sqrt()
    assert float(values.std()) * 0.95 < float(stated) < float(values.std()) * 1.6
    a, b = clips(30, 4, 0), clips(25, 3, 1)
    assert kernel(a.flatten(0, 1), b.flatten(0, 1)).value > kernel(a, b).value + 2 * float(values.std())
    assert kernel(a[:, :1], b[:, :1]) == pytest.approx(kernel(a[:, 0], b[:, 0]), rel=1e-9)


def test_kernel_error_where_the_sets_differ() -> None:
    found = [kernel(draw(60, 8, 2 * s), draw(60, 8, 2 * s + 1) + 0.7) for s in range(200)]
    stated = torch.tensor([f.error for f in found]).square().mean().sqrt()
    true = torch.tensor([f.value for f in found]).std()
    assert float(stated / true) == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("shape", ["cubic", "gaussian"])
def test_kernel_tells_noise_from_data(shape) -> None:
    x, y, noise = draw(200, 16), draw(200, 16, 1), 3 * draw(200, 16, 2)
    near, far = kernel(x, y, shape=shape), kernel(x, noise, shape=shape)
    assert abs(near.value) < 3 * near.error
    assert far.value > 10 * far.error and far.value > 20 * abs(near.value)


def test_kernel_over_subsets() -> None:
    x, y = draw(100, 8), draw(120, 8, 1) + 0.5
    rng = torch.Generator().manual_seed(0)
    value, error = kernel(x, y, subsets=50, size=40, rng=rng)
    assert value == pytest.approx(kernel(x, y).value, abs=4 * error) and error > 0
    again = kernel(x, y, subsets=50, size=40, rng=torch.Generator().manual_seed(0))
    assert (value, error) == again
    whole = kernel(x, y[:100], subsets=1, size=100, rng=rng)
    assert whole == pytest.approx(kernel(x, y[:100]), rel=1e-9)
    with pytest.raises(MultigenError, match="subsets, size and rng together"):
        kernel(x, y, subsets=3)
    with pytest.raises(MultigenError, match="size from 2 to 100"):
        kernel(x, y, subsets=3, size=101, rng=rng)


# --- parity -------------------------------------------------------------------------------------------------------


class Same(torch.nn.Module):
    """Features are the media: lets the field's tools take ours."""

    num_features = 24

    def forward(self, media: Tensor) -> Tensor:
        return media


def test_parity_with_torchmetrics() -> None:
    fid = pytest.importorskip("torchmetrics.image.fid")
    kid = pytest.importorskip("torchmetrics.image.kid")
    x, y = draw(150, 24).float(), (draw(150, 24, 1) * 1.3 + 0.4).float()
    theirs = fid.FrechetInceptionDistance(feature=Same(), input_img_size=(24,)).set_dtype(torch.float64)
    their_kid = kid.KernelInceptionDistance(feature=Same(), subsets=1, subset_size=150)
    for metric in (theirs, their_kid):
        metric.update(x, real=True)
        metric.update(y, real=False)
    assert frechet(moments(x), moments(y)) == pytest.approx(float(theirs.compute()), rel=1e-3)
    assert kernel(x, y).value == pytest.approx(float(their_kid.compute()[0]), rel=1e-3)


# --- precision, recall, density, coverage -------------------------------------------------------------------------


def test_prdc_of_points_on_a_line() -> None:
    real = torch.tensor([[0.0], [1], [2], [10]])  # balls of k = 1: radii 1, 1, 1, 8
    fake = torch.tensor([[0.5], [1.5], [30]])  # radii 1, 1, 28.5
    # 0.5: in the balls of 0 and 1; 1.5: of 1 and 2; 30: in none (10 reaches 2 to 18).
    found = prdc(real, fake, k=1)
    assert found.precision == pytest.approx(2 / 3)
    assert found.density == pytest.approx(4 / 3)
    assert found.coverage == pytest.approx(3 / 4)
    assert (
        found.recall == 1
    )  # 30 reaches back to 1.5: 2 and 10 are inside, 0 and 1 in the balls of 0.5 and 1.5


def test_prdc_of_sets_that_are_alike_and_of_noise() -> None:
    x, y = draw(400, 4), draw(400, 4, 1)
    alike = prdc(x, y)
    assert min(alike.precision, alike.recall, alike.coverage) > 0.9
    assert alike.density == pytest.approx(1, abs=0.1)
    assert prdc(x, y + 100) == (0, 0, 0, 0)


def test_mode_collapse_has_low_recall_and_coverage() -> None:
    real = torch.cat([draw(100, 4, s) + 20 * s for s in range(4)])
    fake = draw(400, 4, 9)  # one mode of four
    found = prdc(real, fake)
    assert found.precision > 0.9 and found.recall < 0.3 and found.coverage < 0.3


def test_prdc_across_chunks(monkeypatch) -> None:
    x, y = draw(90, 4), draw(70, 4, 1) + 0.5
    whole = prdc(x, y), kernel(x, y), neighbours(y, x, 3)
    monkeypatch.setattr("multigen.evaluation.distances.rows.CHUNK", 16)
    assert prdc(x, y) == whole[0]
    assert kernel(x, y) == pytest.approx(whole[1], rel=1e-9)
    assert torch.equal(neighbours(y, x, 3)[1], whole[2][1])


def test_prdc_of_equal_rows() -> None:
    """A set of one picture over and over, far from 0: radii of 0 still hold their own rows."""
    same = draw(1, 8).expand(20, 8) + 1e4
    assert prdc(same, same)[:2] == (1, 1)


# --- Inception Score ----------------------------------------------------------------------------------------------


def test_inception_score() -> None:
    sure = torch.eye(5, dtype=torch.float64).repeat(8, 1)
    assert inception_score(sure) == pytest.approx((5, 0), abs=0.05)
    assert inception_score(sure).value == pytest.approx(5, rel=1e-9)
    assert inception_score(torch.full((40, 5), 0.2)).value == pytest.approx(1)
    p = draw(60, 5).softmax(1)
    kl = (p * (p / p.mean(0)).log()).sum(1).mean()
    value, error = inception_score(p)
    assert value == pytest.approx(math.exp(float(kl)), rel=1e-9)
    halves = [inception_score(p[:30]).value, inception_score(p[30:]).value]
    split = inception_score(p, splits=2)
    assert split.value == pytest.approx(sum(halves) / 2)
    assert split.error == pytest.approx(abs(halves[0] - halves[1]) / 2)
    assert 0 < error < 0.2
    with pytest.raises(MultigenError, match="summing to 1"):
        inception_score(draw(20, 3))


def test_inception_scores_error_is_true() -> None:
    found = [inception_score((2 * draw(80, 6, s)).softmax(1)) for s in range(200)]
    true = torch.tensor([f.value for f in found]).std()
    stated = torch.tensor([f.error for f in found]).mean()
    assert float(stated / true) == pytest.approx(1, abs=0.2)


# --- neighbours ---------------------------------------------------------------------------------------------------


def test_a_memorised_set_is_caught() -> None:
    train, fresh = draw(300, 32) + 50, draw(40, 32, 1) + 50
    copies = torch.cat([train[[7, 100]], fresh])
    distances, indices = neighbours(copies, train)
    assert distances[:2, 0].tolist() == [0, 0] and indices[:2, 0].tolist() == [7, 100]
    own, _ = neighbours(train, train, exclude_self=True)
    assert float(distances[2:].min()) > 0.8 * float(own.min()) > 0


def test_neighbours_in_order() -> None:
    bank = torch.tensor([[0.0, 0], [3, 4], [0, 1], [6, 8]])
    distances, indices = neighbours(torch.zeros(1, 2), bank, k=3)
    assert distances.tolist() == [[0, 1, 5]] and indices.tolist() == [[0, 2, 1]]
    distances, indices = neighbours(bank, bank, exclude_self=True)
    assert indices[:, 0].tolist() == [2, 2, 0, 1] and distances[3, 0] == 5
    with pytest.raises(MultigenError, match="k 4 is not allowed. Allowed: 1 to 3"):
        neighbours(bank, bank, k=4, exclude_self=True)


# --- bad input ----------------------------------------------------------------------------------------------------


def test_bad_features_are_refused() -> None:
    x = draw(10, 4)
    with pytest.raises(MultigenError, match="width 4 cannot be compared with features of width 5"):
        kernel(x, draw(10, 5))
    with pytest.raises(MultigenError, match="width 4 cannot be compared with features of width 5"):
        frechet(moments(x), moments(draw(10, 5)))
    with pytest.raises(MultigenError, match="not finite"):
        moments(torch.full((3, 2), math.nan))
    with pytest.raises(MultigenError, match="1 rows are too few. Allowed: 2"):
        moments(x[:1])
    with pytest.raises(MultigenError, match="5 rows are too few. Allowed: 6"):
        prdc(x, x[:5])
    with pytest.raises(MultigenError, match="Allowed: \\[rows, width\\]"):
        moments(x[None])
