"""What the commands do: run (train if needed, sample, report), train, sample. One run folder holds it all."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from multigen.core.drive import Progress
from multigen.datasets import Dataset
from multigen.device import choose_device, choose_precision, describe
from multigen.diffusers_folder import is_id
from multigen.errors import MediaError, MultigenError, RecipeError
from multigen.files import sha256, write_text
from multigen.loading import (
    PATHS,
    RECIPE,
    TRAINED,
    WEIGHTS,
    Found,
    build,
    find,
    is_trained,
    named,
    read_weights,
    run_weights,
    sampling_recipe,
    shipped_weights,
)
from multigen.manifest import recipe_changes
from multigen.media import Media
from multigen.model import Model, build_dataset, resolve
from multigen.recipe import Recipe, check_combination, load_recipe, to_yaml
from multigen.registry import Part
from multigen.round_trip import copies
from multigen.run_folder import TRACES, Stream, locked, make, new_folder, report
from multigen.sampling import Wish
from multigen.training import checkpoint as checkpoints
from multigen.training import log as training_log
from multigen.training.task import Diffusion, Task
from multigen.training.trainer import Trainer
from multigen.training.vocoding import Vocoding

log = logging.getLogger(__name__)

# Keys of `train` that may change between two starts of one run.
FREE = frozenset(
    {"steps", "minutes", "workers", "checkpoint_every", "keep", "log_every", "held_out_every", "preview_every",
     "bad_media", "tensorboard", "compile"}
)  # fmt: skip
# How many training media the codec's statistics are taken from.
FIT_ITEMS = 400


def run(
    recipe: Recipe,
    *,
    out: Path | None = None,
    device: str | None = None,
    quiet: bool = False,
    force: bool = False,
) -> Path:
    """Make the media that the recipe describes; returns the run folder.

    With the weights that the recipe names, unless the folder holds a training of its own; with `weights` null it
    trains first where nothing is trained yet.
    """
    folder, recipe = _begin(recipe, out, device)
    with locked(folder):
        bad: dict[str, str] = {}
        if recipe.weights is not None and not is_trained(folder):
            model = _with_weights(recipe, folder, device)
        else:
            recipe, bad = _trained(recipe, folder, device, quiet, force)
            model = _final(recipe, folder, device)
        stream, total = _media(model)
        make(model, folder, stream, total=total, quiet=quiet)
        report(model, folder, bad)
    return folder


def _media(model: Model) -> tuple[Stream, int]:
    """The media that the recipe describes, as they come, and how many."""
    recipe, n = model.recipe, model.recipe.sample.n
    if recipe.backbone is None:
        dataset = build_dataset(recipe, model.modality)
        return lambda _: copies(model, dataset, n, recipe.seed), 2 * n
    prompts = recipe.sample.prompts
    return lambda watch: model.stream(prompts, n=n, seed=recipe.seed, watch=watch), n * len(prompts)


def train(
    recipe: Recipe,
    *,
    out: Path | None = None,
    device: str | None = None,
    quiet: bool = False,
    force: bool = False,
) -> Path:
    """Train the recipe to its end, going on where its run folder stands. Returns the run folder.

    The weights that a recipe names are for `run`: `train.init` is what a training starts from.
    """
    folder, recipe = _begin(dataclasses.replace(recipe, weights=None), out, device)
    with locked(folder):
        if (folder / WEIGHTS).is_file() and checkpoints.newest(folder / "checkpoints") is None:
            raise MultigenError(
                f"{folder}: there are weights but no checkpoint to go on from. Train further in a new folder: "
                f"train.init={folder} --out another"
            )
        recipe, bad = _trained(recipe, folder, device, quiet, force)
        report(_final(recipe, folder, device), folder, bad)
    return folder


def sample(
    source: str,
    *,
    prompts: Sequence[str] | None = None,
    wishes: Sequence[Wish] | None = None,
    n: int | None = None,
    seed: int | None = None,
    steps: int | None = None,
    scale: float | None = None,
    negative: str | None = None,
    size: int | tuple[int, int] | None = None,
    duration: float | None = None,
    overrides: Sequence[str] = (),
    trajectory: bool = False,
    long: bool = False,
    wrap: bool = False,
    blend: tuple[int, int | None] | None = None,
    out: Path | None = None,
    device: str | None = None,
    quiet: bool = False,
) -> Path:
    """Media from a run folder, weights or a trained recipe; returns the folder they are in.

    `overrides` change how the model samples (sampler, timesteps, guide, sample, seed). `wishes`, in place of prompts,
    are made side by side, each `n` times; what one leaves open is as the other arguments say. `trajectory` also keeps
    how the first medium of each prompt came about (see `multigen.trace`). `long` and `wrap` as in `Model.generate`;
    `blend`: (n, last seed) for n media on the way from the first prompt and seed to the second. Without `out` the
    media go into a new folder `samples-N` of the run folder (beside the weights file).
    """
    found = find(source)
    recipe = sampling_recipe(found.recipe, overrides)
    check_combination(recipe)
    model = build(found, recipe, device=device)
    folder = result_folder(source, recipe, "samples", out)
    with locked(folder):
        seed = recipe.seed if seed is None else seed
        common: dict[str, Any] = {"steps": steps, "scale": scale, "negative": negative}
        common |= {"size": size, "duration": duration}
        asked, n = list(prompts or recipe.sample.prompts), n or recipe.sample.n

        def stream(watch: Callable[[Progress], None]) -> Iterator[Media]:
            if blend is not None:
                return iter(_blend(model, asked, blend, seed, common, watch))
            if wishes is None:
                return model.stream(asked, n=n, seed=seed, watch=watch, long=long, wrap=wrap, **common)
            return _in_order(model.many(_each(wishes, n, seed, common), watch=watch))

        total = n * len(wishes or asked) if blend is None else blend[0]
        make(model, folder, stream, total=total, steps=steps, quiet=quiet)
        for number, prompt in enumerate(asked if trajectory else []):
            trace = model.trace(prompt, seed=seed + number * n, steps=steps, scale=scale, negative=negative)
            trace.save(model, folder / TRACES, f"{number:03d}")
        write_text(folder / "sampled.yaml", to_yaml(recipe))
        report(model, folder, {})
    return folder


def _blend(
    model: Model,
    prompts: Sequence[str],
    blend: tuple[int, int | None],
    seed: int,
    common: Mapping[str, Any],
    watch: Callable[[Progress], None],
) -> list[Media]:
    if len(prompts) > 2:
        raise MultigenError(
            f"--blend goes between two prompts, or two seeds of one; {len(prompts)} are given"
        )
    n, last = blend
    if len(set(prompts)) == 1 and last in (None, seed):
        raise MultigenError("--blend needs two prompts, or another seed to go to: --to-seed N")
    how = {k: common[k] for k in ("steps", "scale", "negative")}
    ends = (prompts[0], prompts[-1])
    return model.blend(ends, seeds=(seed, seed if last is None else last), n=n, watch=watch, **how)


def _each(wishes: Sequence[Wish], n: int, seed: int, common: Mapping[str, Any]) -> list[Wish]:
    """Every wish n times, what it leaves open filled in; seeds count on as in `Model.generate`."""
    out = []
    for i, wish in enumerate(wishes):
        open_ = {k: v for k, v in common.items() if getattr(wish, k) is None}
        first = seed + i * n if wish.seed is None else wish.seed
        out += [dataclasses.replace(wish, seed=first + k, **open_) for k in range(n)]
    return out


def _in_order(made: Iterable[tuple[int, Media]]) -> Iterator[Media]:
    """Media by their place, each as soon as those before it are there."""
    early: dict[int, Media] = {}
    place = 0
    for number, medium in made:
        early[number] = medium
        while place in early:
            yield early.pop(place)
            place += 1


def edit(
    source: str,
    media: Path,
    *,
    prompts: Sequence[str] | None = None,
    steps: int | None = None,
    seed: int | None = None,
    n: int = 1,
    overrides: Sequence[str] = (),
    out: Path | None = None,
    device: str | None = None,
    quiet: bool = False,
    masked: Callable[[Model, Tensor], Mapping[str, Any]] | None = None,
    operator: Part | None = None,
    **how: Any,
) -> Path:
    """Edits of one file by a model, as `Model.edit` has them with the arguments `how`; returns their folder.

    With an `operator` as `Model.restore` has them.

    `masked` makes of the model and the medium [C, *D] those arguments that depend on them: keep, extend, seam.
    Without `out` the media go into a new folder `edits-N`, as those of `sample`.
    """
    found = find(source)
    recipe = sampling_recipe(found.recipe, overrides)
    check_combination(recipe)
    model = build(found, recipe, device=device)
    medium = model.read(media)
    asked = list(prompts or [""])
    # Before a folder is made: what is wrong is said, and nothing is left behind.
    if operator is not None:
        made = model.restore(medium, asked, operator=operator, n=n, seed=seed, steps=steps, **how)
        how["operator"] = {"name": operator.name, **operator.args}
    else:
        how |= {} if masked is None else masked(model, medium)
        made = model.edit(medium, asked, n=n, seed=seed, steps=steps, **how)
        if how.get("invert") is not None:
            how["inversion_error"] = _inversion_error(model, medium, steps, how)
            log.info("inverted and back: %.3f of full scale from the source", how["inversion_error"])
    folder = result_folder(source, recipe, "edits", out)
    settings = {k: v for k, v in how.items() if v is not None and not isinstance(v, Tensor)}
    with locked(folder):
        more = {"edit": {**settings, "source": media.name, "source_sha256": sha256(media)}}
        make(model, folder, lambda _: made, total=len(made), steps=steps, more=more, quiet=quiet)
        write_text(folder / "sampled.yaml", to_yaml(recipe))
        report(model, folder, {})
    return folder


def _inversion_error(model: Model, medium: Tensor, steps: int | None, how: Mapping[str, Any]) -> float:
    """Root mean square of what inversion and the way back without guidance lose, under the source's own prompt."""
    kept = {k: how[k] for k in ("strength", "invert", "long", "wrap") if k in how}
    again = model.edit(medium, str(how["invert"]), steps=steps, scale=1.0, **kept)[0].tensor
    source = medium[tuple(slice(n) for n in again.shape)]
    return round(float((again - source).square().mean().sqrt()), 4)


