"""Ranks: the processes that train one model together, each on its rows of the global batch.

torchrun starts them. They communicate through torch.distributed: NCCL between CUDA devices, gloo otherwise. A single
process is a world of size one and needs no communication.

Gradients are summed here instead of by DistributedDataParallel, which wraps the `forward` of one module: a task has
several networks, calls them through `Denoiser.loss_at`, and lets the loss of one pass through another. Losses are
already divided by the global batch size, so the plain sum, after the last accumulated part, is the gradient of the
whole batch. The cost: the sum does not overlap with the backward pass.
"""

from multigen.training.ranks.collectives import (
    gathered,
    in_turn,
    largest,
    same_step,
    share,
    summed,
    together,
    total,
)
from multigen.training.ranks.group import TIMEOUT, communicating, first, joined, leads, rank, rows, world

__all__ = [
    "TIMEOUT",
    "communicating",
    "first",
    "gathered",
    "in_turn",
    "joined",
    "largest",
    "leads",
    "rank",
    "rows",
    "same_step",
    "share",
    "summed",
    "together",
    "total",
    "world",
]
