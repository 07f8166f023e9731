"""What the commands do with a trained model: sample, edit, evaluate."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from multigen.core.drive import Progress
from multigen.errors import MultigenError
from multigen.files import sha256, write_text
from multigen.loading import RECIPE, build, find, is_finished, sampling_recipe
from multigen.lock import locked
from multigen.media import Media
from multigen.model import Model
from multigen.recipe import Recipe, check_combination, to_yaml
from multigen.registry import Part
from multigen.run_folder import TRACES, make, new_folder, report
from multigen.sampling import Wish

log = logging.getLogger(__name__)


def open_model(source: str, overrides: Sequence[str] = (), device: str | None = None) -> Model:
    """A trained model under overrides of how it samples. MultigenError where its parts do not go together."""
    found = find(source)
    recipe = sampling_recipe(found.recipe, overrides)
    check_combination(recipe)
    return build(found, recipe, device=device)


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
    model = open_model(source, overrides, device)
    recipe = model.recipe
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


@dataclasses.dataclass(frozen=True)
class Change:
    """How a medium is edited: the arguments of `Model.edit` that change it, under their names."""

    strength: float | None = None
    keep: Tensor | None = None
    extend: Sequence[int] = ()
    seam: int | None = None
    resample: int = 1
    invert: str | None = None
    long: bool = False
    wrap: bool = False


def edit(
    source: str,
    media: Path,
    *,
    change: Change | Callable[[Model, Tensor], Change] | Part,
    prompts: Sequence[str] | None = None,
    steps: int | None = None,
    negative: str | None = None,
    seed: int | None = None,
    n: int = 1,
    overrides: Sequence[str] = (),
    out: Path | None = None,
    device: str | None = None,
    quiet: bool = False,
) -> Path:
    """Edits of one file by a model, as `Model.edit` has them; returns their folder.

    `change` may be made of the model and the medium [C, *D], where it depends on them. An operator, such as
    Part("downsample"), restores as `Model.restore` does. Without `out` the media go into a new folder `edits-N`, as
    those of `sample`.
    """
    model = open_model(source, overrides, device)
    medium = model.read(media)
    how: dict[str, Any] = {"n": n, "seed": seed, "steps": steps, "negative": negative}
    # Before a folder is made: what is wrong is said, and nothing is left behind.
    if isinstance(change, Part):
        made = model.restore(medium, list(prompts or [""]), operator=change, **how)
        settings: dict[str, Any] = {"operator": {"name": change.name, **change.args}}
    else:
        change = change if isinstance(change, Change) else change(model, medium)
        asked = {f.name: getattr(change, f.name) for f in dataclasses.fields(change)}
        made = model.edit(medium, list(prompts or [""]), **asked, **how)
        settings = {k: v for k, v in asked.items() if v is not None and not isinstance(v, Tensor)}
        if change.invert is not None:
            settings["inversion_error"] = _inversion_error(model, medium, steps, change)
    settings |= {} if negative is None else {"negative": negative}
    folder = result_folder(source, model.recipe, "edits", out)
    with locked(folder):
        more = {"edit": {**settings, "source": media.name, "source_sha256": sha256(media)}}
        make(model, folder, lambda _: made, total=len(made), steps=steps, more=more, quiet=quiet)
        write_text(folder / "sampled.yaml", to_yaml(model.recipe))
        report(model, folder, {})
    return folder


def _inversion_error(model: Model, medium: Tensor, steps: int | None, change: Change) -> float:
    """Root mean square of what inversion and the way back without guidance lose, under the source's own prompt."""
    assert change.invert is not None
    again = model.edit(
        medium, change.invert, strength=change.strength, invert=change.invert, long=change.long, wrap=change.wrap,
        steps=steps, scale=1.0,
    )[0].tensor  # fmt: skip
    source = medium[tuple(slice(n) for n in again.shape)]
    error = round(float((again - source).square().mean().sqrt()), 4)
    log.info("inverted and back: %.3f of full scale from the source", error)
    return error


def result_folder(source: str, recipe: Recipe, kind: str, out: Path | None) -> Path:
    """`out`, which must be no run folder, or a new one beside what was loaded from `source`."""
    if out is None:
        return new_folder(_home(source, recipe) / kind)
    if (out / "checkpoints").is_dir() or is_finished(out):
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

    model = open_model(source, [*overrides, *([] if seed is None else [f"seed={seed}"])], device)
    path = Path(source).expanduser()
    folder = out or (path if (path / RECIPE).is_file() else Path("runs") / model.recipe.name)
    with locked(folder):
        lines = tables.lines(measure(model, folder, media=media, convert=convert, quiet=quiet))
        report(model, folder, {})
    return folder, lines


def _home(source: str, recipe: Recipe) -> Path:
    """The run folder of what was loaded from `source`, or the folder of the weights file."""
    path = Path(source).expanduser()
    if path.suffix == ".safetensors":
        return path.parent
    return path if (path / RECIPE).is_file() else Path("runs") / recipe.name