def result_folder(source: str, recipe: Recipe, kind: str, out: Path | None) -> Path:
    """`out`, which must be no run folder, or a new one beside what was loaded from `source`."""
    if out is None:
        return new_folder(_home(source, recipe) / kind)
    if (out / "checkpoints").is_dir() or (out / WEIGHTS).is_file():
        raise MultigenError(f"--out {out}: this is a run folder; give another, or leave --out away")
    return out


def evaluate(
    source: str,
    *,
    overrides: Sequence[str] = (),
    seed: int | None = None,
    media: Path | None = None,
    convert: bool = False,
    out: Path | None = None,
    device: str | None = None,
    quiet: bool = False,
) -> tuple[Path, list[str]]:
    """Measure a run folder, weights or a trained recipe as its `evaluate` part says.

    Writes evaluation.json and report.html to `out`, or to the run folder (runs/<recipe name> for weights); returns
    the folder and the result in lines. `overrides` change how the model samples and what is measured. With `media` the
    files of that folder are measured in place of the model's (see `multigen.evaluation.evaluate.evaluate`).
    """
    from multigen.evaluation import tables
    from multigen.evaluation.evaluate import evaluate as measure

    found = find(source)
    recipe = sampling_recipe(found.recipe, [*overrides, *([] if seed is None else [f"seed={seed}"])])
    check_combination(recipe)
    model = build(found, recipe, device=device)
    path = Path(source).expanduser()
    folder = out or (path if (path / RECIPE).is_file() else Path("runs") / recipe.name)
    with locked(folder):
        lines = tables.lines(measure(model, folder, media=media, convert=convert, quiet=quiet))
        report(model, folder, {})
    return folder, lines


