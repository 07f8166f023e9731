"""Tiles and loops: no end differs from any other place, alone and in mixed batches, and edits keep that."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from multigen.errors import MultigenError
from multigen.generation.plan import plan
from multigen.generation.request import EditRequest, Request
from multigen.model.model import Model
from multigen.recipe.sections import WeightedAdapter
from multigen.runs.sample_manifest import facts as request_facts
from tests.model.test_model import SMALL, small, steady

FINE = [*SMALL["image_digits"], "codec.unshuffle=1"]


@pytest.fixture(scope="module")
def digits() -> Model:
    """One pixel for each place of model space: an untrained network's blocks of pixels have seams of their own."""
    return small("image_digits", FINE)


@pytest.fixture(scope="module")
def music() -> Model:
    return small("audio_music")


def seam(media: Tensor, axis: int, every: int = 1) -> float:
    """The mean difference across the ends, over that between neighbours elsewhere, `every` so many columns."""
    steps = (media - media.roll(1, axis)).abs().movedim(axis, 0).flatten(1).mean(1)[::every]
    return float(steps[0] / steps[1:].mean())


def many(model: Model, n: int = 16, **how: object) -> Tensor:
    return torch.stack([m.tensor for m in model.generate("3", n=n, seed=5, steps=2, **how)])  # type: ignore[arg-type]


def test_the_seam_is_like_every_other_column(digits: Model) -> None:
    """What an untrained network makes is another at its borders, where it sees zeros."""
    plain = many(digits)
    tiles = many(digits, tile="xy")
    assert max(abs(seam(tiles, -1) - 1), abs(seam(tiles, -2) - 1)) < 0.15
    assert max(seam(plain, -1), seam(plain, -2)) < 0.8
    across = many(digits, tile="x")
    assert abs(seam(across, -1) - 1) < 0.15 and seam(across, -2) < 0.8
    torch.testing.assert_close(many(digits, n=1, tile=True), tiles[:1], rtol=0, atol=1e-4)


def test_a_panorama_in_windows_closes_in_both_ways(digits: Model) -> None:
    """Along the wide axis windows go round; along the other the network does."""
    asked = Request("3", size=(28, 84), sliding_window=True, tile="xy")
    made = plan(digits, asked).circles
    assert made.windows == (-1,) and made.network.axes == (-2,)
    wide = many(digits, n=4, size=(28, 84), sliding_window=True, tile="xy")
    assert abs(seam(wide, -1) - 1) < 0.25 and abs(seam(wide, -2) - 1) < 0.25


def test_networks_that_know_places_are_made_in_windows_that_go_round() -> None:
    model = steady(small("image_digits", FINE))  # whose wrapper says nothing of circles
    assert plan(model, Request("3", tile="x")).circles.windows == (-1,)
    tiles, open_ = many(model, n=8, tile="x"), many(model, n=8)
    assert seam(open_, -1) < 0.8 and abs(seam(tiles, -1) - 1) < 0.15
    globe = plan(model, Request("3", tile="globe")).circles
    assert globe.windows == (-1,) and globe.poles and not globe.network


