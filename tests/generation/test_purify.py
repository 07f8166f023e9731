"""A source that is noised and denoised before it conditions: what was hidden in it goes, and what is kept stays."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from multigen.core import masks
from multigen.core.noise import Noise
from multigen.core.samplers import ddim, polish_time
from multigen.core.schedules import flow
from multigen.errors import MultigenError
from multigen.generation.edit import EditPlan
from multigen.generation.phase import Phase
from multigen.generation.plan import plan
from multigen.generation.purify import purified
from multigen.generation.request import EditRequest, Request
from tests.generation.test_edit import MODELS, prompt, source
from tests.generation.test_masked import masked
from tests.model.test_model import counted, small, steady


def test_a_perturbation_is_gone_where_the_denoiser_knows_the_data() -> None:
    """Data are -1 and 1 in each place: E[x0 | x] = tanh(alpha x/sigma^2). A source 0.2 beside them comes back there."""
    schedule = flow()
    signs = torch.randint(0, 2, (1, 1, 400), generator=torch.Generator().manual_seed(0)).float() * 2 - 1
    bent = signs + 0.2 * torch.randn(signs.shape, generator=torch.Generator().manual_seed(1)).sign()
    t = polish_time(schedule, 0.25)
    ts = torch.linspace(float(t), 0, 9, dtype=torch.float64)
    edit = cast(EditPlan, SimpleNamespace(x0=bent, purifying=ts))
    parts = cast(Any, SimpleNamespace(denoiser=SimpleNamespace(schedule=schedule)))
    walk = purified(parts, ddim, edit, Noise([5], (1, 400), torch.device("cpu")))
    try:
        query = next(walk)
        while True:
            alpha, sigma = (float(level) for level in schedule(query.t.double().reshape(1)))
            query = walk.send(torch.tanh(query.x * alpha / max(sigma, 1e-6) ** 2))
    except StopIteration as end:
        made: Tensor = end.value
    assert (bent - signs).abs().mean() > 0.19
    assert (made - signs).abs().mean() < 0.02


@pytest.mark.parametrize("name", MODELS)
def test_what_is_kept_is_identical_and_the_rest_hears_the_purified_source(name: str) -> None:
    """The same edit with another seed of purification alone would differ: what conditions is not the source."""
    model = small(name)
    media, keep = source(name)
    asked: dict[str, Any] = {"keep": keep, "feather": 0, "steps": 2, "seed": 3}
    plain = model.edit(media, prompt(name), **asked)[0].tensor
    pure = model.edit(media, prompt(name), purify=0.5, **asked)[0].tensor
    n = min(pure.shape[1], media.shape[1])  # a mel codec rounds the length down to whole frames
    kept = keep[:n].expand(media.shape[0], *keep[:n].shape)
    assert torch.equal(pure[:, :n][kept], media[:, :n][kept])
    assert (pure[:, :n][~kept] - plain[:, :n][~kept]).abs().mean() > 1e-3


def test_it_is_the_same_in_any_batch_and_its_calls_are_counted() -> None:
    model = steady(small("image_digits"))
    media, keep = source("image_digits")
    calls = counted(model)
    cases: tuple[dict[str, Any], ...] = ({}, {"keep": keep}, {"invert": "3"})
    for more in cases:
        edit: dict[str, Any] = {"purify": 0.5, "steps": 3, "guidance_scale": 1.0, **more}
        four = model.edit(media, "3", n=4, seed=10, batch=4, **edit)
        calls.clear()
        alone = model.edit(media, "3", n=1, seed=12, **edit)[0]
        torch.testing.assert_close(four[2].tensor, alone.tensor, rtol=0, atol=1e-5)
        assert not torch.equal(four[1].tensor, four[2].tensor)
        request = Request("3", steps=3, guidance_scale=1.0, edit=EditRequest(media, purify=0.5, **more))
        assert sum(calls) == plan(model, request).calls


def test_longer_media_are_purified_in_windows() -> None:
    model = small("image_digits")
    wide = 0.2 * torch.rand(1, 28, 70, generator=torch.Generator().manual_seed(0))
    made = model.edit(wide, "3", steps=2, purify=0.3, sliding_window=True)[0].tensor
    assert made.shape == wide.shape
    assert torch.isfinite(made).all()


@pytest.mark.parametrize("name", ["image_digits", "audio_music", "image_latent"])
def test_a_network_with_a_mask_channel_never_sees_the_source_itself(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is known to it while the source is purified; then what is kept of the purified source."""
    model, grids = masked(name, monkeypatch)
    media, keep = source(name)
    pure: list[Tensor] = []
    known = Phase.source

    def noted(self: Phase, edit: EditPlan) -> Tensor:
        x0 = known(self, edit)
        pure.append(x0)
        return x0

    monkeypatch.setattr(Phase, "source", noted)
    model.edit(media, "", keep=keep, steps=2, purify=0.5, seed=1)
    request = Request("", steps=2, edit=EditRequest(media, keep=keep, purify=0.5))
    planned = plan(model, request).edit
    assert planned is not None and planned.keep is not None and planned.purifying is not None
    blind = [g for g in grids if g[:, : model.codec.mask_width].sum() == 0]
    told = [g for g in grids if g[:, : model.codec.mask_width].sum() > 0]
    assert blind and told
    assert [g.shape[0] > 0 and bool(g[:, : model.codec.mask_width].sum()) for g in grids] == (
        [False] * len(blind) + [True] * len(told)
    )  # first the one, then the other
    wanted = masks.mask_channels(pure[0], planned.keep.cpu())
    for g in told:
        for row in g:
            torch.testing.assert_close(row, wanted[0], rtol=0, atol=1e-6)
    assert (pure[0] - planned.x0)[..., planned.keep].abs().mean() > 1e-3


def test_levels_that_the_schedule_lacks_are_refused() -> None:
    model = small("image_digits")
    media, _ = source("image_digits")
    for level in (0.0, -1.0, 1e9, float("nan")):
        with pytest.raises(MultigenError, match="purify"):
            model.edit(media, "3", purify=level)
    with pytest.raises(MultigenError, match="purify: it does not go with restore"):
        model.edit(media, "3", purify=0.3, restore="blur")
    with pytest.raises(MultigenError, match="purify"):
        model.edit(media, "3", purify="much")  # type: ignore[arg-type]