def _begin(recipe: Recipe, out: Path | None, device: str | None) -> tuple[Path, Recipe]:
    """The run folder and the recipe with absolute paths; what needs no work is refused first."""
    choose_device(device)
    return out or Path("runs") / recipe.name, _absolute(recipe)


def _final(recipe: Recipe, folder: Path, device: str | None) -> Model:
    """The trained model; its recipe is the folder's from now on."""
    model = build(Found(recipe, run_weights(folder), str(folder)), recipe, device=device)
    write_text(folder / RECIPE, to_yaml(recipe))
    return model


def _with_weights(recipe: Recipe, folder: Path, device: str | None) -> Model:
    """The model with the weights that its recipe names."""
    check_combination(recipe)
    found = named(recipe, recipe.name)
    model = build(found, found.recipe, device=device)
    log.info("%s: with the weights %s; weights=null trains anew", recipe.name, recipe.weights)
    write_text(folder / RECIPE, to_yaml(found.recipe))
    return model


def _home(source: str, recipe: Recipe) -> Path:
    """The run folder of what was loaded from `source`, or the folder of the weights file."""
    path = Path(source).expanduser()
    if path.suffix == ".safetensors":
        return path.parent
    return path if (path / RECIPE).is_file() else Path("runs") / recipe.name


# --- training ---------------------------------------------------------------------------------------------------


