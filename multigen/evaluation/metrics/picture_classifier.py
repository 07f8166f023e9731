"""A small classifier of pictures, trained from scratch within seconds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multigen.evaluation.metrics import Score

Batch = tuple[Tensor, Tensor]  # pictures [B, C, H, W] in [-1, 1], labels [B]


def train_classifier(batch: Callable[[int], Batch], classes: int, steps: int) -> nn.Module:
    """A small network after `steps` steps; `batch` makes the batch of a step. Seeded, so the same on every call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = _network(batch(0)[0].shape[1], classes)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for step in range(steps):
        pictures, labels = batch(step)
        loss = F.cross_entropy(net(pictures), labels, label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net.eval()


@torch.no_grad()
def accuracy(net: nn.Module, media: Sequence[Tensor], labels: Sequence[int | None]) -> Score:
    """1 for each picture [C, H, W] whose label the network predicts, 0 for the others, NaN without a label."""
    predicted = torch.cat(
        [net(torch.stack(list(media[k : k + 256]))).argmax(1) for k in range(0, len(media), 256)]
    )
    return Score.of(
        [math.nan if a is None else float(a == p) for a, p in zip(labels, predicted.tolist(), strict=True)]
    )


def _network(channels: int, classes: int) -> nn.Module:
    def stage(channels: int, out: int) -> list[nn.Module]:
        return [
            nn.Conv2d(channels, out, 3, padding=1),
            nn.GroupNorm(4, out),
            nn.SiLU(),
            nn.Conv2d(out, out, 3, stride=2, padding=1),
            nn.GroupNorm(4, out),
            nn.SiLU(),
        ]

    head = [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64 * 4, classes)]
    return nn.Sequential(*stage(channels, 16), *stage(16, 32), *stage(32, 64), *head)
