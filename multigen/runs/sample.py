"""What `multigen sample` and `multigen edit` do: make media with a trained model, in a folder of their own."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from multigen.errors import MultigenError
from multigen.generation.blend import blend
from multigen.generation.counts import first_seed
from multigen.generation.declared import media_options
from multigen.generation.request import Request
from multigen.generation.written import check_written
from multigen.model.model import Model
from multigen.model.source import RECIPE, is_finished
from multigen.progress import Progress
from multigen.recipe.dump import to_yaml
from multigen.recipe.manifest import read as read_manifest
from multigen.recipe.schema import Recipe
from multigen.runs.asked import asked as describe
from multigen.runs.asked import listed
from multigen.runs.bulk import bulk, listed_media
from multigen.runs.bulk_worker import Arguments
from multigen.runs.media import Made, Start, batched, make_media, under_way, write_preview
from multigen.runs.media_set import MediaSet, conflict, unfinished
from multigen.runs.opened import open_model
from multigen.runs.outbox import outbox
from multigen.runs.report import FILE as REPORT
from multigen.runs.report import TRACES, report
from multigen.runs.sample_manifest import facts, inversion_errors
from multigen.runs.sources import Sources
from multigen.storage.claim import Claim, claimed, claimed_new
from multigen.storage.files import write_text

log = logging.getLogger(__name__)


def sample(
    source: str,
    common: Request | None = None,
    *,
    requests: Sequence[Request] | None = None,
    n: int | None = None,
    seed: int | None = None,
    overrides: Sequence[str] = (),
    trajectory: bool = False,
    clip: bool = False,
    out: Path | str | None = None,
    resume: bool = False,
    device: str | None = None,
    quiet: bool = False,
    ray: bool = False,
    weights_hash: str = "",
) -> Path | str:
    """Make media with a trained model; the folder that they are in, or the address of the bucket.

    source      a run folder, a weights file or a trained recipe; `weights_hash`: that its weights must have, if given
    common      what the requests leave open
    requests    what to make, each `n` times; None: `common` for every prompt of the recipe, or once for an edit
    overrides   changes to how the model samples (sampler, timesteps, guide, sample, seed)
    trajectory  also keep pictures of how the first medium of each request is made; with `clip` as a clip, too
    out         a folder or the address of a bucket; None: a new samples-N or edits-N beside the weights
    ray         in workers, on the cluster of $RAY_ADDRESS or on this machine
    resume      go on with what the same command has left there when it was stopped; without `out`, in the newest such

    Media of another command are never replaced: MultigenError lists how it differs. Of the same, what is missing is
    made. The folder appears with the first medium.
    """
    model = _opened(source, overrides, device, weights_hash)
    asked, kind, usual = _asked(model, common or Request(), requests)
    n, seed = n or usual, model.recipe.seed if seed is None else seed
    said = describe(model, kind, asked, {"n": n, "seed": seed, "trajectory": trajectory, "clip": clip})
    resumes = said if resume else None
    with outbox(out) as box, result_folder(source, model.recipe, kind, box.folder, resumes) as claim:
        sources = Sources(claim.folder, asked, media_options(model.recipe))
        kept = MediaSet(model, claim, said, n * len(asked), begin=sources.copy, on_save=box.push)
        start = _start(model, asked, n, seed, sources)
        if ray:
            worker = Arguments(box.address or claim.folder.absolute(), source, overrides, device)
            start = bulk(kept, model, listed_media(model, asked, n, seed, sources), worker)
        make_media(kept, model, start, quiet=quiet)
        if trajectory:
            _write_traces(model, asked, n, seed, claim.folder, clip=clip)
        if ray:
            box.pull()
        _finish(model, kept)
    return box.address or claim.folder


def _opened(source: str, overrides: Sequence[str], device: str | None, wanted: str) -> Model:
    """A model. MultigenError where it has other weights than those that are wanted."""
    model = open_model(source, overrides, device)
    if wanted and model.known_hash() != wanted:
        raise MultigenError(
            f"the weights at hand for {model.recipe.name} are others ({model.known_hash()}) than those that made the "
            f"file ({wanted}); give those with weights=FILE or weights=FOLDER"
        )
    return model


def _asked(
    model: Model, common: Request, requests: Sequence[Request] | None
) -> tuple[list[Request], str, int]:
    """The requests, filled from what they have in common; what results are called; how many of each by default."""
    settings = model.recipe.sample
    prompts, kind, n = (
        (settings.prompts, "samples", settings.n) if common.edit is None else ([""], "edits", 1)
    )
    if requests is None:
        requests = [Request(prompt) for prompt in prompts]
    return [filled(request, common) for request in requests], kind, n


def sample_blend(
    source: str,
    common: Request | None = None,
    *,
    requests: Sequence[Request] | None = None,
    n: int,
    seed: int | None = None,
    to_seed: int | None = None,
    overrides: Sequence[str] = (),
    out: Path | str | None = None,
    resume: bool = False,
    device: str | None = None,
    quiet: bool = False,
) -> Path | str:
    """Make `n` media from one request to another, or between two seeds of one; where they are.

    requests  one or two; None: `common` for the prompts of the recipe
    seed      of the first medium; None: the recipe's
    to_seed   of the last medium; None: the same

    The other arguments are those of `sample`.
    """
    model = open_model(source, overrides, device)
    ends, _, _ = _asked(model, common or Request(), requests)
    seed = model.recipe.seed if seed is None else seed
    first = dataclasses.replace(ends[0], seed=seed)
    last = dataclasses.replace(ends[-1], seed=seed if to_seed is None else to_seed)
    if len(ends) > 2:
        raise MultigenError(f"--blend takes two prompts, or one and two seeds; {len(ends)} prompts are given")
    first, last = _apart(model, first, last)
    if not first.differs(last):
        raise MultigenError("--blend needs two prompts, a second seed, --to-seed N, or two pictures")
    said = describe(model, "blend", [first, last], {"n": n})

    def start(progress: Progress, there: frozenset[int]) -> Iterable[Made]:
        most = under_way(model)
        made = blend(model, (first, last), n=n, batch=most, on_progress=lambda _: progress.called())
        check_written(model, [made.batcher.jobs[0].plan])  # all have its options
        for one in batched(made.batcher, progress, there):
            assert one.medium is not None
            yield one._replace(medium=made.shown(one.place, one.medium))

    resumes = said if resume else None
    with outbox(out) as box, result_folder(source, model.recipe, "samples", box.folder, resumes) as claim:
        kept = MediaSet(model, claim, said, n, steps=first.steps, on_save=box.push)
        make_media(kept, model, start, quiet=quiet)
        _finish(model, kept)
    return box.address or claim.folder


def _apart(model: Model, first: Request, last: Request) -> tuple[Request, Request]:
    """The ends of a blend: of two pictures whose embeddings are drawn each has one."""
    if len(first.images) != 2 or model.recipe.adapters:
        return first, last
    one, other = first.images
    return dataclasses.replace(first, images=(one,)), dataclasses.replace(last, images=(other,))


def filled(request: Request, common: Request) -> Request:
    """The request, with what it leaves open from `common`. An edit takes no size: it is as large as its medium."""
    edit = common.edit if request.edit is None else request.edit
    taken = {"size", "duration"} if edit is not None else set()
    names = {f.name for f in dataclasses.fields(Request)} - taken - {"prompt", "seed", "options", "edit"}
    empty = Request()
    left = {k: getattr(common, k) for k in names if getattr(request, k) == getattr(empty, k)}
    return dataclasses.replace(request, **left, options={**common.options, **request.options}, edit=edit)


def _start(model: Model, requests: Sequence[Request], n: int, seed: int, sources: Sources) -> Start:
    """Begins to make `n` media of each request; the manifest says how each was made."""

    def start(progress: Progress, there: frozenset[int]) -> Iterable[Made]:
        made = model.batcher(
            requests, n=n, seed=seed, batch=under_way(model), on_progress=lambda _: progress.called()
        )
        check_written(model, [job.plan for k, job in made.jobs.items() if k % n == 0])
        errors = inversion_errors(model, requests)
        origins = [sources.facts(request) for request in requests]
        how = [
            facts(requests[k // n], job.plan, origins[k // n], errors.get(k // n))
            for k, job in made.jobs.items()
        ]
        return batched(made, progress, there, how.__getitem__)

    return start


def _write_traces(
    model: Model, requests: Sequence[Request], n: int, seed: int, folder: Path, *, clip: bool
) -> None:
    """Keep pictures of how the first medium of each request is made."""
    for number, request in enumerate(requests):
        trace = model.trace(dataclasses.replace(request, seed=first_seed(request, number, n, seed)))
        if trace.medium is not None and any(flag.action == "blur" for flag in trace.medium.flags):
            log.warning("request %d: no trajectory, which would show what a filter blurs", number + 1)
            continue
        trace.save(model, folder / TRACES, f"{number:03d}", clip=clip)


def _finish(model: Model, kept: MediaSet) -> None:
    """What a folder holds beside its media, where a stopped command did not come to it."""
    if len(kept.there) == kept.total and (kept.folder / REPORT).is_file():
        return
    write_preview(kept, model)
    write_text(kept.folder / "sampled.yaml", to_yaml(model.recipe))
    report(model, kept.folder, {})


@contextmanager
def result_folder(
    source: str, recipe: Recipe, kind: str, out: Path | None, resumes: Mapping[str, Any] | None = None
) -> Iterator[Claim]:
    """Claim `out`, or a new folder beside what was loaded from `source`, inside the block.

    resumes  what the command asks for, where it has to go on with one that was stopped: the newest folder of that

    MultigenError if `out` is a run folder, or where there is nothing to go on with.
    """
    base = home(source, recipe) / kind
    if out is not None and ((out / "checkpoints").is_dir() or is_finished(out)):
        raise MultigenError(f"--out {out}: this is a run folder; give another folder, or omit --out")
    if resumes is not None:
        out = out or _stopped(base, resumes)
        if read_manifest(out) is None:
            raise MultigenError(f"--resume: there is nothing to go on with in {out}")
    with claimed_new(base) if out is None else claimed(out) as claim:
        yield claim


def _stopped(base: Path, asked: Mapping[str, Any]) -> Path:
    """The newest of the folders base-N whose command asked for the same."""
    numbers = [
        int(p.name.rpartition("-")[2]) for p in base.parent.glob(f"{base.name}-*") if p.name[-1:].isdecimal()
    ]
    folders = [base.with_name(f"{base.name}-{k}") for k in sorted(numbers, reverse=True)]
    same = [folder for folder in folders if read_manifest(folder) and conflict(folder, asked) is None]
    if not same:
        stopped = next((folder for folder in folders if unfinished(folder)), None)
        rows = [] if stopped is None else conflict(stopped, asked) or []
        near = f" {stopped} was stopped, but asked for another thing: {listed(rows)}." if rows else ""
        raise MultigenError(f"--resume: no command with these settings was stopped in {base.parent}.{near}")
    return next((folder for folder in same if unfinished(folder)), same[0])


def home(source: str, recipe: Recipe) -> Path:
    """The run folder of what was loaded from `source`, or the folder of the weights file."""
    path = Path(source).expanduser()
    if path.suffix == ".safetensors":
        return path.parent
    return path if (path / RECIPE).is_file() else Path("runs") / recipe.name