def _trained(
    recipe: Recipe, folder: Path, device: str | None, quiet: bool, force: bool
) -> tuple[Recipe, dict[str, str]]:
    """Train in `folder` as far as the recipe asks. The resolved recipe, and the media that could not be read."""
    newest = checkpoints.newest(folder / "checkpoints")
    finished = (folder / WEIGHTS).is_file()
    if newest is None and not finished:
        return _train(recipe, folder, None, device, quiet)
    recipe = _same_run(recipe, folder, force)
    if newest is None:
        # Weights that somebody passed on without their checkpoints, or all of these are broken.
        before = load_recipe(str(folder / RECIPE))
        if before.train != recipe.train:
            log.warning("%s: no checkpoint to go on from; its weights are used as they are", folder)
        return dataclasses.replace(recipe, train=before.train), {}
    state = checkpoints.load(newest)
    if finished and _complete(recipe, state):
        return recipe, dict(state.state.get("bad", {}))
    return _train(recipe, folder, state, device, quiet)


def _train(
    recipe: Recipe, folder: Path, state: checkpoints.Checkpoint | None, device: str | None, quiet: bool
) -> tuple[Recipe, dict[str, str]]:
    """Train from a checkpoint's state or from the start."""
    check_combination(recipe)
    init = read_weights(recipe.train.init) if state is None and recipe.train.init is not None else None
    dataset = build_dataset(recipe)
    known = resolve(recipe, dataset)
    if known != recipe:  # the data named the classes: now the prompts can be checked too
        check_combination(known)
    recipe = known
    model = Model(recipe, device=device)
    _announce(model, dataset, folder)
    if state is None:
        _start(model, dataset, init)
    trainer = _trainer(model, dataset, folder, quiet)
    rows = []
    if state is not None:
        trainer.restore(state)
        rows = training_log.read(folder, until=trainer.step)
        log.info("going on from step %d", trainer.step)
    for name, why in dataset.bad.items():
        log.warning("skipped: %s", why)
        trainer.bad.setdefault(name, why)
    trainer.check_bad()
    write_text(folder / RECIPE, to_yaml(recipe))
    write_text(folder / training_log.FILE, "".join(f"{training_log.dumps(r)}\n" for r in rows))
    if state is not None:
        (folder / WEIGHTS).unlink(missing_ok=True)  # they are in the checkpoint, until training ends anew
    trainer.run()
    with trainer.ema.applied():
        model.save(folder / WEIGHTS)
    return recipe, trainer.bad


def _announce(model: Model, dataset: Dataset, folder: Path) -> None:
    precision = choose_precision(model.recipe.train.precision, model.device)
    # A codec computes sounds, not samples of a network: in full precision.
    where = describe(model.device, None if model.recipe.backbone is None else precision)
    facts = f"{model.facts['parameters']} parameters, model space {model.facts['model space']}"
    text = "%s: training on %s; %s; %d items; run folder %s"
    log.info(text, model.recipe.name, where, facts, len(dataset), folder)


