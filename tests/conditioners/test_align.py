"""Features move to the places of another medium by time and by shares of a picture, exactly where that is exact."""

from __future__ import annotations

import pytest
import torch

from multigen.conditioners.align import align, fold_pixels
from multigen.modalities import HEIGHT, TIME, WIDTH

VIDEO = (TIME, HEIGHT, WIDTH)


def test_as_many_places_change_nothing() -> None:
    x = torch.randn(2, 3, 5, 4, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(align(x, VIDEO, (5, 4, 6), VIDEO), x)


def test_a_ramp_in_time_stays_a_ramp() -> None:
    # Places are middles of steps: a value that is its time in the source is its time in the target.
    source = (torch.arange(16, dtype=torch.float64) + 0.5) / 16
    moved = align(source[None, None], (TIME,), (128,), (TIME,))[0, 0]
    wanted = (torch.arange(128, dtype=torch.float64) + 0.5) / 128
    inner = slice(4, 124)  # half a step of the source at each end repeats its end
    torch.testing.assert_close(moved[inner], wanted[inner])
    back = align(moved[None, None], (TIME,), (16,), (TIME,))[0, 0]
    torch.testing.assert_close(back[1:-1], source[1:-1], atol=1e-3, rtol=0)


def test_coarser_places_average_all_of_the_source() -> None:
    spike = torch.zeros(1, 1, 200)
    spike[..., 77] = 1.0
    coarse = align(spike, (TIME,), (16,), (TIME,))[0, 0]
    assert int(coarse.argmax()) == 77 * 16 // 200
    assert 0 < float(coarse.sum()) <= 1


def test_beyond_the_end_of_a_shorter_condition_nothing_is_said() -> None:
    moved = align(torch.ones(1, 1, 8), (TIME,), (16,), (TIME,), reach=0.5)[0, 0]
    assert moved.tolist() == [1.0] * 8 + [0.0] * 8
    whole = align(torch.ones(1, 1, 8), (TIME,), (4,), (TIME,), reach=2.0)[0, 0]
    assert whole.tolist() == [1.0] * 4


def test_axes_are_repeated_or_averaged() -> None:
    sound = torch.arange(4.0)[None, None]
    onto = align(sound, (TIME,), (4, 2, 3), VIDEO)
    assert onto.shape == (1, 1, 4, 2, 3)
    assert torch.equal(onto[0, 0, :, 1, 2], sound[0, 0])
    picture = torch.arange(6.0).reshape(1, 1, 2, 3)
    assert torch.equal(align(picture, (HEIGHT, WIDTH), (5, 2, 3), VIDEO)[0, 0, 4], picture[0, 0])
    assert float(align(picture, (HEIGHT, WIDTH), (7,), (TIME,))[0, 0, 3]) == pytest.approx(2.5)
    pooled = torch.tensor([[3.0]])
    assert align(pooled, (), (2, 2), (HEIGHT, WIDTH)).tolist() == [[[[3.0, 3.0], [3.0, 3.0]]]]


def test_pixels_become_channels_without_loss() -> None:
    video = torch.randn(2, 3, 5, 8, 6)
    folded = fold_pixels(video, VIDEO, 2)
    assert folded.shape == (2, 12, 5, 4, 3)
    frame = torch.nn.functional.pixel_unshuffle(video[1, :, 2], 2)
    assert torch.equal(folded[1, :, 2], frame)


def test_an_axis_without_a_meaning_is_refused() -> None:
    with pytest.raises(ValueError, match="depth.*Allowed: time, height, width"):
        align(torch.zeros(1, 1, 2), ("depth",), (2,), (TIME,))
