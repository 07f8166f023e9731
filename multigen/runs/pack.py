"""Packing: media of a folder or a built-in dataset as shards, which `data.name=shards` reads.

Re-running a command that was stopped continues with the first shard that is missing, and writes the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from multigen import registry
from multigen.datasets import Dataset
from multigen.datasets import index as shard_index
from multigen.datasets.folder import Folder
from multigen.datasets.index import Index
from multigen.datasets.media_files import Files, Told
from multigen.errors import MultigenError
from multigen.modalities import Modality
from multigen.modalities.member import size_of
from multigen.model.build import build_dataset
from multigen.progress import Progress
from multigen.recipe.paths import absolute
from multigen.recipe.schema import Recipe
from multigen.runs.shards import Entry, write_shard
from multigen.storage.lock import LOCK, locked

# Lossless files, as which the media of a built-in dataset are packed.
_LOSSLESS = {"image": ".png", "audio": ".flac", "video": ".apng"}


def pack(recipe: Recipe, out: Path, *, shard_bytes: int, quiet: bool = False) -> tuple[int, dict[str, str]]:
    """Write the media of a recipe's dataset as shards of about `shard_bytes` bytes.

    Returns the number of media, and those that cannot be read, each with the reason. Shards of the same media that
    `out` holds already are kept. MultigenError if `out` holds other files, or another command is packing into it.
    """
    _check_folder(out)
    with locked(out, stays=False):  # shards are passed on
        return _pack(recipe, out, shard_bytes, quiet)


def _pack(recipe: Recipe, out: Path, shard_bytes: int, quiet: bool) -> tuple[int, dict[str, str]]:
    modality: Modality = registry.build("modality", recipe.modality, where="modality")
    dataset = build_dataset(recipe, modality)
    entries = _of_files(dataset) if isinstance(dataset, Folder) else _of_set(recipe, dataset, modality)
    plan = _plan(dataset, entries, shard_bytes)
    made_from = _source(recipe)
    if shard_index.source_of(out) not in (None, made_from):
        raise MultigenError(
            f"--out {out}: holds shards of other media, or made with other settings; give a new folder"
        )
    shard_index.write(out, None, made_from)
    shards = []
    with Progress("pack", len(entries), quiet=quiet) as progress:
        for number, part in enumerate(plan):
            shards.append(write_shard(out, f"shard-{number:06d}.tar", part, dataset, modality))
            progress.advance(len(part))
    _clear(out, {name for s in shards for name in (s.file, s.index)})
    shard_index.write(out, Index(modality.name, tuple(dataset.classes), tuple(shards)), made_from)
    return len(entries), dict(dataset.bad)


def _source(recipe: Recipe) -> str:
    """What a recipe packs, as a hash: the dataset and the modality, with their settings."""
    whole = absolute(recipe)
    parts = [whole.data.name, dict(whole.data.args), whole.modality.name, dict(whole.modality.args)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _check_folder(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise MultigenError(f"--out {out}: is a file; give a folder")
    if out.is_dir() and any(p.name != LOCK for p in out.iterdir()) and not shard_index.is_ours(out):
        raise MultigenError(f"--out {out}: holds other files; give a new folder")


def _clear(out: Path, keep: set[str]) -> None:
    """Remove the shards of an earlier, longer pack, and what a killed command left."""
    for path in out.iterdir():
        name = path.name.removeprefix(".")
        ours = name.startswith("shard-") and path.suffix in (".tar", ".jsonl", ".stamp")
        if ours and path.name not in keep and path.with_suffix(".tar").name not in keep:
            path.unlink()


def _of_files(dataset: Folder) -> list[Entry]:
    """The files of a folder."""
    entries = []
    for k, seconds in enumerate(dataset.durations()):
        path = dataset.source(k)
        status = path.stat()
        stamp = [status.st_size, status.st_mtime_ns]
        entries.append(Entry(k, dataset.told(k), path.suffix.lower(), seconds, None, stamp))
    return entries


def _of_set(recipe: Recipe, dataset: Dataset, modality: Modality) -> list[Entry]:
    """Every item of a built-in dataset, without augmentation, in its own split."""
    if isinstance(dataset, Files):
        raise MultigenError(f"data.name: {recipe.data.name} is already packed; copy its folder")
    suffix = _LOSSLESS.get(modality.name, modality.suffix)
    shape = modality.shape()
    seconds = 0.0 if modality.name == "image" else shape[1] / modality.shape(duration=1.0)[1]
    held = set(dataset.split()[1])
    settings = [recipe.data.name, dict(recipe.data.args), recipe.modality.name, dict(recipe.modality.args)]
    stamp = [int.from_bytes(hashlib.blake2b(json.dumps(settings).encode(), digest_size=6).digest(), "big")]
    empty = Told("", ("",), None)
    return [Entry(k, empty, suffix, seconds, k in held, stamp) for k in range(len(dataset))]


def _plan(dataset: Dataset, entries: Sequence[Entry], shard_bytes: int) -> list[list[Entry]]:
    """The entries of each shard; a medium larger than a shard has one of its own."""
    if not entries:
        raise MultigenError("there are no media to pack")
    plan: list[list[Entry]] = [[]]
    room = shard_bytes
    # The media of a built-in dataset are made as they are packed; a value takes about one byte at most.
    numel = 0 if isinstance(dataset, Files) else dataset[0]["media"].numel()
    for entry in entries:
        size = size_of(dataset.source(entry.index)) if isinstance(dataset, Files) else numel
        if plan[-1] and size > room:
            plan.append([])
            room = shard_bytes
        plan[-1].append(entry)
        room -= size
    return plan