def _trainer(model: Model, dataset: Dataset, folder: Path, quiet: bool) -> Trainer:
    recipe = model.recipe

    def preview(step: int) -> None:
        settings = recipe.sample
        if recipe.backbone is None:
            made = list(copies(model, dataset, 4, recipe.seed))
        else:
            n = max(8 // max(len(settings.prompts), 1), 1)
            made = model.generate(settings.prompts[:4], n=n, seed=recipe.seed)
        path = folder / "previews" / f"step-{step:08d}.png"
        path.parent.mkdir(exist_ok=True)
        model.modality.preview([m.tensor for m in made]).save(path)

    return Trainer(
        task=_task(model, dataset),
        dataset=dataset,
        settings=recipe.train,
        seed=recipe.seed,
        folder=folder,
        device=model.device,
        preview=preview,
        quiet=quiet,
    )


def _task(model: Model, dataset: Dataset) -> Task:
    """What the recipe's training teaches."""
    recipe, device = model.recipe, model.device
    if recipe.backbone is None:
        return Vocoding(
            codec=model.codec, dataset=dataset, settings=recipe.train, seed=recipe.seed, device=device
        )
    return Diffusion(
        denoiser=model.denoiser,
        conditioner=model.conditioner,
        codec=model.codec,
        dataset=dataset,
        settings=recipe.train,
        seed=recipe.seed,
        device=device,
        precision=choose_precision(recipe.train.precision, device),
    )


def _start(model: Model, dataset: Dataset, init: dict[str, Tensor] | None) -> None:
    """Weights from `train.init`, or the codec's statistics from the training media."""
    if init is not None:
        model.start_from(init, f"train.init ({model.recipe.train.init})")
        return
    indices, _ = dataset.split()
    stride = max(len(indices) // FIT_ITEMS, 1)
    model.codec.fit(_readable(dataset, list(indices)[::stride][:FIT_ITEMS]))


def _readable(dataset: Dataset, indices: Sequence[int]) -> Iterator[Any]:
    for index in indices:
        try:
            yield dataset[index]["media"]
        except MediaError:  # training names it when it meets it
            continue


def _complete(recipe: Recipe, state: checkpoints.Checkpoint) -> bool:
    t, s = recipe.train, state.state
    by_steps = t.steps is not None and s["step"] >= t.steps
    by_time = t.minutes is not None and s["seconds"] >= 60 * t.minutes
    return by_steps or by_time


def _same_run(recipe: Recipe, folder: Path, force: bool) -> Recipe:
    """Refuse to mix two trainings in one folder; what the first one filled in stays."""
    path = folder / RECIPE
    if not path.is_file():
        return recipe
    before = load_recipe(str(path))
    if recipe.conditioner.args.get("classes") is None and recipe.conditioner.name == before.conditioner.name:
        filled = {k: v for k, v in before.conditioner.args.items() if k == "classes"}
        part = dataclasses.replace(recipe.conditioner, args={**recipe.conditioner.args, **filled})
        recipe = dataclasses.replace(recipe, conditioner=part)
    changes = [c for c in recipe_changes(before, recipe) if _matters(c[0])]
    if changes and not force:
        rows = "; ".join(f"{key}: {old!r} -> {new!r}" for key, old, new in changes[:6])
        raise RecipeError(
            f"{folder} holds another training of {before.name} ({rows}). Give another folder with --out, "
            "or --force to go on in this one with the new settings."
        )
    return recipe


def _matters(key: str) -> bool:
    head, _, rest = key.partition(".")
    return head in (*TRAINED, "seed") or (head == "train" and rest.partition(".")[0] not in FREE)


def _absolute(recipe: Recipe) -> Recipe:
    """Paths made absolute, so that the resolved recipe runs again from anywhere."""

    def part(old: Part) -> Part:
        given = {k: v for k, v in old.args.items() if k in PATHS and isinstance(v, str)}
        paths = {k: v if is_id(v) else _full(v) for k, v in given.items()}
        if isinstance(source := old.args.get("vocoder"), str):
            paths["vocoder"] = str(weights(source))
        return Part(old.name, {**old.args, **paths})

    def weights(source: str | None) -> str | None:
        if source is None or source in shipped_weights() or not Path(source).expanduser().exists():
            return source  # what is not there is named in the message as it was given
        return _full(source)

    return dataclasses.replace(
        recipe,
        data=part(recipe.data),
        codec=part(recipe.codec),
        conditioner=part(recipe.conditioner),
        backbone=None if recipe.backbone is None else part(recipe.backbone),
        train=dataclasses.replace(recipe.train, init=weights(recipe.train.init)),
        weights=weights(recipe.weights),
    )


def _full(path: str) -> str:
    return str(Path(path).expanduser().resolve())
