"""Vocoding: the losses know a perfect copy, training helps, both networks resume exactly."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from multigen.codecs.mel import Mel
from multigen.datasets import Item
from multigen.modalities.audio import Audio
from multigen.recipe.schema import Train
from multigen.registry import Part
from multigen.training.critics import Spectrograms
from multigen.training.trainer import Trainer
from multigen.training.vocoding import Vocoding
from tests.training.codec_trainings import check_goes_on_exactly

RATE = 8000
MODALITY = Audio(rate=RATE, seconds=2.0)


class Tones:
    """2 s [1, 16000] of three decaying partials; 12 of them, 4 held out."""

    classes: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.bad: dict[str, str] = {}

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> Item:
        t = torch.arange(2 * RATE) / RATE
        f0 = 110 * 2 ** (5 * index % 12 / 24)  # held-out ones lie between others
        waves = [torch.sin(6.28318 * f0 * k * t) / k * torch.exp(-k * (t % 0.5)) for k in (1, 2, 3)]
        return {"media": (0.1 * torch.stack(waves).sum(0))[None], "id": f"tone{index}"}

    def draw(self, index: int, rng: torch.Generator) -> Item:
        return self[index]

    def split(self) -> tuple[range, range]:
        return range(8), range(8, 12)


def trainer(folder: Path, *, critic: Part | None, steps: int = 6, **settings: object) -> Trainer:
    data, device = Tones(), torch.device("cpu")
    torch.manual_seed(0)
    codec = Mel(
        modality=MODALITY, fft=512, hop=128, bins=60, components=16, vocoder="neural",
        width=32, blocks=2,
    )  # fmt: skip
    codec.fit(data[k]["media"] for k in range(8))
    quiet = {"tensorboard": False, "held_out_every": 0, "preview_every": 0, "checkpoint_every": 3}
    train = Train(**{"steps": steps, "batch": 4, "lr": 2e-3, "warmup": 1, **quiet, **settings}, critic=critic)  # type: ignore[arg-type]
    task = Vocoding(codec=codec, modality=MODALITY, dataset=data, settings=train, seed=0, device=device)
    return Trainer(task=task, dataset=data, settings=train, seed=0, folder=folder, device=device, quiet=True)


def critic(start: float = 0.0) -> Part:
    return Part("spectrograms", {"ffts": [256, 128], "channels": 4, "start": start})


def test_a_perfect_copy_costs_nothing_and_a_worse_one_more(tmp_path: Path) -> None:
    task = trainer(tmp_path, critic=None).task
    assert isinstance(task, Vocoding)
    real = torch.stack([Tones()[k]["media"] for k in range(3)])
    noise = torch.randn(real.shape, generator=torch.Generator().manual_seed(0))
    costs = [task._spectral(real, real + level * noise).item() for level in (0.0, 0.001, 0.01)]
    assert costs[0] == 0
    assert 0 < 2 * costs[1] < costs[2]


@pytest.mark.slow
def test_training_brings_held_out_copies_nearer(tmp_path: Path) -> None:
    t = trainer(tmp_path, critic=critic(start=0.5), steps=80, ema_decay=0.9)
    before = t.task.measure()
    t.run()
    with t.ema.applied():
        after = t.task.measure()
    assert set(after) == {"log-mel", "stft", "mean", "seen"}
    assert after["log-mel"] < 0.8 * before["log-mel"]
    assert after["stft"] < 0.8 * before["stft"]


def test_both_networks_learn_and_go_on_exactly(tmp_path: Path) -> None:
    check_goes_on_exactly(
        tmp_path,
        lambda folder: trainer(folder, critic=critic()),
        ("model.codec.vocoder.stem.weight", "critic.judges.0.layers.0.bias"),
    )


def test_a_network_steps_on_its_own_loss_alone(tmp_path: Path) -> None:
    """The maker's loss goes through the critic; what it leaves there does not move the critic."""
    t = trainer(tmp_path, critic=critic(), steps=2)
    t.run()
    assert isinstance(t.task, Vocoding)
    assert t.task.critic is not None
    left = [p.grad for p in t.task.critic.parameters()]
    assert any(g is not None and g.abs().sum() > 0 for g in left)
    t.learners["critic"].gradient(iter([sum(p.sum() for p in t.task.critic.parameters()) * 1.0]))  # type: ignore[list-item]
    assert all(
        torch.equal(p.grad, torch.ones_like(p)) for p in t.task.critic.parameters() if p.grad is not None
    )


def test_the_critic_joins_late(tmp_path: Path) -> None:
    t = trainer(tmp_path, critic=critic(start=0.5), steps=6)
    before = {n: p.detach().clone() for n, p in t.learners["critic"].parameters.items()}
    inner, seen = t._update, []

    def update(batch: object) -> dict[str, float]:
        row = inner(batch)  # type: ignore[arg-type]
        moved = any(not torch.equal(before[n], p) for n, p in t.learners["critic"].parameters.items())
        seen.append((moved, "critic_loss" in row))
        return row

    t._update = update  # type: ignore[method-assign]
    t.run()
    assert seen == [(False, False)] * 3 + [(True, True)] * 3


@pytest.mark.slow
def test_the_critic_learns_to_tell_and_its_lesson_points_to_the_real() -> None:
    torch.manual_seed(1)
    judge = Spectrograms(ffts=(256, 128), channels=4)
    optimizer = torch.optim.Adam(judge.parameters(), 2e-3)
    real = torch.stack([Tones()[k]["media"] for k in range(8)])
    made = real + 0.02 * torch.randn(real.shape, generator=torch.Generator().manual_seed(0))
    for _ in range(60):
        optimizer.zero_grad()
        judge.loss(real, made).backward()
        optimizer.step()
    assert judge.loss(real, made) < 1.0  # 2 at the start, 0 where all is told
    with torch.no_grad():
        assert judge.teach(real, real) < judge.teach(real, made)
