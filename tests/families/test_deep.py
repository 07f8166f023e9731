"""Deep features of diffusers' networks: a shallow call with what a full one kept answers what the full one does."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from multigen.core import Denoiser
from multigen.core.deep import Deep
from multigen.errors import RecipeError
from multigen.model.model import Model
from multigen.model.source import find
from tests.families.test_families import Loaded, latents, opened

import diffusers  # isort: skip  # after tests.families.folders, which makes torchaudio importable

# U-Nets of pictures, of pictures in pixels, of sound, of videos; transformers of pictures, videos and sound.
NETS = (
    "stable diffusion xl",
    "unconditional",
    "audioldm 2",
    "modelscope",
    "animatediff",
    "stable video diffusion",
)
TRANSFORMERS = {
    "stable diffusion 3": {"num_layers": 4},
    "flux": {"num_layers": 2, "num_single_layers": 2},
    "wan": {"num_layers": 4},
    "ltx": {"num_layers": 4},
    "stable audio": {"num_layers": 3},
}


@pytest.fixture(scope="module", params=[*NETS, *TRANSFORMERS])
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    found = opened(request.param, tmp_path_factory.mktemp("deep"))
    if request.param not in TRANSFORMERS:
        return found
    place = found.folder / "transformer"
    config = json.loads((place / "config.json").read_text())
    kind: Any = getattr(diffusers, config["_class_name"])
    torch.manual_seed(0)
    kind.from_config({**config, **TRANSFORMERS[request.param]}).save_pretrained(place)
    deeper = dataclasses.replace(find(found.folder).recipe, modality=found.model.recipe.modality)
    return dataclasses.replace(found, model=Model.of(find(found.folder), deeper, device="cpu"))


def first_call(loaded: Loaded) -> tuple[Any, ...]:
    """What the denoiser is asked first."""
    seen: list[tuple[Any, ...]] = []
    handle = loaded.model.denoiser.register_forward_pre_hook(lambda _, args: seen.append(args))
    try:
        latents(loaded.model, [loaded.request(steps=2, cache="off")])
    finally:
        handle.remove()
    return seen[0]


@torch.no_grad()
def test_a_shallow_call_with_its_own_features_answers_as_the_full_one(loaded: Loaded) -> None:
    denoiser: Denoiser = loaded.model.denoiser
    x, t, cond = first_call(loaded)
    assert denoiser.backbone.outermost > 0
    full, keep = denoiser(x, t, cond), Deep((1,))
    assert torch.equal(denoiser(x, t, cond, deep=keep), full)
    shallow = denoiser(x, t, cond, deep=Deep((1,), keep.kept[1]))
    # A residual that is added again rounds otherwise.
    torch.testing.assert_close(shallow, full, rtol=0, atol=1e-5 * float(full.abs().max()))
    other = denoiser(x, t, cond, deep=Deep((1,), tuple(2 * one for one in keep.kept[1])))
    assert not torch.allclose(other, full, rtol=0, atol=1e-3 * float((full - x).abs().max()))
    assert torch.equal(denoiser(x, t, cond), full)  # nothing is left on the network


def test_requests_with_and_without_a_cache_share_a_driver(loaded: Loaded) -> None:
    cached = {"name": "deep", "every": 2}
    ways = ("off", cached, {"name": "deep", "every": 1})
    requests = [loaded.request(seed=3, steps=3, cache=how) for how in ways]
    alone = [latents(loaded.model, [request]) for request in requests]
    assert torch.equal(alone[0], alone[2])
    assert not torch.equal(alone[0], alone[1])
    together = latents(loaded.model, requests, batch=3)
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-4 * float(together.abs().max()))


def test_two_networks_that_take_turns_are_refused(tmp_path: Path) -> None:
    loaded = opened("wan 2.2", tmp_path)
    with pytest.raises(RecipeError, match=r"sample\.cache \(deep\): outer=1 is not allowed"):
        latents(loaded.model, [loaded.request(cache="deep")])
    assert (
        latents(loaded.model, [loaded.request(cache="guidance", guidance_scale=3.0, steps=2)])
        .isfinite()
        .all()
    )
