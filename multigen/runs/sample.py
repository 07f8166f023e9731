"""What the commands do with a trained model: sample, edit, evaluate."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from multigen.core.drive import Progress
from multigen.errors import MultigenError
from multigen.generation.request import Ask, Wish
from multigen.generation.trajectory import guide_part
from multigen.modalities.media import Media
from multigen.model.compatibility import check_combination
from multigen.model.load import RECIPE, build, find, is_finished, sampling_recipe
from multigen.model.model import Model
from multigen.recipe.dump import to_yaml
from multigen.recipe.schema import Recipe
from multigen.runs.edit_options import EditText
from multigen.runs.folders import new_folder
from multigen.runs.media import make_media, sampling_facts
from multigen.runs.report import TRACES, report
from multigen.storage.files import write_text
from multigen.storage.lock import locked

log = logging.getLogger(__name__)

Watch = Callable[[Progress], None]


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
    clip: bool = False,
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
    how the first medium of each prompt came about (see `multigen.generation.trace`), with `clip` as a clip, too. `long` and `wrap`
    as in `Model.generate`; `blend`: (n, last seed) for n media on the way from the first prompt and seed to the second.
    Without `out` the media go into a new folder `samples-N` of the run folder (beside the weights file).
    """
    model = open_model(source, overrides, device)
    recipe = model.recipe
    folder = result_folder(source, recipe, "samples", out)
    with locked(folder):
        seed = recipe.seed if seed is None else seed
        common: dict[str, Any] = {"steps": steps, "scale": scale, "negative": negative}
        common |= {"size": size, "duration": duration}
        asked, n = list(prompts or recipe.sample.prompts), n or recipe.sample.n

        def stream(watch: Watch) -> Iterator[Media]:
            if blend is not None:
                return iter(_blend(model, asked, blend, seed, common, watch))
            return model.stream(asked, n=n, seed=seed, watch=watch, long=long, wrap=wrap, **common)

        if wishes is not None:
            _side_by_side(model, folder, [_filled(w, common) for w in wishes], n, seed, steps, quiet)
        else:
            total = n * len(asked) if blend is None else blend[0]
            make_media(model, folder, stream, total=total, steps=steps, quiet=quiet)
        for number, prompt in enumerate(asked if trajectory else []):
            trace = model.trace(prompt, seed=seed + number * n, steps=steps, scale=scale, negative=negative)
            trace.save(model, folder / TRACES, f"{number:03d}", clip=clip)
        write_text(folder / "sampled.yaml", to_yaml(recipe))
        report(model, folder, {})
    return folder


def _blend(
    model: Model,
    prompts: Sequence[str],
    blend: tuple[int, int | None],
    seed: int,
    common: Mapping[str, Any],
    watch: Watch,
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


def _filled(wish: Wish, common: Mapping[str, Any]) -> Wish:
    """What the wish leaves open as the command says; an edit is as large as its medium."""
    taken = ("size", "duration") if wish.edit is not None else ()
    return dataclasses.replace(
        wish, **{k: v for k, v in common.items() if getattr(wish, k) is None and k not in taken}
    )


def _side_by_side(
    model: Model, folder: Path, wishes: Sequence[Wish], n: int, seed: int, steps: int | None, quiet: bool
) -> None:
    """Each wish's `n` media into the folder, and how each was made into the manifest."""
    each: list[dict[str, Any]] = []

    def stream(watch: Watch) -> Iterator[Media]:
        made = model.many(wishes, n=n, seed=seed, watch=watch)  # what is wrong with any is said here
        errors = _inversion_errors(model, wishes)
        each.extend(_facts(wishes[k // n], ask, errors.get(k // n)) for k, (_, ask) in enumerate(made.asked))
        return _in_order(made)

    make_media(model, folder, stream, total=n * len(wishes), steps=steps, each=each, quiet=quiet)


def _facts(wish: Wish, ask: Ask, error: float | None) -> dict[str, Any]:
    """What the manifest tells of a wish's media alone."""
    recipe = dataclasses.replace(ask.recipe, guide=guide_part(ask.recipe.guide, wish.scale))
    facts = sampling_facts(recipe, wish.steps)
    if wish.negative is not None:
        facts["negative"] = wish.negative
    if isinstance(wish.edit, EditText):
        windows = {k: True for k in ("long", "wrap") if getattr(wish, k)}
        facts["edit"] = {**wish.edit.facts(), **windows}
        facts["edit"] |= {} if error is None else {"inversion_error": error}
    return facts


def _inversion_errors(model: Model, wishes: Sequence[Wish]) -> dict[int, float]:
    """By the wish's number: root mean square of what inversion and the way back without guidance lose, under the
    source's own prompt."""
    back: dict[Wish, list[int]] = {}
    for number, wish in enumerate(wishes):
        if isinstance(wish.edit, EditText) and (prompt := wish.edit.invert) is not None:
            alone = EditText(wish.edit.input, strength=wish.edit.strength, invert=prompt)
            same = dataclasses.replace(wish, prompt=prompt, seed=None, scale=1.0, negative=None, edit=alone)
            back.setdefault(same, []).append(number)
    found = {}
    groups, made = list(back.values()), model.many(list(back))
    for place, medium in made:
        edit = made.asked[place][1].edit
        assert edit is not None
        source = edit.source.media[tuple(slice(n) for n in medium.tensor.shape)]
        error = round(float((medium.tensor - source).square().mean().sqrt()), 4)
        log.info("inverted and back: %.3f of full scale from the source", error)
        found |= dict.fromkeys(groups[place], error)
    return found


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
    how: EditText,
    *,
    prompts: Sequence[str] | None = None,
    steps: int | None = None,
    negative: str | None = None,
    long: bool = False,
    wrap: bool = False,
    seed: int | None = None,
    n: int = 1,
    overrides: Sequence[str] = (),
    out: Path | None = None,
    device: str | None = None,
    quiet: bool = False,
) -> Path:
    """`n` edits of a file for each prompt, as `Model.edit` and `Model.restore` have them; returns their folder.

    Without `out` the media go into a new folder `edits-N`, as those of `sample`.
    """
    model = open_model(source, overrides, device)
    asked = Wish(steps=steps, negative=negative, long=long, wrap=wrap, edit=how)
    wishes = [dataclasses.replace(asked, prompt=prompt) for prompt in prompts or [""]]
    folder = result_folder(source, model.recipe, "edits", out)
    with locked(folder):
        seed = model.recipe.seed if seed is None else seed
        _side_by_side(model, folder, wishes, n, seed, steps, quiet)
        write_text(folder / "sampled.yaml", to_yaml(model.recipe))
        report(model, folder, {})
    return folder


def result_folder(source: str, recipe: Recipe, kind: str, out: Path | None) -> Path:
    """`out`, which must be no run folder, or a new one beside what was loaded from `source`."""
    if out is None:
        return new_folder(_home(source, recipe) / kind)
    if (out / "checkpoints").is_dir() or is_finished(out):
        raise MultigenError(f"--out {out}: this is a run folder; give another, or leave --out away")
    return out


def _home(source: str, recipe: Recipe) -> Path:
    """The run folder of what was loaded from `source`, or the folder of the weights file."""
    path = Path(source).expanduser()
    if path.suffix == ".safetensors":
        return path.parent
    return path if (path / RECIPE).is_file() else Path("runs") / recipe.name
