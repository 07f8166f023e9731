"""PSNR, SSIM and the log-mel error: known values, and the order that an ear or an eye would give."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from multigen.codecs.fidelity import LogMel, psnr, ssim


def picture(*shape: int) -> torch.Tensor:
    rows, columns = torch.linspace(-1, 1, shape[-2]), torch.linspace(-3, 3, shape[-1])
    return (0.5 * torch.sin(4 * rows)[:, None] + 0.4 * torch.cos(3 * columns)).expand(shape)


def test_psnr_is_relative_to_the_whole_range() -> None:
    x = picture(2, 3, 20, 24)
    copies = torch.stack([x[0] + 0.02, x[1] - 0.2])
    torch.testing.assert_close(psnr(copies, x), torch.tensor([40.0, 20.0]), atol=1e-3, rtol=0)
    assert psnr(x, x).tolist() == [math.inf] * 2


def test_ssim_is_the_published_formula_window_by_window() -> None:
    rng = torch.Generator().manual_seed(0)
    x = picture(1, 1, 16, 18)
    copy = x + 0.2 * torch.randn(x.shape, generator=rng)
    a, b = (np.asarray(one[0, 0], np.float64) for one in (copy, x))
    line = np.exp(-0.5 * ((np.arange(11) - 5) / 1.5) ** 2)
    weight = np.outer(line, line) / line.sum() ** 2
    found = []
    for row in range(16 - 10):
        for column in range(18 - 10):
            p, q = (one[row : row + 11, column : column + 11] for one in (a, b))
            mean_p, mean_q = (weight * p).sum(), (weight * q).sum()
            var_p, var_q = (weight * (p - mean_p) ** 2).sum(), (weight * (q - mean_q) ** 2).sum()
            both = (weight * (p - mean_p) * (q - mean_q)).sum()
            c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
            like = (2 * mean_p * mean_q + c1) * (2 * both + c2)
            found.append(like / ((mean_p**2 + mean_q**2 + c1) * (var_p + var_q + c2)))
    assert ssim(copy, x).item() == pytest.approx(np.mean(found), abs=1e-5)


def test_ssim_is_one_for_equal_media_and_falls_with_blur_and_noise() -> None:
    x = picture(2, 3, 4, 20, 24)
    assert ssim(x, x).tolist() == pytest.approx([1, 1])
    blurred = torch.nn.functional.avg_pool2d(x.flatten(0, 1), 5, 1, 2).unflatten(0, (2, 3))
    noisy = x + 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    assert bool((ssim(noisy, x) < ssim(blurred, x)).all()) and bool((ssim(blurred, x) < 1).all())
    assert ssim(picture(1, 1, 4, 7), picture(1, 1, 4, 7)).item() == pytest.approx(1)


def test_the_log_mel_error_follows_level_and_pitch() -> None:
    t = torch.arange(8000) / 8000
    tone, other = (0.5 * torch.sin(2 * math.pi * f * t)[None, None] for f in (440.0, 880.0))
    error = LogMel(8000)
    assert error(tone, tone).item() == 0
    quieter = error(0.5 * tone, tone).item()
    assert 0 < quieter <= math.log(2) + 1e-4
    assert error(other, tone).item() > 2 * quieter
    both = error(torch.cat([tone, other]), torch.cat([tone, tone]))
    torch.testing.assert_close(both, torch.tensor([0.0, error(other, tone).item()]))
