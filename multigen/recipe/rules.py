"""Ranges of single values of a recipe, and relations between values."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from multigen import registry
from multigen.errors import MultigenError, RecipeError
from multigen.options import unknown_option
from multigen.prompts.normal import clean
from multigen.recipe.composed import Composed
from multigen.recipe.declared import builtin_options
from multigen.recipe.schema import Recipe, Train

# What is allowed, in words, and whether a value is.
Rule = tuple[str, Callable[[Any], bool]]
_positive: Rule = ("a number above 0", lambda v: v > 0)
_count: Rule = ("a whole number, at least 1", lambda v: v >= 1)
_from_0: Rule = ("a number, 0 or more", lambda v: v >= 0)
_share: Rule = ("a number from 0 to 1", lambda v: 0 <= v <= 1)
_below_1: Rule = ("a number from 0 to below 1", lambda v: 0 <= v < 1)

RULES: Mapping[str, Rule] = {
    # The name becomes a folder: a recipe from elsewhere must not write to another place.
    "name": (
        "a folder name of letters, digits, '_', '-' and '.', the first one a letter or digit",
        lambda v: bool(re.fullmatch(r"[^\W_][\w.-]{0,99}", v)),
    ),
    "seed": ("a whole number from 0 to 2^62 - 1", lambda v: 0 <= v < 2**62),
    "sample.novelty.share": _share,
    "sample.novelty.distance": _positive,
    "sample.novelty.tries": _count,
    "sample.novelty.bank": ("a whole number, at least 2", lambda v: v >= 2),
    "train.dedup_near": _positive,
    "evaluate.groups.n": _count,
    "train.steps": _count,
    "train.minutes": _positive,
    "train.batch": ("a whole number from 1 to 65536, or auto", lambda v: v == "auto" or 1 <= v <= 65536),
    "train.accumulate": _count,
    "train.lr": _positive,
    "train.warmup": _from_0,
    "train.weight_decay": _from_0,
    "train.betas": _below_1,
    "train.grad_clip": _positive,
    "train.ema_decay": _below_1,
    "train.post_hoc.every": _from_0,
    "train.post_hoc.sigmas": ("sigma_rel from 0.001 to below 0.2887", lambda v: 0.001 <= v < 12**-0.5),
    "train.post_hoc.keep": _from_0,
    "train.cond_dropout": _share,
    "train.drop.vector": _share,
    "train.drop.tokens": _share,
    "train.drop.grid": _share,
    "train.prior.count": _count,
    "train.prior.weight": _from_0,
    "train.replay.share": ("a number from 0.01 to 0.99", lambda v: 0.01 <= v <= 0.99),
    "train.replay.count": _count,
    "train.huber": ("a number from 0.001 to 100", lambda v: 0.001 <= v <= 100),
    "train.offset_noise": ("a number from 0 to 1", lambda v: 0 <= v <= 1),
    "train.sizes": (
        "a list of sides or [height, width], each at least 1 pixel",
        lambda v: min(v if isinstance(v, tuple) else (v,)) >= 1,
    ),
    "train.durations": _positive,
    "train.crop": _count,
    "train.workers": _from_0,
    "train.checkpoint_every": _count,
    "train.keep": _count,
    "train.log_every": _count,
    "train.held_out_every": _from_0,
    "train.patience": _from_0,
    "train.preview_every": _from_0,
    "train.bad_media": _share,
    "train.cache": ("a number of GiB from 0 to 1e6", lambda v: 0 <= v <= 1e6),
    "launch.nproc": ("a whole number from 1 to 1024", lambda v: 1 <= v <= 1024),
    "launch.port": ("a whole number from 1 to 65535", lambda v: 1 <= v <= 65535),
    "launch.restarts": _from_0,
    "sample.n": _count,
    "sample.steps": _count,
    "sample.polish.passes": _from_0,
    "sample.polish.noise": ("a number from 0.001 to 1", lambda v: 0.001 <= v <= 1),
    "sample.size": _count,
    "sample.duration": _positive,
    "sample.batch": _count,
    "sample.handover": ("a number above 0 and below 1", lambda v: 0 < v < 1),
    "evaluate.n": ("a whole number, at least 8", lambda v: v >= 8),
    "evaluate.new": ("a whole number, at least 8", lambda v: v >= 8),
    "evaluate.bank": ("a whole number, at least 8", lambda v: v >= 8),
    "sample.suffix": ("a file suffix such as .png", lambda v: bool(re.fullmatch(r"\.[a-z0-9]{1,12}", v))),
}


def check_relations(recipe: Recipe, composed: Composed) -> None:
    """Raise RecipeError for the first values that do not work together."""
    _check_options(recipe, composed)
    train = recipe.train
    if train.steps is None and train.minutes is None:
        raise composed.error(
            "train: neither steps nor minutes is set. Set train.steps, train.minutes or both."
        )
    _check_batch(train, composed)
    if train.batch == "auto" and recipe.launch.fsdp:
        raise composed.error(
            "train.batch: auto is not allowed with launch.fsdp, where a process holds a part of the network only once "
            "the training begins. Allowed: a whole number."
        )
    if train.patience and not train.held_out_every:
        raise composed.error(
            "train.patience: it counts held-out losses, but train.held_out_every=0 measures none. Set both."
        )
    if train.post_hoc.every and not train.post_hoc.sigmas:
        raise composed.error("train.post_hoc.sigmas: [] is not allowed. Allowed: one sigma_rel or more.")
    if recipe.launch.name == "none" and recipe.launch.nproc != 1:
        raise composed.error(f"launch.nproc: {recipe.launch.nproc} is not allowed without launch=torchrun.")
    if recipe.launch.fsdp and recipe.launch.name != "none" and recipe.launch.nproc == 1:
        raise composed.error(
            "launch.fsdp: true is not allowed in one process, which holds everything anyway. Allowed: launch.nproc=2 "
            "or more."
        )
    try:
        check_world(train, recipe.launch.nproc, "launch.nproc")
    except RecipeError as error:
        raise composed.error(str(error), "launch.nproc") from None
    if recipe.stages and recipe.cascade is None and recipe.sample.handover is None:
        raise composed.error(
            "stages: they go with cascade, which says how the network sees what they made: "
            "cascade={name: enlarge, factor: 4}; or with sample.handover=0.8, where it takes over in noise."
        )
    if recipe.sample.handover is not None and (not recipe.stages or recipe.cascade is not None):
        raise composed.error(
            "sample.handover: it goes with stages=[...], the model that begins, and without a cascade."
        )
    if recipe.name in recipe.stages:
        raise composed.error(f"stages: {recipe.name} cannot come before itself.")
    if not recipe.sample.prompts:
        raise composed.error(
            "sample.prompts: [] is not allowed. Allowed: at least one prompt; '' means none."
        )
    _check_prompts(recipe, composed)


def _check_prompts(recipe: Recipe, composed: Composed) -> None:
    """RecipeError for prompts that no request may have, and for groups without one."""
    if recipe.evaluate.groups is not None and not recipe.evaluate.groups.neutral:
        raise composed.error(
            "evaluate.groups.neutral: [] is not allowed. Allowed: at least one prompt; '' means none."
        )
    sample = recipe.sample
    texts = {f"sample.prompts.{k}": prompt for k, prompt in enumerate(sample.prompts)}
    texts |= {f"sample.{name}": getattr(sample, name) for name in ("negative_prompt", "opening", "ending")}
    for place, text in texts.items():
        try:
            clean(text, place)
        except MultigenError as error:
            raise composed.error(str(error), place) from None


def _check_batch(train: Train, composed: Composed) -> None:
    """RecipeError for a batch that its parts do not divide, and for `auto` where no one batch can be measured."""
    if train.batch != "auto":
        if train.batch % train.accumulate:
            raise composed.error(
                f"train.accumulate: {train.accumulate} is not allowed. Allowed: a divisor of train.batch, "
                f"{train.batch}."
            )
        return
    if train.accumulate != 1:
        raise composed.error(
            f"train.accumulate: {train.accumulate} is not allowed. Allowed: 1, since train.batch=auto finds what fits "
            "into memory whole."
        )
    varied = {"train.sizes": train.sizes, "train.durations": train.durations, "train.prior": train.prior}
    for place, value in varied.items():
        if value:
            raise composed.error(
                f"train.batch: auto is not allowed with {place}, whose steps differ in size. Allowed: a whole number."
            )


def check_world(train: Train, size: int, place: str) -> None:
    """Raise RecipeError if `size` ranks cannot share each accumulated part of a batch evenly."""
    if train.batch == "auto":  # found for each rank
        return
    part = train.batch // train.accumulate
    if part % size:
        allowed = ", ".join(str(n) for n in range(1, part + 1) if part % n == 0)
        of = "train.batch" if train.accumulate == 1 else "train.batch / train.accumulate"
        raise RecipeError(f"{place}: {size} is not allowed. Allowed: a divisor of {of}, {part}: {allowed}.")


def _check_options(recipe: Recipe, composed: Composed) -> None:
    """RecipeError for `sample.options` that built-in parts do not declare, or whose values are wrong."""
    known = builtin_options(recipe)
    if known is None:
        return  # what others declare is checked where media are made
    declared = {option.name: option for option in known}
    for name, value in recipe.sample.options.items():
        place = f"sample.options.{name}"
        if name not in declared:
            raise composed.error(unknown_option(place, name, declared, recipe.name), place)
        try:
            declared[name].check(
                None if value is None else registry.convert(declared[name].type, value, place)
            )
        except MultigenError as error:
            raise composed.error(str(error), place) from None
