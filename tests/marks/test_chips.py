from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from multigen.marks import pictures, sounds
from multigen.marks.chips import chips_of, decoded, hadamard, log_tail, turned
from tests.marks.drawn import KEY, picture, tune


def keys(count: int) -> list[bytes]:
    return [b"wrong key number" + bytes([k // 256, k % 256]) for k in range(count)]


def test_chips_follow_the_key_and_do_not_depend_on_how_many_there_are() -> None:
    few, many = chips_of(KEY, "image", 32, 3, 20), chips_of(KEY, "image", 32, 5, 40)
    assert torch.equal(few.signs.view(3, 20), many.signs.view(5, 40)[:3, :20])
    assert torch.equal(few.columns.view(3, 20), many.columns.view(5, 40)[:3, :20])
    other = chips_of(KEY[::-1], "image", 32, 5, 40)
    assert abs(float((other.signs * many.signs).mean())) < 5 / math.sqrt(200)


def test_a_fast_transform_correlates_with_every_word() -> None:
    table = torch.randn(2**16, generator=torch.Generator().manual_seed(0))
    word = torch.tensor([bin(0xBEEF & k).count("1") % 2 for k in range(2**16)])
    assert float(hadamard(table)[0xBEEF]) == pytest.approx(float((table * (1 - 2 * word)).sum()), abs=0.05)
    assert float(hadamard(table)[0]) == pytest.approx(float(table.sum()), abs=0.05)


@pytest.mark.parametrize("payload", [0, 1, 0xDEADBEEF, 2**32 - 1])
def test_the_code_corrects_a_third_of_the_signs(payload: int) -> None:
    chips = chips_of(KEY, "image", 32, 1, 1000)
    seen = turned(chips, payload)
    wrong = torch.rand(1000, generator=torch.Generator().manual_seed(payload % 97)) < 1 / 3
    found, total = decoded(torch.where(wrong, -seen, seen) * chips.signs, chips, 32)
    assert found == payload
    assert total == 1000 - 2 * int(wrong.sum())


def test_beyond_what_it_corrects_the_code_is_wrong() -> None:
    chips = chips_of(KEY, "image", 32, 1, 1000)
    noise = torch.randn(1000, generator=torch.Generator().manual_seed(1))
    assert decoded(noise, chips, 32)[0] != 0xDEADBEEF


def test_the_tail_is_over_that_of_the_normal_distribution_and_goes_on_where_floats_end() -> None:
    for score in (1.0, 4.75, 8.0, 29.9):
        assert log_tail(score) == pytest.approx(
            min(0.0, stats.norm.logsf(score) + math.log(3.1787)), rel=1e-6
        )
    assert log_tail(60.0) == pytest.approx(stats.norm.logsf(60.0) + math.log(3.1787), rel=1e-3)
    assert log_tail(5.0, 100.0) == pytest.approx(log_tail(5.0) + math.log(100))
    assert log_tail(-3.0) == 0.0


def test_of_few_coefficients_the_tail_is_over_the_exact_probability() -> None:
    weights = torch.tensor([0.8, 0.5, 0.25, 0.2, 0.1, 0.05])
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 6)
    sums = (signs * weights / weights.norm()).sum(1)
    for score in sums.unique().tolist():
        assert float((sums >= score - 1e-6).float().mean()) <= math.exp(log_tail(score)) + 1e-9


def test_scores_of_wrong_keys_are_as_claimed_on_a_picture() -> None:
    view = next(iter(pictures.views((64, 64))))
    left = pictures.residual(pictures.luminance(picture()), view.window)
    (seen,) = pictures.coefficients(left, view, pictures.BANDS[0])
    seen = seen / seen.norm()
    chips = [pictures.chips_in(key, "image", 32, view.whole, pictures.BANDS[0]) for key in keys(2000)]
    scores = torch.stack([(seen * one.signs).sum() for one in chips])
    assert stats.kstest(scores.numpy(), "norm").pvalue > 0.01
    payloads = torch.stack([(seen * turned(one, 12345)).sum() for one in chips])
    assert stats.kstest(payloads.numpy(), "norm").pvalue > 0.01


def test_scores_of_wrong_keys_are_as_claimed_on_a_sound() -> None:
    lines = sounds.folded(tune(3.0)[0], 16_000)
    seen = torch.view_as_real(lines).flatten()
    seen = seen / seen.norm()
    chips = [chips_of(key, "audio", 32, 1, len(seen), fixed=True) for key in keys(600)]
    scores = torch.stack([(seen * one.signs).sum() for one in chips])
    assert stats.kstest(scores.numpy(), "norm").pvalue > 0.01
