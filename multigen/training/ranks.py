"""Ranks: the processes that train one model together, each on its rows of the global batch.

torchrun starts them and torch.distributed carries what they tell one another: NCCL between CUDA devices, gloo else. A
process alone is a world of one and talks to nobody.

Gradients are summed here and not by DistributedDataParallel, which wraps the `forward` of one module: a task has
several networks, calls them through `Denoiser.loss`, and lets one network's loss pass through another. The losses are
divided by the global batch already, so a plain sum is the whole batch's gradient, after the last of the accumulated
parts alone. What it costs: the sum does not overlap the backward pass.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from multigen.device import choose_device
from multigen.errors import Lost, MultigenError, TrainingError
from multigen.recipe.schema import Train
from multigen.recipe.validate import check_world
from multigen.training.rank_errors import LAUNCHED

# How long a rank waits for the others: previews and held-out losses, which rank 0 alone makes, may take minutes.
TIMEOUT = timedelta(minutes=60)
# Gradients travel in pieces of about so many numbers.
_BUCKET = 8 * 2**20


def world() -> int:
    """How many ranks there are."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if world() > 1 else 0


def first() -> bool:
    """Whether this is the rank that writes: checkpoints, log, previews, held-out loss."""
    return rank() == 0


def leads() -> bool:
    """Whether this process ends the command: it locks the run folder, reports and prints."""
    return first() and LAUNCHED not in os.environ


def rows(batch: int) -> range:
    """This rank's positions in a global batch of that size."""
    share = batch // world()
    return range(rank() * share, (rank() + 1) * share)


@contextmanager
def joined(device: str | None, train: Train) -> Iterator[str | None]:
    """Inside the block this process is one of those that torchrun started, if it did. Yields the device to use.

    RecipeError if they cannot share the batch evenly, MultigenError if there is no device for each.
    """
    size = int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1
    if size == 1:
        yield device
        return
    check_world(train, size, "torchrun --nproc-per-node")
    place = _own_device(device)
    if place.type == "cuda":
        torch.cuda.set_device(place)
    if int(os.environ["RANK"]):  # rank 0 says what all of them would
        logging.getLogger("multigen").setLevel(logging.ERROR)
    with _talking():
        dist.init_process_group("nccl" if place.type == "cuda" else "gloo", timeout=TIMEOUT)
    yield str(place)
    dist.destroy_process_group()  # after a fault the others may be gone, and saying goodbye would wait for them


def _own_device(name: str | None) -> torch.device:
    place = choose_device(name)
    if place.type == "cpu":
        return place
    if place.type != "cuda" or (name not in (None, "auto") and place.index is not None):
        raise MultigenError(f"--device: {place} is one device for several ranks. Allowed: cuda, cpu.")
    local, here = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if local >= here:
        raise MultigenError(
            f"--device: {here} CUDA devices for {local + 1} ranks or more; start {here} of them"
        )
    return torch.device("cuda", local)


@contextmanager
def _talking() -> Iterator[None]:
    """Lost where another rank does not answer: its own message, if it has one, says why."""
    try:
        yield
    except RuntimeError as error:  # torch's errors of networks and back ends are RuntimeErrors
        reason = str(error).splitlines()[0]
        raise Lost(f"rank {rank()}: another rank ended or did not answer for {TIMEOUT} ({reason})") from error


@contextmanager
def in_turn() -> Iterator[None]:
    """Rank 0 runs the block first, then the others: what it leaves in a cache is theirs too."""
    if not first():
        together()
    yield
    if first():
        together()


def together() -> None:
    """No rank goes on before all have come here."""
    largest(0.0)


def largest(*values: float) -> list[float]:
    """The largest that any rank gave, one by one."""
    if world() == 1:
        return list(values)
    tensor = torch.tensor(values, dtype=torch.float64, device=_carrier())
    with _talking():
        dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
    return tensor.tolist()


def gathered(value: Any) -> list[Any]:
    """What each rank gave, in the order of the ranks."""
    if world() == 1:
        return [value]
    values: list[Any] = [None] * world()
    with _talking():
        dist.all_gather_object(values, value)
    return values


def same_step(step: int) -> None:
    """TrainingError unless all ranks stand at the same step; nobody goes on before all have come here."""
    steps = gathered(step)
    if len(set(steps)) > 1:
        raise TrainingError(
            f"the ranks found checkpoints of different steps ({steps}): give them one run folder"
        )


def share(networks: Iterable[nn.Module]) -> None:
    """Give every rank the weights and statistics of rank 0."""
    if world() == 1:
        return
    with torch.no_grad(), _talking():
        for network in networks:
            for tensor in network.state_dict().values():
                whole = tensor.contiguous()
                dist.broadcast(whole, src=0)
                tensor.copy_(whole)


def summed(loss: float, parameters: Sequence[nn.Parameter]) -> float:
    """The sum of the ranks' losses; the sum of their gradients is left in the parameters, the same bits in all.

    A gradient that no rank has stays None.
    """
    if world() == 1:
        return loss
    has = [float(p.grad is not None) for p in parameters]
    head = torch.tensor([loss, *has], dtype=torch.float64, device=_carrier())
    for p in parameters:
        if p.grad is None:
            p.grad = torch.zeros_like(p)
    with _talking():
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
    """Neighbours of one dtype, about _BUCKET numbers together."""
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
    """Where tensors must lie to travel."""
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")
