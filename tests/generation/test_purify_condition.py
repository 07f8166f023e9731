"""A condition that is noised and denoised by the model first: what was hidden in it does not reach what is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from multigen.errors import MultigenError
from multigen.generation.plan import plan
from multigen.generation.request import EditRequest, Request
from multigen.modalities.audio import Audio
from multigen.modalities.media import Media
from multigen.modalities.video import Video
from multigen.model.model import Model
from tests.model.test_model import counted, small, steady

TINY = ["backbone.widths=[16,32]", "backbone.attention=[false,true]", "weights=null"]
MODELS: Mapping[str, list[str]] = {
    "image_control": [
        "modality.size=32",
        "conditioner.source.size=32",
        "train.init=null",
        "sample.polish.passes=0",
    ],
    "audio_music": [
        "modality.seconds=1.5",
        "sample.duration=null",
        "conditioner.name=media",
        "conditioner.source={name: audio, rate: 16000, seconds: 1.5}",
        "conditioner.extract=[{name: bands}, {name: onsets}]",
    ],
}


def model_of(name: str) -> Model:
    return small(name, [*TINY, *MODELS[name]])


def condition_of(name: str, seed: int = 0) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    if name == "image_control":
        return torch.rand(3, 32, 32, generator=rng) * 2 - 1
    return 0.3 * torch.randn(1, 24000, generator=rng)


@pytest.mark.parametrize("name", MODELS)
def test_it_is_what_the_purified_medium_gives_as_a_condition(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of(name)
    pure: list[Media] = []
    inner = model.conditioner.with_pure

    def noted(options: Mapping[str, Any], medium: Media) -> Mapping[str, Any]:
        pure.append(medium)
        return inner(options, medium)

    monkeypatch.setattr(model.conditioner, "with_pure", noted)
    asked: dict[str, Any] = {"steps": 2, "seed": 7, "guidance_scale": 2.0}
    dirty = condition_of(name)
    made = model.generate(options={"condition": dirty, "purify_condition": 0.5}, **asked)[0]
    assert len(pure) == 1 and pure[0].tensor.shape == dirty.shape
    assert (pure[0].tensor - dirty).abs().mean() > 1e-3
    again = model.generate(options={"condition": pure[0]}, **asked)[0]
    torch.testing.assert_close(made.tensor, again.tensor, atol=1e-4, rtol=0)
    plain = model.generate(options={"condition": dirty}, **asked)[0]
    assert (made.tensor - plain.tensor).abs().mean() > 1e-4


def test_what_was_hidden_is_gone_where_the_model_knows_one_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """E[x0 | x] of data that are one picture is that picture, whatever x is: of two conditions the same remains."""
    model = model_of("image_control")
    true = 0.5 * condition_of("image_control", 5)
    known = model.codec.encode(true[None])
    inner = model.denoiser.forward
    purifies = [True]

    def knows(x: Tensor, t: Tensor, cond: Any, *args: Any, **more: Any) -> Tensor:
        return known.expand_as(x) if purifies[0] else inner(x, t, cond, *args, **more)

    monkeypatch.setattr(model.denoiser, "forward", knows)
    found: list[Tensor] = []
    replaced = model.conditioner.with_pure

    def noted(options: Mapping[str, Any], medium: Media) -> Mapping[str, Any]:
        found.append(medium.tensor)
        purifies[0] = False
        return replaced(options, medium)

    monkeypatch.setattr(model.conditioner, "with_pure", noted)
    made = []
    for seed in (1, 2):
        purifies[0] = True
        options = {"condition": condition_of("image_control", seed), "purify_condition": 1.0}
        made.append(model.generate(options=options, steps=2, seed=3)[0].tensor)
    for pure in found:
        torch.testing.assert_close(pure, true, atol=1e-4, rtol=0)
    torch.testing.assert_close(made[0], made[1], atol=1e-4, rtol=0)


def test_it_is_the_same_in_any_batch_and_its_calls_are_counted() -> None:
    model = steady(model_of("image_control"))
    options = {"condition": condition_of("image_control"), "purify_condition": 0.5}
    calls = counted(model)
    asked: dict[str, Any] = {"steps": 3, "guidance_scale": 1.0}
    four = model.generate(n=4, seed=10, batch=4, options=options, **asked)
    calls.clear()
    alone = model.generate(seed=12, options=options, **asked)[0]
    torch.testing.assert_close(four[2].tensor, alone.tensor, rtol=0, atol=1e-5)
    planned = plan(model, Request(options=options, **asked))
    assert sum(calls) == planned.calls and planned.calls is not None
    assert planned.calls > (
        plan(model, Request(options={"condition": options["condition"]}, **asked)).calls or 0
    )


def test_an_edit_has_its_source_and_its_condition_purified_with_noise_of_their_own() -> None:
    model = model_of("image_control")
    source, options = condition_of("image_control", 1), {"condition": condition_of("image_control")}
    asked: dict[str, Any] = {"steps": 2, "seed": 4, "strength": 0.5}
    both = model.edit(source, purify=0.5, options={**options, "purify_condition": 0.5}, **asked)[0].tensor
    one = model.edit(source, purify=0.5, options=options, **asked)[0].tensor
    assert both.shape == source.shape and torch.isfinite(both).all()
    assert (both - one).abs().mean() > 1e-5
    request = Request(
        steps=2, options={**options, "purify_condition": 0.5}, edit=EditRequest(source, purify=0.5)
    )
    planned = plan(model, request)
    assert planned.cleaning is not None and planned.edit is not None and planned.edit.purifying is not None


def test_a_photo_is_purified_as_the_model_sees_it() -> None:
    model = model_of("image_control")
    photo = torch.rand(3, 70, 50, generator=torch.Generator().manual_seed(0)) * 2 - 1
    made = model.generate(options={"condition": photo, "purify_condition": 0.3}, steps=1)[0]
    assert made.tensor.shape == (3, 32, 32) and torch.isfinite(made.tensor).all()


def test_a_model_of_another_kind_says_that_it_cannot() -> None:
    model = small("audio_for_video", [*TINY, "codec.iterations=2"])
    clip = Media(torch.zeros(3, 16, 32, 32), Video(size=32, frames=16, fps=8.0))
    with pytest.raises(
        MultigenError, match=r"^purify_condition: .* makes audio.* model of video .*multigen edit MODEL"
    ):
        model.generate(options={"condition": clip, "purify_condition": 0.5}, steps=1)


def test_what_a_recipe_says_goes_for_requests_that_have_a_condition() -> None:
    model, there = model_of("image_control"), condition_of("image_control")
    condition, usual = {"condition": there}, ("sample.options={purify_condition: 0.5}",)

    def made(**asked: Any) -> Tensor:
        (medium,) = model.batcher([Request(steps=2, seed=3, **asked)]).in_order()
        return medium.tensor

    said = made(options={**condition, "purify_condition": 0.5})
    assert torch.equal(made(options=condition, overrides=usual), said)
    assert torch.equal(made(overrides=usual), made())


def test_levels_without_a_condition_or_beyond_the_schedule_are_refused() -> None:
    model, there = model_of("image_control"), condition_of("image_control")
    with pytest.raises(MultigenError, match="^purify_condition: it goes with condition$"):
        model.generate(options={"purify_condition": 0.5}, steps=1)
    for level in (0.0, -1.0, 1e9, float("nan")):
        with pytest.raises(MultigenError, match="^purify_condition: .* is not allowed"):
            model.generate(options={"condition": there, "purify_condition": level}, steps=1)
    with pytest.raises(MultigenError, match="purify_condition"):
        model.generate(options={"condition": there, "purify_condition": "much"}, steps=1)
    sound = Media(torch.zeros(1, 800), Audio(rate=16000))
    with pytest.raises(MultigenError, match="condition: audio is not allowed"):
        model.generate(options={"condition": sound, "purify_condition": 0.5}, steps=1)
