"""The group of ranks: which of them this process is, and on which device it trains."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist

from multigen.device import choose_device
from multigen.errors import MultigenError, RankLost
from multigen.recipe.rules import check_world
from multigen.recipe.schema import Train
from multigen.training.rank_errors import LAUNCHED

# How long a rank waits for the others. Previews and held-out losses, made by rank 0 alone, may take minutes.
TIMEOUT = timedelta(minutes=60)


def world() -> int:
    """Return the number of ranks."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return the number of this rank, from 0."""
    return dist.get_rank() if world() > 1 else 0


def first() -> bool:
    """Return whether this is rank 0, which writes checkpoints, log, previews and held-out losses."""
    return rank() == 0


def leads() -> bool:
    """Return whether this process ends the command: it locks the run folder, reports and prints."""
    return first() and LAUNCHED not in os.environ


def rows(batch: int) -> range:
    """Return this rank's positions in a global batch of a size."""
    share = batch // world()
    return range(rank() * share, (rank() + 1) * share)


@contextmanager
def joined(device: str | None, train: Train) -> Iterator[str | None]:
    """Join the group of ranks inside the block, if torchrun started this process. Yields the device to use.

    Raises RecipeError if the ranks cannot share the batch evenly, MultigenError if there are too few devices.
    """
    size = int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1
    if size == 1:
        yield device
        return
    check_world(train, size, "torchrun --nproc-per-node")
    place = _own_device(device)
    if place.type == "cuda":
        torch.cuda.set_device(place)
    if int(os.environ["RANK"]):  # rank 0 reports what all of them would
        logging.getLogger("multigen").setLevel(logging.ERROR)
    with communicating():
        dist.init_process_group("nccl" if place.type == "cuda" else "gloo", timeout=TIMEOUT)
    yield str(place)
    # Not after an error: the others may be gone, and this would wait for them. The barrier leaves gloo's threads the
    # time to let go of the last tensors that they exchanged, which takes Python: a process that ends under them aborts.
    with communicating():
        dist.barrier()
    dist.destroy_process_group()


@contextmanager
def communicating() -> Iterator[None]:
    """Raise RankLost if another rank does not answer. That rank's own message, if it has one, gives the reason."""
    try:
        yield
    except RuntimeError as error:  # torch reports errors of networks and back ends as RuntimeErrors
        reason = str(error).splitlines()[0]
        raise RankLost(
            f"rank {rank()}: another rank ended or did not answer for {TIMEOUT} ({reason})"
        ) from error


def _own_device(name: str | None) -> torch.device:
    place = choose_device(name)
    if place.type == "cpu":
        return place
    if place.type != "cuda" or (name not in (None, "auto") and place.index is not None):
        raise MultigenError(f"--device: {place} is one device for several ranks. Allowed: cuda, cpu.")
    local, available = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if local >= available:
        raise MultigenError(
            f"--device: there are {available} CUDA devices for at least {local + 1} ranks. Start {available} ranks."
        )
    return torch.device("cuda", local)
