"""A worker of `multigen sample --ray`: it has the model in memory, and writes media and their entries."""

from __future__ import annotations

import json
import pickle
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multigen.generation.request import Request
from multigen.recipe.manifest import common_facts
from multigen.runs.media_set import check_finite, default_name, sampling_facts, write_medium
from multigen.runs.opened import open_model
from multigen.runs.sample_manifest import facts, inversion_errors
from multigen.storage.bucket import open_bucket

# A place, an id, and a request with the source of an edit.
Left = tuple[int, str, tuple[Request, Mapping[str, Any]]]
MADE = ".made"  # folder of the entries, until the manifest has them


@dataclass(frozen=True)
class Arguments:
    """What a worker is made with.

    where                      a folder or bucket that all workers write to
    source, overrides, device  the model
    """

    where: str | Path
    source: str
    overrides: Sequence[str] = ()
    device: str | None = None


class Worker:
    """Makes batches of media."""

    def __init__(self, arguments: Arguments) -> None:
        self._model = open_model(arguments.source, arguments.overrides, arguments.device)
        self._bucket = open_bucket(arguments.where)
        recipe = self._model.recipe
        self._common = common_facts(recipe, self._model.known_hash(), sampling_facts(recipe, None))

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[str]]:
        """The entries of a batch, as JSON: of media that are there already, and of those that are made now."""
        entries, left = [], []
        for place, name, request in zip(batch["place"], batch["id"], batch["request"], strict=True):
            try:
                entries.append(self._bucket.read(_entry(name)).decode())
            except FileNotFoundError:
                # Pickled by the command that started this worker.
                left.append((int(place), str(name), pickle.loads(request)))
        if left:
            entries += self._make(left)
        return {"entry": entries}

    def _make(self, left: Sequence[Left]) -> Iterator[str]:
        model, requests = self._model, [request for _, _, (request, _) in left]
        made = model.batcher(requests, n=1, seed=0)
        errors = inversion_errors(model, requests)
        how = [facts(requests[k], made.jobs[k].plan, left[k][2][1], errors.get(k)) for k in range(len(left))]
        for k, medium in made:
            place, name, _ = left[k]
            path = default_name(model, place, medium)
            check_finite(medium, (self._bucket.folder or Path()) / path)
            with self._folder() as folder:
                row = write_medium(model, folder, path, place, medium, how[k], self._common)
            text = json.dumps(row)
            self._bucket.write(_entry(name), text.encode())
            yield text

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        """Where a medium is written; of a bucket it is sent from there."""
        if self._bucket.folder is not None:
            yield self._bucket.folder
            return
        with tempfile.TemporaryDirectory(prefix="multigen-medium-") as temporary:
            folder = Path(temporary)
            yield folder
            for path in sorted(p for p in folder.rglob("*") if p.is_file()):
                self._bucket.write(path.relative_to(folder).as_posix(), path.read_bytes())


def _entry(name: str) -> str:
    return f"{MADE}/{name}.json"
