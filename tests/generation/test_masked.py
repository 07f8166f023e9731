"""A network with a mask channel: it learns to look at what is known, and every edit gives it that."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor

from multigen.backbones.unet import UNet
from multigen.conditioners import Conditioner
from multigen.core import Backbone, Cond, CondSpec, Denoiser, masks
from multigen.core.circles import OPEN, Closed
from multigen.core.noise import normal
from multigen.core.predictions import x0 as x0_prediction
from multigen.core.schedules import flow
from multigen.datasets import Item
from multigen.generation import informed
from multigen.model.load import load
from multigen.model.model import Model
from multigen.recipe.schema import Train
from multigen.training.diffusion import Diffusion
from multigen.training.examples import Examples
from tests.families.folders import inpainting
from tests.model.test_model import small
from tests.training.toys import Identity, Points


class Twins(Points):
    """Items [1, 8]: four independent values, and the same four again."""

    def draw(self, index: int, rng: torch.Generator) -> Item:
        half = torch.randint(0, 2, (1, 4), generator=rng).float() * 2 - 1
        return {"media": torch.cat([half, half], 1), "id": str(index), "label": 0, "text": ""}


class Free(Conditioner):
    spec = CondSpec()

    def forward(self, batch: object) -> Cond:
        return Cond()

    def null(self, batch_size: int) -> Cond:
        return Cond()

    def from_prompts(self, prompts: object) -> dict[str, object]:
        return {}


class Line(Backbone):
    """x [B, 1, 8] and what it sees [B, 2, 8] -> x0."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(25, 96), torch.nn.SiLU(), torch.nn.Linear(96, 8))

    def forward(self, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        assert cond.grid is not None
        return self.layers(torch.cat([x[:, 0], cond.grid.flatten(1), c_noise[:, None] / 10], 1))[:, None]


def test_training_teaches_to_copy_from_what_is_known() -> None:
    torch.manual_seed(0)
    data = Twins(512)
    denoiser = Denoiser(Line(), flow(), x0_prediction())
    task = Diffusion(
        denoiser=denoiser, conditioner=Free(), codec=Identity(), dataset=data,
        settings=Train(steps=1, batch=32), seed=0, device=torch.device("cpu"), masked=True,
    )  # fmt: skip
    adam = torch.optim.Adam(denoiser.parameters(), 5e-3)
    from multigen.training.batch import Read, collate

    for step in range(400):
        items = [data.draw(k, torch.Generator().manual_seed(1000 * step + k)) for k in range(32)]
        adam.zero_grad()
        for _, parts in task.losses(collate([Read(item, {}) for item in items]), step, 0.0):
            for loss in parts:
                loss.backward()
        adam.step()
    x0 = torch.stack([data[k]["media"] for k in data.split()[1]])
    keep = torch.tensor([True] * 4 + [False] * 4)
    noise = torch.stack([normal((1, 8), 1, "x", k) for k in range(len(x0))])
    t = torch.full((len(x0),), 1.0, dtype=torch.float64)  # x holds nothing of the data
    with torch.no_grad():
        told = denoiser(noise, t, Cond(grid=masks.mask_channels(x0, keep)))
        blind = denoiser(noise, t, Cond(grid=masks.mask_channels(x0, None)))
    wrong = (told[..., 4:] - x0[..., 4:]).square().mean()
    assert wrong < 0.15, wrong  # its variance is 1
    assert (blind[..., 4:] - x0[..., 4:]).square().mean() > 0.7


def masked(name: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Model, list[Tensor]]:
    """An untrained model with a mask channel, and what its network sees from now on."""
    plain = small(name)
    model = Model(dataclasses.replace(plain.recipe, masked=True), device="cpu")
    model.codec.load_state_dict(plain.codec.state_dict())
    grids: list[Tensor] = []
    inner = UNet.forward

    def forward(
        self: UNet, x: Tensor, c_noise: Tensor, cond: Cond, taps: object = None, closed: Closed = OPEN
    ) -> Tensor:
        assert cond.grid is not None
        grids.append(cond.grid)
        return inner(self, x, c_noise, cond, closed=closed)

    monkeypatch.setattr(UNet, "forward", forward)
    return model, grids


@pytest.mark.parametrize("name", ["image_digits", "audio_music", "video_moving_emoji", "image_latent"])
def test_an_edit_shows_the_network_what_is_kept(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, grids = masked(name, monkeypatch)
    shape = model.modality.shape()
    media = 0.5 * torch.rand(shape, generator=torch.Generator().manual_seed(1)) - 0.25
    keep = torch.zeros(shape[1:], dtype=torch.bool)
    keep[: shape[1] // 2] = True
    model.generate("", steps=1)
    assert grids and all(g.abs().sum() == 0 for g in grids)
    grids.clear()
    model.edit(media, "", keep=keep, steps=1)
    whole = model.codec.whole(shape)
    if name == "audio_music":  # up to whole frames of the codec, the last of silence
        media = torch.nn.functional.pad(media, (0, whole[1] - shape[1]))
        keep = torch.nn.functional.pad(keep, (0, whole[1] - shape[1]), value=False)
    with torch.no_grad():
        x0 = model.codec.encode(media[None])
    seen = masks.mask_channels(x0, model.codec.latent_mask(keep))
    assert seen[:, :1].sum() > 0
    assert grids and all(torch.equal(row, seen[0]) for g in grids for row in g)


def test_each_window_shows_the_network_its_part_of_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    model, grids = masked("image_digits", monkeypatch)
    media = 0.5 * torch.rand(1, 28, 56, generator=torch.Generator().manual_seed(1)) - 0.25
    keep = torch.zeros(28, 56, dtype=torch.bool)
    keep[:, 20:45] = True
    model.edit(media, "3", keep=keep, steps=1, guidance_scale=1.0, sliding_window=True)
    seen = masks.mask_channels(model.codec.encode(media[None]), model.codec.latent_mask(keep))
    wide = seen.shape[-1] // 2
    parts = [seen[0, ..., k : k + wide] for k in (0, wide // 2, wide)]
    (grid,) = grids
    assert torch.equal(grid, torch.stack(parts))
    grids.clear()
    model.edit(media, "3", keep=keep, steps=1, guidance_scale=1.0, sliding_window=True, tile=True)
    (grid,) = grids
    assert torch.equal(grid, torch.stack([*parts, seen.roll(wide // 2, -1)[0, ..., :wide]]))
    grids.clear()
    model.generate("3", size=(28, 56), steps=1, guidance_scale=1.0, sliding_window=True)
    assert grids[0].shape == (3, *seen.shape[1:3], wide) and grids[0].abs().sum() == 0


def test_a_network_starts_as_the_one_without_a_mask_channel() -> None:
    plain, recipe = small("image_digits"), small("image_digits").recipe
    model = Model(dataclasses.replace(recipe, masked=True, seed=7), device="cpu")
    model.start_from({k: v.clone() for k, v in plain.state_dict().items()}, "plain")
    a, b = (m.generate("3", seed=5, steps=2)[0].tensor for m in (plain, model))
    assert torch.allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("name", ["audio_music", "video_moving_emoji", "image_latent", "pipeline"])
def test_training_shows_what_sampling_shows_of_the_same_mask(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The network of a pipeline sees the latents of a picture whose unknown part is grey, not m x0."""
    model = (
        load(inpainting(tmp_path / "p"), device="cpu") if name == "pipeline" else masked(name, monkeypatch)[0]
    )
    shape = model.modality.shape()
    media = torch.stack([normal(shape, k, "media") for k in range(10)]).mul(0.3).clamp(-1, 1)
    keeps: list[Tensor] = []
    drawn = masks.random_mask
    monkeypatch.setattr(masks, "random_mask", lambda *given: (keeps.append(drawn(*given)), keeps[-1])[1])
    examples = Examples(
        model.denoiser.schedule,
        Train(steps=1),
        seed=3,
        device=torch.device("cpu"),
        masked=True,
        cascade=None,
        sizes=None,
    )
    codec, x0 = model.codec, model.codec.encode(media)
    shown = examples.mask_channels(codec, media, x0, 5, range(10))
    assert len({float(keep.float().mean()) for keep in keeps}) > 3
    seen: list[Tensor] = []
    add = informed.masks.with_mask_channels
    monkeypatch.setattr(
        informed.masks,
        "with_mask_channels",
        lambda guide, channels: (seen.append(channels), add(guide, channels))[1],
    )
    for k in range(10):
        whole = codec.whole(shape) == shape
        if whole and keeps[k].any() and not keeps[k].all():
            seen.clear()
            model.edit(media[k], "", keep=keeps[k][0], feather=0, steps=1, guide="plain")
            torch.testing.assert_close(shown[k : k + 1], seen[0], rtol=0, atol=1e-4)
        known = codec.known(media[k : k + 1], keeps[k][0])
        torch.testing.assert_close(shown[k : k + 1, 1:], known, rtol=0, atol=1e-4)
    nothing = next(k for k in range(10) if not keeps[k].any())
    torch.testing.assert_close(shown[nothing, 1:], codec.unknown(tuple(x0.shape[1:]))[0], rtol=0, atol=1e-4)
