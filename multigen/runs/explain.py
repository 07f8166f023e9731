"""Explanations from Python, and what `multigen explain` does: `multigen.explain`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from multigen import registry
from multigen.errors import MultigenError
from multigen.evaluation.explain.explanation import FILE, Explanation
from multigen.evaluation.explain.picture import ATTENTION, DECIDES, LEFT_OUT, draw_swaps, draw_words
from multigen.evaluation.explain.swap import LEAST, Swapped, swap, unblurred
from multigen.evaluation.explain.words import tell_words
from multigen.evaluation.features import Feature
from multigen.evaluation.html_report import write_report
from multigen.generation.plan import Job, jobs
from multigen.generation.request import Request
from multigen.model.model import Model
from multigen.model.novelty import feature_part
from multigen.progress import Progress
from multigen.prompts.normal import clean
from multigen.provenance.marking import mark_picture
from multigen.recipe.dump import to_yaml
from multigen.runs.opened import open_model
from multigen.runs.sample import result_folder

log = logging.getLogger(__name__)

_ABOUT = {
    LEFT_OUT: "without each word: where the predicted clean medium moves, and by how much of its size",
    ATTENTION: "attention to each word, of all layers and heads, and its share",
    DECIDES: "what another prompt decides that takes over in one interval of noise levels",
}


def explain(
    source: str | Path,
    prompt: str,
    *overrides: str,
    against: Sequence[str] = (),
    n: int = 8,
    levels: int = 4,
    seed: int | None = None,
    out: str | Path | None = None,
    device: str | None = None,
    quiet: bool = False,
) -> Explanation:
    """Tell what each word of a prompt does, and at which noise levels what is decided.

    source     a run folder, a weights file or a trained recipe
    overrides  changes to how it samples, and the feature in which media are scored: "evaluate.feature.name=hues"
    against    other prompts, each of which takes over during one interval of noise levels; () : only words
    n          seeds, from `seed` (the recipe's) on; four or more with `against`
    levels     intervals of noise levels, with as many steps each
    out        a new folder for explanation.json, pictures and report.html; None: explanation-N beside the weights
    device     "cpu", "cuda", "cuda:1", "mps"; by default the best one here
    quiet      show no progress

    Nothing is reused from step to step, and no guard against copies makes a medium again. MultigenError for an empty
    prompt, numbers out of range, a model with stages before it, what a filter blurs, and a folder that holds an
    explanation.
    """
    _check(prompt, against, n, levels)
    model = _opened(str(source), overrides, device)
    given = None if out is None else Path(out).expanduser()
    if given is not None and (given / FILE).exists():
        raise MultigenError(f"--out {given}: it holds another explanation; give another folder")
    first = model.recipe.seed if seed is None else seed
    own, *others = [_jobs(model, one, n, first) for one in (prompt, *against)]
    with result_folder(str(source), model.recipe, "explanation", given) as claim:
        told = tell_words(model, own, levels)
        unblurred(told.medium)
        feature = _feature(model) if others else None
        found: list[Swapped] = []
        if feature is not None:
            count = n * (1 + (1 + len(told.levels)) * len(others))
            with Progress("explain", count, quiet=quiet) as progress:
                found = swap(model, own, others, levels, feature, progress)
        claim.keep()
        name = "" if feature is None else feature.facts.name
        explanation = Explanation(claim.folder, prompt, n, told.levels, told, found, name)
        _write(model, explanation, first)
    return explanation


def _opened(source: str, overrides: Sequence[str], device: str | None) -> Model:
    """The model. MultigenError for one in stages."""
    model = open_model(source, overrides, device)
    if model.nearness is not None:
        log.warning(
            "%s: sample.novelty is on: `multigen sample` hands out another try of what is too near to an item. "
            "The first try of each seed is explained.",
            model.recipe.name,
        )
        model.nearness = None
    if model.recipe.stages:
        stages = ", ".join(model.recipe.stages)
        raise MultigenError(
            f"{model.recipe.name} is made in stages, which are explained one by one: {stages}"
        )
    return model


def _check(prompt: str, against: Sequence[str], n: int, levels: int) -> None:
    heard = clean(prompt, "--prompt").split()
    if not heard:
        raise MultigenError(f"--prompt: {prompt!r} has no words; give a text")
    least = LEAST if against else 1
    for name, value, lowest in (("-n", n, least), ("--levels", levels, 1)):
        if value < lowest:
            why = ", as media are scored by those of other seeds" if lowest > 1 else ""
            raise MultigenError(f"{name}: {value} is not allowed; give {lowest} or more{why}")
    for other in against:
        if clean(other, "--against").split() == heard:
            raise MultigenError(f"--against: {other!r} is the prompt itself; give another one")


def _jobs(model: Model, prompt: str, n: int, seed: int) -> list[Job]:
    return jobs(model, [Request(prompt, seed=seed, cache="off")], n, seed)


def _feature(model: Model) -> Feature:
    given = {"modality": model.modality}
    return registry.build("feature", feature_part(model.recipe), where="evaluate.feature", given=given)


def _write(model: Model, found: Explanation, seed: int) -> None:
    """Write the medium, the numbers, the pictures and the report."""
    folder, told = found.folder, found.told
    folder.mkdir(parents=True, exist_ok=True)
    made = draw_words(told, folder)
    if found.swapped:
        made += draw_swaps(found.swapped, found.levels, model.modality, folder)
    if told.medium.made is not None:
        for path in made:
            mark_picture(path, told.medium.made)
    media = told.medium.save(folder / "medium")
    found.save()
    captions = {
        f"first “{found.prompt}”, last “{one.other}”, between them the other during each interval": k
        for k, one in enumerate(found.swapped)
    }
    pictures = {_ABOUT[path.name]: path for path in made if path.name in _ABOUT}
    pictures |= {caption: folder / f"swaps-{k}.png" for caption, k in captions.items()}
    shown = {"file": media.name, "prompt": found.prompt, "seed": seed}
    write_report(
        folder,
        title=f"{model.recipe.name}: {found.prompt}",
        recipe_yaml=to_yaml(model.recipe),
        log=[],
        media=[shown | {"html": model.modality.html(told.medium.tensor)}],
        bad_media={},
        facts={**model.facts, "words measured by": ", ".join(found.measures), "seeds": str(found.n)},
        tables=found.tables(),
        pictures=pictures,
    )
    log.info("explanation in %s", folder / "report.html")