def across_poles(media: Tensor) -> float:
    """The mean difference between the two sides of a pole, next to it, over that of neighbouring rows elsewhere."""
    near = torch.cat([media[..., :1, :], media[..., -1:, :]], -2)
    over = (near - near.roll(media.shape[-1] // 2, -1)).abs().mean()
    return float(over / media.diff(dim=-2).abs().mean())


@pytest.mark.parametrize("size", [(28, 56), pytest.param((56, 112), marks=pytest.mark.slow)])
def test_a_panorama_that_is_larger_than_the_model_goes_on_beyond_its_poles(
    digits: Model, size: tuple[int, int]
) -> None:
    """In windows: on both sides of a pole, and of the seam, neighbours are like neighbours elsewhere."""
    how: dict[str, object] = {"n": 4, "size": size, "sliding_window": True}
    circles = plan(digits, Request("3", size=size, sliding_window=True, tile="globe")).circles
    assert circles.poles and -1 in circles.windows
    globes, open_ = many(digits, tile="globe", **how), many(digits, tile="x", **how)
    assert abs(across_poles(globes) - 1) < 0.35 < abs(across_poles(open_) - 1)
    assert abs(seam(globes, -1) - 1) < 0.3


def test_tiles_beside_others_are_as_alone(digits: Model) -> None:
    medium = torch.rand(1, 28, 28) * 2 - 1
    requests = [
        Request("3", seed=1, steps=3),
        Request("3", seed=1, steps=3, tile="xy"),
        Request("5", seed=2, steps=2, tile="x"),
        Request("5", seed=2, steps=2, tile="globe"),
        Request("7", seed=3, steps=3, tile="xy", edit=EditRequest(medium, strength=0.7)),
    ]
    made = dict(digits.batcher(requests))
    for place, request in enumerate(requests):
        ((_, alone),) = digits.batcher([request])
        torch.testing.assert_close(made[place].tensor, alone.tensor, rtol=0, atol=2e-3)
    assert (made[0].tensor - made[1].tensor).abs().max() > 0.1
    assert (made[2].tensor - made[3].tensor).abs().max() > 0.05


def test_an_edited_tile_stays_one(digits: Model) -> None:
    """Its sides are seen whole, brought to the model's size and back as those of a circle."""
    (tile,) = digits.generate("3", seed=1, steps=2, tile="xy")
    large = torch.nn.functional.interpolate(
        tile.tensor.repeat(1, 3, 3)[None], scale_factor=2, mode="bicubic"
    ).clamp(-1, 1)[0, :, 56:112, 56:112]
    for medium, side in ((tile.tensor, 28), (large, 56)):
        edited = digits.edit(medium, "7", tile="xy", strength=0.9, steps=2, seed=2, n=12)
        made = torch.stack([m.tensor for m in edited])
        assert made.shape == (12, 1, side, side)
        every = side // 28  # pixels between those that were made are interpolated
        assert max(abs(seam(made, axis, every) - 1) for axis in (-1, -2)) < 0.2
    turned = torch.roll(tile.tensor, (8, 12), (-2, -1))
    request = Request("7", tile="xy", edit=EditRequest(turned, strength=0.5))
    assert torch.equal(plan(digits, request).edit.x0[0], turned)  # type: ignore[union-attr]


def test_latents_of_tiles_are_decoded_and_encoded_as_circles() -> None:
    model = small("image_latent", SMALL["image_latent"])
    from multigen.core.circles import Closed
    from multigen.generation.circles import decode_circle, encode_circle

    closed = Closed((-1, -2))
    x = torch.randn(model.codec.shape(model.modality.shape()))
    n = model.modality.shape()[-1] // x.shape[-1]
    with torch.no_grad():
        made, turned = (decode_circle(model.codec, y, closed, 0) for y in (x, x.roll((1, 2), (-2, -1))))
        torch.testing.assert_close(turned, made.roll((n, 2 * n), (-2, -1)), rtol=0, atol=0.05)
        there, back = (
            encode_circle(model.codec, m[None], closed) for m in (made, made.roll((n, 2 * n), (-2, -1)))
        )
        torch.testing.assert_close(back, there.roll((1, 2), (-2, -1)), rtol=0, atol=0.05)


@pytest.mark.parametrize(
    ("seconds", "windows"),
    [
        (1.0, ()),  # in one piece: its convolutions go round
        (3.0, (-1,)),
    ],
)
def test_a_sound_loops_in_whole_steps(music: Model, seconds: float, windows: tuple[int, ...]) -> None:
    asked = Request("", duration=seconds, loop=True, sliding_window=bool(windows))
    made = plan(music, asked)
    assert made.circles.windows == windows
    assert made.media[1] % 512 == 0 and made.shape[1] % music.denoiser.backbone.circle_multiple(-1) == 0
    assert seconds * 22050 <= made.media[1] < seconds * 22050 + 4 * 512
    assert plan(music, dataclasses.replace(asked, loop=False, tile=True)).circles == made.circles


def test_a_sound_that_loops_has_no_click(music: Model) -> None:
    made = [m.tensor[0] for m in music.generate("", n=3, seed=1, steps=2, duration=1.0, loop=True)]
    for sound in made:
        steps = (sound - sound.roll(1)).abs()
        assert float(steps[0]) <= float(steps.quantile(0.99))


@pytest.mark.parametrize(
    ("name", "asked", "said"),
    [
        ("image_digits", Request("3", loop=True), "loop: a picture has no time; tile closes its sides"),
        ("image_digits", Request("3", tile="z"), "tile: 'z' is not allowed"),
        ("audio_music", Request("", tile="x"), "tile: x is for pictures and videos; loop closes a sound"),
        ("image_digits", Request("3", size=(28, 30), tile="globe"), "tile: globe is not allowed here"),
    ],
)
def test_what_has_no_such_ends_is_refused(name: str, asked: Request, said: str) -> None:
    with pytest.raises(MultigenError, match=said):
        plan(small(name), asked)


def test_the_manifest_says_what_meets(digits: Model) -> None:
    medium = torch.zeros(1, 28, 28)
    for request in (
        Request("3", tile="xy"),
        Request("3", tile="x", sliding_window=True, edit=EditRequest(medium, strength=0.5)),
    ):
        facts = request_facts(request, plan(digits, request), {})
        assert facts.get("edit", facts)["tile"] == request.tile


def test_a_weaker_network_closes_what_the_model_closes(
    digits: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Autoguidance leads away from what it answers: at ends that it does not close it would draw a seam."""
    weak = small("image_digits", FINE)
    seen: list[tuple[bool, object]] = []
    forward = weak.denoiser.forward

    def watched(x: Tensor, t: Tensor, cond: object, **how: object) -> Tensor:
        seen.append((True, how.get("closed")))
        return forward(x, t, cond, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(weak.denoiser, "forward", watched)
    monkeypatch.setattr(digits, "load_denoiser", lambda weights: weak.denoiser)
    guide = {"name": "autoguidance", "weights": "weak", "scale": 3.0}
    tiles, open_ = many(digits, tile="xy", guide=guide), many(digits, guide=guide)
    assert max(abs(seam(tiles, -1) - 1), abs(seam(tiles, -2) - 1)) < 0.15 and seam(open_, -1) < 0.8
    assert seen and any(getattr(closed, "axes", ()) for _, closed in seen)
    monkeypatch.setattr(digits, "load_denoiser", lambda weights: steady(small("image_digits", FINE)).denoiser)
    with pytest.raises(MultigenError, match="the network of weak, by which the guide leads, does not close"):
        plan(digits, Request("3", tile="xy", guide=guide))
    assert plan(
        digits, Request("3", tile="xy", guide={**guide, "scale": 1.0})
    ).circles  # then it is not called


def test_windows_that_a_tile_needs_are_refused_where_none_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that knows places closes a tile in windows alone; a ControlNet and a beginning forbid these."""
    model = steady(small("image_digits", FINE))
    assert plan(model, Request("3", tile="x")).circles.windows == (-1,)
    shown = WeightedAdapter("controlnet.safetensors")
    with monkeypatch.context() as patch:
        patch.setattr(model, "recipe", dataclasses.replace(model.recipe, adapters=(shown,)))
        with pytest.raises(MultigenError, match="made in one piece, not in windows"):
            plan(model, Request("3", tile="x"))
    monkeypatch.setattr(model.denoiser.backbone, "begins", True)
    source = EditRequest(torch.zeros(1, 28, 28), strength=0.7)
    with pytest.raises(MultigenError, match="of its own size of a picture, not windows"):
        plan(model, Request("3", tile="x", edit=source))
