"""What `multigen sample` and `multigen edit` do: make media with a trained model, in a folder of their own."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from multigen import registry
from multigen.errors import MultigenError
from multigen.generation.request import Request
from multigen.modalities import Modality
from multigen.modalities.media import Media
from multigen.model.compatibility import check_combination
from multigen.model.model import Model
from multigen.model.source import RECIPE, find, is_finished
from multigen.options import Option
from multigen.progress import Progress
from multigen.recipe.dump import to_yaml
from multigen.recipe.sampling import sampling_recipe
from multigen.recipe.schema import Recipe
from multigen.runs.folders import new_folder
from multigen.runs.media import make_media
from multigen.runs.report import TRACES, report
from multigen.runs.sample_manifest import facts, inversion_errors
from multigen.storage.files import write_text
from multigen.storage.lock import locked


def open_model(source: str, overrides: Sequence[str] = (), device: str | None = None) -> Model:
    """Load a trained model, with overrides of how it samples. MultigenError for parts that do not fit together."""
    found = find(source)
    recipe = sampling_recipe(found.recipe, overrides)
    check_combination(recipe)
    return Model.of(found, recipe, device=device)


def request_options(source: str) -> tuple[Option, ...]:
    """The options that the modality of a trained model declares, beside those of every request."""
    recipe = find(source).recipe
    modality: Modality = registry.build("modality", recipe.modality, where="modality")
    return modality.options


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
    out: Path | None = None,
    device: str | None = None,
    quiet: bool = False,
) -> Path:
    """Make media with a trained model; the folder that they are in.

    source      a run folder, a weights file or a trained recipe
    common      what the requests leave open
    requests    what to make, each `n` times; None: `common` for every prompt of the recipe, or once for an edit
    overrides   changes to how the model samples (sampler, timesteps, guide, sample, seed)
    trajectory  also keep pictures of how the first medium of each request is made; with `clip` as a clip, too
    out         the folder; None: a new samples-N or edits-N, in the run folder or beside the weights file
    """
    common = common or Request()
    model = open_model(source, overrides, device)
    settings, editing = model.recipe.sample, common.edit is not None
    if requests is None:
        requests = [Request(prompt) for prompt in ([""] if editing else settings.prompts)]
    asked = [filled(request, common) for request in requests]
    n = n or (1 if editing else settings.n)
    seed = model.recipe.seed if seed is None else seed
    folder = result_folder(source, model.recipe, "edits" if editing else "samples", out)
    with locked(folder):
        _make(model, folder, asked, n, seed, quiet)
        for number, request in enumerate(asked if trajectory else []):
            own = seed + number * n if request.seed is None else request.seed
            trace = model.trace(dataclasses.replace(request, seed=own))
            trace.save(model, folder / TRACES, f"{number:03d}", clip=clip)
        _finish(model, folder)
    return folder


def sample_blend(
    source: str,
    common: Request | None = None,
    *,
    requests: Sequence[Request] | None = None,
    n: int,
    seed: int | None = None,
    to_seed: int | None = None,
    overrides: Sequence[str] = (),
    out: Path | None = None,
    device: str | None = None,
    quiet: bool = False,
) -> Path:
    """Make `n` media from one request to another, or between two seeds of one; the folder that they are in.

    requests  one or two; None: `common` for the prompts of the recipe
    seed      of the first medium; None: the recipe's
    to_seed   of the last medium; None: the same

    The other arguments are those of `sample`.
    """
    model = open_model(source, overrides, device)
    asked = requests or [Request(prompt) for prompt in model.recipe.sample.prompts]
    seed = model.recipe.seed if seed is None else seed
    ends = [filled(request, common or Request()) for request in asked]
    first = dataclasses.replace(ends[0], seed=seed)
    last = dataclasses.replace(ends[-1], seed=seed if to_seed is None else to_seed)
    if len(ends) > 2:
        raise MultigenError(f"--blend takes two prompts, or one and two seeds; {len(ends)} prompts are given")
    if first == last:
        raise MultigenError("--blend needs two prompts, or a second seed: --to-seed N")
    folder = result_folder(source, model.recipe, "samples", out)

    def start(progress: Progress) -> Iterable[Media]:
        progress.expect(model.batcher(first).calls, 1)
        return model.blend((first, last), n=n, on_progress=lambda _: progress.called())

    with locked(folder):
        make_media(model, folder, start, total=n, steps=first.steps, quiet=quiet)
        _finish(model, folder)
    return folder


def filled(request: Request, common: Request) -> Request:
    """The request, with what it leaves open from `common`. An edit takes no size: it is as large as its medium."""
    edit = common.edit if request.edit is None else request.edit
    taken = {"size", "duration"} if edit is not None else set()
    names = {f.name for f in dataclasses.fields(Request)} - taken - {"prompt", "seed", "options", "edit"}
    empty = Request()
    left = {k: getattr(common, k) for k in names if getattr(request, k) == getattr(empty, k)}
    return dataclasses.replace(request, **left, options={**common.options, **request.options}, edit=edit)


def _make(model: Model, folder: Path, requests: Sequence[Request], n: int, seed: int, quiet: bool) -> None:
    """Write `n` media of each request to the folder, and how each was made to the manifest."""
    each: list[dict[str, Any]] = []

    def start(progress: Progress) -> Iterable[Media]:
        made = model.batcher(requests, n=n, seed=seed, on_progress=lambda _: progress.called())
        progress.expect(made.calls, len(made.jobs))
        errors = inversion_errors(model, requests)
        each.extend(facts(requests[k // n], job.plan, errors.get(k // n)) for k, job in made.jobs.items())
        return made.in_order()

    make_media(model, folder, start, total=n * len(requests), each=each, quiet=quiet)


def _finish(model: Model, folder: Path) -> None:
    write_text(folder / "sampled.yaml", to_yaml(model.recipe))
    report(model, folder, {})


def result_folder(source: str, recipe: Recipe, kind: str, out: Path | None) -> Path:
    """`out`, or a new folder beside what was loaded from `source`. MultigenError if `out` is a run folder."""
    if out is None:
        return new_folder(home(source, recipe) / kind)
    if (out / "checkpoints").is_dir() or is_finished(out):
        raise MultigenError(f"--out {out}: this is a run folder; give another folder, or omit --out")
    return out


def home(source: str, recipe: Recipe) -> Path:
    """The run folder of what was loaded from `source`, or the folder of the weights file."""
    path = Path(source).expanduser()
    if path.suffix == ".safetensors":
        return path.parent
    return path if (path / RECIPE).is_file() else Path("runs") / recipe.name
