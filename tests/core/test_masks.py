"""Masks: what training draws, and what a guide's calls see of the known part."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from multigen.core.conditioning import Cond
from multigen.core.guides import Call, Query, cfg
from multigen.core.masks import mask_channels, random_mask, with_mask_channels
from multigen.core.noise import uniform


def test_a_view_holds_the_mask_and_the_known_part() -> None:
    x0 = torch.arange(12.0).view(2, 2, 3) + 1
    keep = torch.tensor([True, False, True])
    assert mask_channels(x0, keep).tolist()[1] == [[1, 0, 1], [7, 0, 9], [10, 0, 12]]
    assert mask_channels(x0, None).abs().sum() == 0
    assert mask_channels(x0, None).shape == (2, 3, 3)


def test_drawn_masks_have_the_stated_shares_and_are_blocks() -> None:
    masks = torch.stack([random_mask((16, 8, 8), uniform((14,), 0, "mask", k)) for k in range(2000)])[:, 0]
    nothing = ~masks.flatten(1).any(1)
    assert not masks.flatten(1).all(1).any()  # there is always something to make
    assert abs(nothing.float().mean() - 0.25) < 0.03
    # Of an unknown block and a known one alike: the block is the product of its shadows on the axes.
    minority = 0
    for m in masks[~nothing]:
        blocks = 0
        for side in (m, ~m):
            lines = [side.any(2).any(1), side.any(2).any(0), side.any(1).any(0)]
            product = lines[0][:, None, None] & lines[1][None, :, None] & lines[2][None, None, :]
            blocks += bool((side == product).all())
        assert blocks >= 1
        minority += blocks == 2  # a cut of one axis at its end is a block on both sides
    assert 0.03 < minority / len(masks) < 0.5
    frames = [m for m in masks[~nothing] if (m.flatten(1).all(1) | ~m.flatten(1).any(1)).all()]
    assert len(frames) > 100  # whole frames are kept or dropped
    assert any(bool(m[0].all() and m[-1].all()) for m in frames)  # the first and the last: what lies between


def test_calls_see_what_is_known() -> None:
    known, keep = torch.randn(1, 2, 6), torch.tensor([True] * 3 + [False] * 3)
    cond, null = Cond(vector=torch.ones(4, 5)), Cond(vector=torch.zeros(1, 5))
    guide = with_mask_channels(cfg(cond, null, scale=2.0), mask_channels(known, keep))

    def asked(x: Tensor) -> list[Call]:
        run = guide(Query(x, torch.tensor(0.5)))
        calls = next(run)
        with pytest.raises(StopIteration) as stop:
            run.send([torch.full_like(c.x, float(k)) for k, c in enumerate(calls)])
        assert torch.equal(stop.value.value, torch.full_like(x, -1.0))  # 1 + 2 (0 - 1)
        return calls

    conditional, unconditional = asked(torch.zeros(4, 2, 6))
    assert conditional.cond.grid is not None and unconditional.cond.grid is not None
    assert torch.equal(conditional.cond.grid, mask_channels(known, keep).expand(4, 3, 6))
    assert torch.equal(unconditional.cond.grid, mask_channels(known, keep))
    assert conditional.cond.vector is cond.vector
    guide = with_mask_channels(cfg(cond, null, scale=2.0), mask_channels(torch.zeros(1, 2, 4), None))
    for call in asked(torch.zeros(4, 2, 4)):
        assert call.cond.grid is not None and call.cond.grid.shape[1:] == (3, 4)
        assert call.cond.grid.abs().sum() == 0
