"""Small parts for trainer tests: a 1-D data set, an identity codec, a two-layer backbone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from multigen.codecs import Codec
from multigen.conditioners import Conditioner
from multigen.core import Backbone, Cond, CondSpec, Denoiser
from multigen.core.predictions import flow as flow_prediction
from multigen.core.schedules import flow as flow_schedule
from multigen.datasets import Item
from multigen.errors import MediaError
from multigen.recipe.schema import Train
from multigen.training.diffusion import Diffusion
from multigen.training.trainer import Trainer


class Points:
    """Items [1, 8]: a constant -1 or 1 plus a little noise; label says which. `broken` indices cannot be read."""

    classes = ("low", "high")

    def __init__(self, n: int = 64, broken: frozenset[int] = frozenset()) -> None:
        self.n, self.broken, self.bad = n, broken, {}

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> Item:
        return self.draw(index, torch.Generator().manual_seed(index))

    def draw(self, index: int, rng: torch.Generator) -> Item:
        if index in self.broken:
            raise MediaError(f"item{index}: cannot be read")
        label = index % 2
        media = torch.full((1, 8), 2.0 * label - 1) + 0.1 * torch.randn(1, 8, generator=rng)
        return {"media": media, "id": f"item{index}", "label": label, "text": self.classes[label]}

    def split(self) -> tuple[range, range]:
        return range(self.n - 8), range(self.n - 8, self.n)


class Identity(Codec):
    def shape(self, media: tuple[int, ...]) -> tuple[int, ...]:
        return media

    def encode(self, media: Tensor) -> Tensor:
        return media

    def decode(self, x: Tensor, *, seed: int = 0) -> Tensor:
        return x

    def latent_mask(self, keep: Tensor) -> Tensor:
        return keep

    def fit(self, media: Iterable[Tensor]) -> None:
        return None


class Labels(Conditioner):
    """Two classes and null as learned vectors."""

    spec = CondSpec(vector=4)

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(3, 4)

    def forward(self, batch: Mapping[str, Any]) -> Cond:
        return Cond(vector=self.table(torch.as_tensor(batch["label"])))

    def null(self, batch_size: int) -> Cond:
        return Cond(vector=self.table(torch.full((batch_size,), 2)))

    def from_prompts(self, prompts: Sequence[str]) -> Mapping[str, Any]:
        return {"label": [["low", "high", ""].index(prompt) for prompt in prompts]}


class Mlp(Backbone):
    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8 + 4 + 1, width), nn.SiLU(), nn.Linear(width, 8))

    def forward(self, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        assert cond.vector is not None
        return self.layers(torch.cat([x[:, 0], cond.vector, c_noise[:, None] / 10], 1))[:, None]


def diffusion(t: Trainer) -> Diffusion:
    assert isinstance(t.task, Diffusion)
    return t.task


def trainer(folder: Path, *, dataset: Points | None = None, seed: int = 0, **settings: Any) -> Trainer:
    """A trainer of the toy parts, its weights from `seed`."""
    torch.manual_seed(seed)
    settings = {"steps": 20, "batch": 8, "lr": 1e-2, "warmup": 2, "checkpoint_every": 5, **settings}
    settings = {"tensorboard": False, "held_out_every": 0, "preview_every": 0, "ema_decay": 0.9, **settings}
    dataset, device = dataset or Points(), torch.device("cpu")
    task = Diffusion(
        denoiser=Denoiser(Mlp(), flow_schedule(), flow_prediction()),
        conditioner=Labels(),
        codec=Identity(),
        dataset=dataset,
        settings=Train(**settings),
        seed=seed,
        device=device,
    )
    return Trainer(
        task=task,
        dataset=dataset,
        settings=task.settings,
        seed=seed,
        folder=folder,
        device=device,
        quiet=True,
    )
