"""Collective operations: every rank calls them, in the same order. A single process returns at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from multigen.errors import TrainingError
from multigen.training.ranks.group import communicating, first, world

_BUCKET = 8 * 2**20  # gradients are sent in pieces of about this many numbers


@contextmanager
def in_turn() -> Iterator[None]:
    """Run the block in rank 0 first, then in the others, which find what rank 0 left in a cache."""
    if not first():
        together()
    yield
    if first():
        together()


def together() -> None:
    """Wait until all ranks are here."""
    largest(0.0)


def largest(*values: float) -> list[float]:
    """Return the maximum over the ranks of each value."""
    if world() == 1:
        return list(values)
    tensor = torch.tensor(values, dtype=torch.float64, device=_carrier())
    with communicating():
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
    return tensor.tolist()


def total(value: float) -> float:
    """Return the sum over the ranks."""
    if world() == 1:
        return value
    tensor = torch.tensor([value], dtype=torch.float64, device=_carrier())
    with communicating():
        dist.all_reduce(tensor)
    return float(tensor)


def gathered(value: Any) -> list[Any]:
    """Return the values of all ranks, in order."""
    if world() == 1:
        return [value]
    values: list[Any] = [None] * world()
    with communicating():
        dist.all_gather_object(values, value)
    return values


def same_step(step: int) -> None:
    """Wait for all ranks; TrainingError unless all of them are at the same step."""
    steps = gathered(step)
    if len(set(steps)) > 1:
        raise TrainingError(
            f"the ranks found checkpoints of different steps ({steps}). Give them the same run folder."
        )


def share(networks: Iterable[nn.Module]) -> None:
    """Copy the weights and statistics of rank 0 to every rank."""
    if world() == 1:
        return
    with torch.no_grad(), communicating():
        for network in networks:
            for tensor in network.state_dict().values():
                whole = tensor.contiguous()
                dist.broadcast(whole, src=0)
                tensor.copy_(whole)


def summed(loss: float, parameters: Sequence[nn.Parameter]) -> float:
    """Sum over the ranks: returns the sum of the losses and leaves that of the gradients in the parameters.

    All ranks get the same bits. A gradient that no rank has stays None.
    """
    if world() == 1:
        return loss
    has = [float(p.grad is not None) for p in parameters]
    head = torch.tensor([loss, *has], dtype=torch.float64, device=_carrier())
    for p in parameters:
        if p.grad is None:
            p.grad = torch.zeros_like(p)
    with communicating():
        work = [dist.all_reduce(head, async_op=True)]
        pieces = []
        for bucket in _buckets([p.grad for p in parameters if p.grad is not None]):
            flat = torch.cat([g.flatten() for g in bucket])
            work.append(dist.all_reduce(flat, async_op=True))
            pieces.append((bucket, flat))
        for sent in work:
            if sent is not None:  # only a process outside the group has nothing to wait for
                sent.wait()
    for bucket, flat in pieces:
        for grad, part in zip(bucket, flat.split([g.numel() for g in bucket]), strict=True):
            grad.copy_(part.view(grad.shape))
    total, *counts = head.tolist()
    for p, count in zip(parameters, counts, strict=True):
        if not count:
            p.grad = None
    return total


def _buckets(grads: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Group neighbours of one dtype, about _BUCKET numbers in each group."""
    bucket: list[Tensor] = []
    for grad in grads:
        full = bucket and sum(g.numel() for g in bucket) + grad.numel() > _BUCKET
        if full or (bucket and bucket[0].dtype != grad.dtype):
            yield bucket
            bucket = []
        bucket.append(grad)
    if bucket:
        yield bucket


def _carrier() -> torch.device:
    """Return the device on which tensors are communicated."""
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")
