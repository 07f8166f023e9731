"""Views: what a model sees of a medium of another size, and how what it makes goes back."""

from __future__ import annotations

import math

import pytest
import torch

from multigen.core.circles import Closed
from multigen.generation.view import View, _margin, _resized, grown_size, identity, picture_view, time_view

RNG = torch.Generator().manual_seed(0)


def view_of(
    sides: tuple[int, int], model: tuple[int, int], fit: str, keep: torch.Tensor | None = None
) -> View:
    start, length = picture_view(sides, model, fit, keep)
    return View(start, length, model, model)


def test_all_of_a_medium_is_itself() -> None:
    media = torch.rand(3, 8, 10, generator=RNG)
    view = identity((8, 10))
    assert torch.equal(view.seen(media), media)
    assert torch.equal(view.put(-media, media), -media)
    assert view.scale == 1


@pytest.mark.parametrize(
    ("sides", "fit", "start", "length"),
    [
        ((64, 128), "pad", (-32, 0), (128, 128)),
        ((64, 128), "crop", (0, 32), (64, 64)),
        ((64, 128), "stretch", (0, 0), (64, 128)),
        ((50, 63), "pad", (-6, 0), (63, 63)),
        ((1, 1), "pad", (0, 0), (1, 1)),
        ((10, 300), "pad", (-145, 0), (300, 300)),
    ],
)
def test_where_a_view_lies(
    sides: tuple[int, int], fit: str, start: tuple[int, int], length: tuple[int, int]
) -> None:
    assert picture_view(sides, (32, 32), fit, None) == (start, length)


@pytest.mark.parametrize("fit", ["pad", "crop", "stretch"])
@pytest.mark.parametrize("sides", [(50, 63), (2, 2), (1, 1), (65, 65), (31, 200)])
def test_what_is_seen_goes_back_to_where_it_was(sides: tuple[int, int], fit: str) -> None:
    """A smooth picture survives the way there and back where the view is not smaller than a half of it."""
    rows, columns = (torch.linspace(-0.9, 0.9, n) if n > 1 else torch.zeros(1) for n in sides)
    media = torch.stack([rows[:, None].expand(sides), columns[None].expand(sides)])
    view = view_of(sides, (64, 64), fit)
    seen = view.seen(media)
    assert seen.shape == (2, 64, 64)
    back = view.put(seen, torch.full_like(media, 9.0))
    inside = view.inside(sides)
    assert bool((back[:, ~inside] == 9).all())
    # A ramp between pixels i and i + 1 differs by less than one step; edges lose another half.
    step = 1.8 * max(view.scale, 1) / max(min(n for n in sides if n > 1), 1) if max(sides) > 1 else 1e-6
    assert float((back - media)[:, inside].abs().max()) <= 2 * step


def test_a_crop_lies_around_what_is_new_at_the_models_own_scale() -> None:
    keep = torch.ones(512, 512, dtype=torch.bool)
    keep[300:320, 100:130] = False
    start, length = picture_view((512, 512), (64, 64), "crop", keep)
    assert length == (64, 64)
    assert start == (278, 83)
    keep[200:400, 100:130] = False
    start, length = picture_view((512, 512), (64, 64), "crop", keep)
    assert length == (400, 400)  # twice what is new
    assert start[0] <= 200
    assert start[1] <= 100


def test_what_is_new_is_new_in_every_pixel_that_it_touches() -> None:
    keep = torch.ones(128, 128, dtype=torch.bool)
    keep[63:65, 10] = False
    kept = view_of((128, 128), (32, 32), "pad").kept(keep)
    assert (~kept).nonzero().tolist() == [[15, 2], [16, 2]]


def test_the_edges_go_on_beyond_a_picture_and_what_is_kept_with_them() -> None:
    media = torch.rand(1, 4, 8, generator=RNG)
    keep = torch.ones(4, 8, dtype=torch.bool)
    keep[:, 4:] = False
    view = view_of((4, 8), (8, 8), "pad")
    seen, kept = view.seen(media), view.kept(keep)
    assert torch.equal(seen[:, 2:6], media)
    assert torch.equal(seen[:, :2], media[:, :1].expand(-1, 2, -1))
    assert torch.equal(kept, keep[:1].expand(8, 8))


def test_a_sound_is_padded_with_silence() -> None:
    view = View((0,), (5,), (5,), (8,))
    seen = view.seen(torch.ones(1, 5))
    assert seen.tolist() == [[1, 1, 1, 1, 1, 0, 0, 0]]
    assert view.trimmed(seen).shape == (1, 5)


def test_of_a_long_sound_only_what_is_new_is_seen() -> None:
    keep = torch.ones(1000, dtype=torch.bool)
    keep[600:620] = False
    assert time_view(1000, 100, keep) == (550, 120)
    assert time_view(1000, 100, None) == (0, 1000)
    assert time_view(80, 100, keep[:80]) == (0, 80)
    keep[600:620], keep[990:] = True, False  # a continuation has its context before it alone
    assert time_view(1000, 100, keep) == (900, 100)


def test_what_is_added_is_made_at_the_pictures_own_scale() -> None:
    assert grown_size((96, 96), (64, 64), (64, 64)) == (96, 96)
    assert grown_size((768, 768), (512, 512), (64, 64)) == (96, 96)
    assert grown_size((28, 28), (20, 20), (28, 28)) == (28, 28)
    assert grown_size((300, 512), (300, 512), (64, 64)) == (64, 64)


@pytest.mark.parametrize(
    ("side", "size", "margins"),
    [
        (28, 28, (4, 4)),
        (56, 28, (8, 4)),
        (28, 56, (4, 8)),
        (20, 30, (4, 6)),
        (21, 28, (6, 8)),
        (29, 31, (29, 31)),
    ],
)
def test_margins_of_tiles_are_whole_on_both_sides(side: int, size: int, margins: tuple[int, int]) -> None:
    """At least the four pixels that bicubic interpolation reaches, at the same scale before and after."""
    before, after = _margin(side, size)
    assert (before, after) == margins
    assert before * size == after * side and before <= side
    assert before >= min(4 * max(1, side / size), side)


@pytest.mark.parametrize(("side", "size"), [(20, 30), (30, 20), (21, 28), (56, 28)])
def test_a_turned_tile_is_resized_to_a_turned_one(side: int, size: int) -> None:
    """No end differs from any other place."""
    media = torch.rand(1, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1
    common = math.gcd(side, size)
    before, after = side // common, size // common
    made = _resized(media, (size, size), Closed((-1, -2)))
    for k in (1, common // 2):
        turned = _resized(media.roll((k * before, before), (-1, -2)), (size, size), Closed((-1, -2)))
        torch.testing.assert_close(turned, made.roll((k * after, after), (-1, -2)), rtol=0, atol=1e-5)
    assert (_resized(media, (size, size), Closed()) - made).abs().max() > 0.01  # open ends do differ
