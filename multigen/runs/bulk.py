"""Media on many machines: Ray Data gives the requests to workers, each of which has the model in memory.

Every medium has an id, the hash of its request, its seed and the weights. A worker writes the medium, and then its
entry as .made/<id>.json; who finds that entry makes nothing. So a medium that is begun twice, by a worker that took
over from a dead one or by a command that goes on after kill -9, has the same name and is there once. The manifest is
made of the entries.
"""

from __future__ import annotations

import hashlib
import json
import logging
import pickle
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from multigen.device import choose_device
from multigen.errors import MultigenError, TrainingError
from multigen.generation.counts import first_seed
from multigen.generation.declared import media_options
from multigen.generation.plan import jobs
from multigen.generation.request import Request
from multigen.generation.written import check_written
from multigen.model.model import Model
from multigen.progress import Progress
from multigen.runs.asked import asked
from multigen.runs.bulk_worker import MADE, Arguments, Worker
from multigen.runs.media import Made, Start, under_way
from multigen.runs.media_set import MediaSet
from multigen.runs.sources import Sources
from multigen.storage.bucket import is_address, open_bucket
from multigen.storage.ray_cluster import ray_here

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class One:
    """One medium: its place among all, its id, what it is made of, and the source of an edit (`Sources.facts`).

    number  of the request, among all
    """

    place: int
    id: str
    request: Request
    source: Mapping[str, Any]
    number: int = 0


def listed_media(model: Model, requests: Sequence[Request], n: int, seed: int, sources: Sources) -> list[One]:
    """Each request `n` times, with the seeds that one machine gives them."""
    found = []
    for number, request in enumerate(requests):
        first = first_seed(request, number, n, seed)
        source = sources.facts(request)
        for k in range(n):
            own = replace(request, seed=first + k)
            text = json.dumps(asked(model, "medium", [own], {"place": number * n + k}), sort_keys=True)
            found.append(
                One(number * n + k, hashlib.sha256(text.encode()).hexdigest()[:32], own, source, number)
            )
    return found


def bulk(kept: MediaSet, model: Model, ones: Sequence[One], arguments: Arguments) -> Start:
    """Begins to make media in workers, which are made with `arguments`.

    MediaError, before there are workers, where a file cannot hold what one that is left is made for.
    """

    def start(progress: Progress, there: frozenset[int]) -> Iterator[Made]:
        names = {f"{MADE}/{one.id}.json": one for one in ones if one.place not in there}
        made = {name: one for name in _entries(arguments.where) if (one := names.pop(name, None)) is not None}
        left = list(names.values())
        if media_options(model.recipe):
            _check_written(model, left, many=ones[-1].number > 0)
        return media(progress, made, left)

    def media(progress: Progress, made: Mapping[str, One], left: Sequence[One]) -> Iterator[Made]:
        kept.begin()
        bucket = open_bucket(arguments.where)
        for name, one in made.items():
            yield Made(one.place, None, row=json.loads(bucket.read(name)))
        for row in _rows(left, model, arguments):
            progress.called()
            yield Made(row["place"], None, row=row)
        kept.save()
        for name in bucket.rows(f"{MADE}/"):
            bucket.delete(name)
        if bucket.folder is not None:
            (bucket.folder / MADE).rmdir()

    return start


def _entries(where: Path | str) -> Iterable[str]:
    """The names of the entries of media that are there; a folder that is not there yet stays so."""
    if not is_address(where) and not Path(where).is_dir():
        return ()
    return open_bucket(where).rows(f"{MADE}/")


def _check_written(model: Model, ones: Sequence[One], many: bool) -> None:
    """MediaError where a file cannot hold what a medium is made for. What a plan has opened goes before the next.

    many  whether a message says which request it is about
    """
    last: Request | None = None
    for one in ones:
        common = replace(one.request, prompt="", seed=None)
        if last is not None and not last.differs(common):  # what they are written as is the same
            continue
        try:
            check_written(model, [jobs(model, [one.request], 1, 0)[0].plan])
        except MultigenError as error:
            raise type(error)(f"request {one.number + 1}: {error}" if many else str(error)) from error
        last = common


def _rows(left: Sequence[One], model: Model, arguments: Arguments) -> Iterable[dict[str, Any]]:
    """The entries of media, as workers finish them."""
    if not left:
        return
    ray = ray_here()
    from ray import data
    from ray.exceptions import RayError

    batch, gpu = under_way(model), choose_device(arguments.device).type == "cuda"
    kind = "GPU" if gpu else "CPU"
    most = int(ray.cluster_resources().get(kind, 0))
    if not most:
        raise MultigenError(f"--ray: this Ray cluster has no {kind}; give another --device")
    blocks = -(-len(left) // batch)
    items = [
        {"place": one.place, "id": one.id, "request": pickle.dumps((one.request, one.source))} for one in left
    ]
    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    rows = data.from_items(items, override_num_blocks=blocks).map_batches(
        Worker,
        batch_size=batch,
        fn_constructor_kwargs={"arguments": arguments},
        compute=data.ActorPoolStrategy(min_size=1, max_size=min(most, blocks)),
        num_cpus=None if gpu else 1,
        num_gpus=1 if gpu else None,
    )
    try:
        for row in rows.iter_rows():
            yield json.loads(row["entry"])
    except RayError as error:
        raise TrainingError(f"--ray: a worker failed: {_cause(error)}") from error


def _cause(error: BaseException) -> str:
    """The innermost error that a worker tells of."""
    inner = error
    while (more := inner.__cause__) is not None:
        inner = more
    lines = [line for line in str(inner).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(inner).__name__
