"""Groups of media: how well each is made, and how often it comes where the prompt names none, beside the training data.

What a medium shows is judged by the group whose mean training item is nearest in the features of the evaluation. The
same judge looks at real media, also at those whose captions name no group, so that its own errors are on both sides. No
real medium is among the items by whose mean it is judged.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from multigen import registry
from multigen.core.noise import stream
from multigen.datasets import Dataset, Item
from multigen.errors import MediaError, MultigenError
from multigen.evaluation.features import Feature, extract
from multigen.evaluation.groups_judge import Judge, Real
from multigen.evaluation.metrics import Metric, Score, Target
from multigen.evaluation.results import short
from multigen.evaluation.sets import MediaSet, generated_set
from multigen.generation.parts import check_prompt
from multigen.model.model import Model
from multigen.recipe.guards import Groups

_Z = 1.959963984540054  # of a 95% interval
_LEAST = 2  # groups, and real media of each
_DRAWS = 400  # draws of training items, of which a small dataset makes several of each
GroupOf = Callable[[str, int | None], str | None]  # a caption and a label -> the only group that it names


def measure_groups(
    model: Model,
    dataset: Dataset,
    made: Sequence[MediaSet],
    metrics: Mapping[str, Metric],
    feature: Feature,
    neutral: MediaSet | None = None,
) -> dict[str, Any] | None:
    """Quality and shares by group, as `evaluate.groups` asks; None where it asks for nothing.

    `neutral`: media for its neutral prompts, where they are there already. MultigenError where captions and classes
    name fewer than two groups, or a neutral prompt names one.
    """
    settings = model.recipe.evaluate.groups
    if settings is None:
        return None
    feature = _judging(model, settings) or feature
    names, group_of = _asked(settings, dataset)
    train, held = dataset.split()
    # Captions that are held out as wholes, such as new colours of things, are no fair sample of the data.
    apart = held if len(held) and dataset.holds_out != "captions" else train
    seen = _real(model, dataset, train, group_of, feature, rounds=-(-_DRAWS // len(train)))
    real = _real(model, dataset, apart, group_of, feature, part="real")
    there = [name for name in names if seen.named(name) >= _LEAST]
    _check_there(there, names)
    judge = Judge(there, seen)
    neutral = neutral or neutral_set(model, settings)
    outputs = judge(extract(feature, neutral.media, device=model.device).double().mean(1))
    judged = judge.of_real(real)
    right = [a == b for a, b in zip(judged, real.groups, strict=True) if b in there]
    qualities = _quality(made, metrics, group_of)
    rows = [_row(name, seen.once(), judged, outputs, qualities) for name in there]
    between = 0.5 * sum(abs(row["outputs"]["share"] - row["real"]["share"]) for row in rows)
    return {
        "neutral": list(settings.neutral), "media": len(outputs), "judge": feature.facts.name,
        "judge_right": wilson(sum(right), len(right)), "apart": between, "rows": rows,
    }  # fmt: skip


def check_groups(model: Model, dataset: Dataset) -> None:
    """MultigenError or RecipeError as `measure_groups` has them, before any work."""
    settings = model.recipe.evaluate.groups
    if settings is None:
        return
    _judging(model, settings)
    for prompt in settings.neutral:
        try:
            check_prompt(model, prompt)
        except MultigenError as error:
            raise type(error)(f"evaluate.groups.neutral: {error}") from error
    names, group_of = _asked(settings, dataset)
    counts: dict[str | None, int] = dict.fromkeys(names, 0)
    for _, group, _ in _drawn(model, dataset, dataset.split()[0], group_of):
        counts[group] = counts.get(group, 0) + 1
        if sum(counts[name] >= _LEAST for name in names) >= _LEAST:
            return
    _check_there([name for name in names if counts[name] >= _LEAST], names)


def _judging(model: Model, settings: Groups) -> Feature | None:
    """The feature that judges, where the recipe names one."""
    if settings.judge is None:
        return None
    given = {"modality": model.modality}
    return registry.build("feature", settings.judge, where="evaluate.groups.judge", given=given)


def _asked(settings: Groups, dataset: Dataset) -> tuple[list[str], GroupOf]:
    """As `named`. MultigenError for a neutral prompt that names a group."""
    names, group_of = named(settings, dataset)
    for prompt in settings.neutral:
        if (found := group_of(prompt, None)) is not None:
            raise MultigenError(
                f"evaluate.groups.neutral: {prompt!r} names the group {found}; give prompts that name none"
            )
    return names, group_of


def _check_there(there: Sequence[str], names: Sequence[str]) -> None:
    """MultigenError for too few groups `there`, those that enough training items name."""
    if len(there) < _LEAST:
        raise MultigenError(
            f"evaluate.groups: the training items name {len(there)} of the groups {', '.join(names)} at least {_LEAST} "
            f"times each; at least {_LEAST} groups are needed"
        )


def named(settings: Groups, dataset: Dataset) -> tuple[list[str], GroupOf]:
    """The groups, and what tells the group that a caption and a label name. MultigenError where there are none."""
    if not settings.names:
        classes = list(dataset.classes)
        if len(classes) < _LEAST:
            raise MultigenError("evaluate.groups: the data have no classes; give names={group: [words]}")
        return classes, lambda _, label: None if label is None or label >= len(classes) else classes[label]
    words = {name: said or (name,) for name, said in settings.names.items()}
    patterns = {
        name: re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, said))})(?!\w)", re.IGNORECASE)
        for name, said in words.items()
    }

    def group_of(caption: str, _: int | None) -> str | None:
        found = [name for name, pattern in patterns.items() if pattern.search(caption)]
        return found[0] if len(found) == 1 else None

    return list(patterns), group_of


def wilson(count: int, total: int) -> dict[str, float]:
    """A share with its 95% interval (Wilson 1927); NaN of nothing."""
    if not total:
        return {"share": math.nan, "low": math.nan, "high": math.nan, "count": 0}
    share, square = count / total, _Z**2
    middle = (share + square / (2 * total)) / (1 + square / total)
    half = _Z / (1 + square / total) * math.sqrt(share * (1 - share) / total + square / (4 * total**2))
    return {"share": share, "low": max(middle - half, 0.0), "high": min(middle + half, 1.0), "count": count}


def told(found: Mapping[str, Any]) -> list[dict[str, str]]:
    """Rows of a table of text."""
    right = _share(found["judge_right"])
    note = f"judge: nearest mean of {found['judge']}, right on {right} of real media"
    rows = []
    for one in found["rows"]:
        row = {
            "group": one["group"],
            "training captions": _share(one["training"]),
            "real media, judged": _share(one["real"]),
            f"outputs of {found['media']}": _share(one["outputs"]),
            "beyond chance": one["beyond_chance"] or "no",
        }
        row |= {name: quality(q) for name, q in one["quality"].items()}
        rows.append(row)
    rows[-1]["note"] = note
    return rows


def _real(
    model: Model,
    dataset: Dataset,
    indices: Sequence[int],
    group_of: GroupOf,
    feature: Feature,
    *,
    rounds: int = 1,
    part: str = "",
) -> Real:
    """Real items, the groups that they name, and their features."""
    items: list[int] = []
    groups: list[str | None] = []

    def media() -> Iterator[Tensor]:
        for turn in range(rounds):
            for index, group, item in _drawn(model, dataset, indices, group_of, part, turn):
                items.append(index)
                groups.append(group)
                yield item["media"]

    features = extract(feature, media(), device=model.device).double().mean(1)
    return Real(items, groups, features)


def _drawn(
    model: Model,
    dataset: Dataset,
    indices: Sequence[int],
    group_of: GroupOf,
    part: str = "",
    turn: int = 0,
) -> Iterator[tuple[int, str | None, Item]]:
    """Each real item's index, the group that it names, and itself; `evaluate.bank` items are looked at, at most."""
    most, seed = model.recipe.evaluate.bank, model.recipe.seed
    some = list(indices)
    some = some[:: -(-len(some) // most)] if len(some) > most else some
    for index in some:
        try:
            item = dataset.draw(index, stream(seed, "groups", part, turn, index))
        except MediaError:  # the dataset has said so
            continue
        yield index, group_of(item.get("text", ""), item.get("label")), item


def neutral_set(model: Model, settings: Groups) -> MediaSet:
    """Media for prompts that name no group, with seeds that no other set of the evaluation has."""
    evaluate = model.recipe.evaluate
    targets = [Target(settings.neutral[k % len(settings.neutral)]) for k in range(settings.n)]
    return generated_set(model, targets, "neutral", seed=model.recipe.seed + evaluate.n + evaluate.new + 1)


def _quality(
    made: Sequence[MediaSet], metrics: Mapping[str, Metric], group_of: GroupOf
) -> dict[str, dict[str, dict[str, float]]]:
    """Group -> metric -> mean, its 95% interval, and number of media, of those whose prompt names the group.

    Metrics that give no value for each medium have none.
    """
    media = [medium for one in made for medium in one.media]
    targets = [target for one in made for target in one.targets]
    groups = [group_of(target.prompt, target.label) for target in targets]
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name, metric in metrics.items():
        values = metric(media, targets).values
        if len(values) != len(media):  # one value for each prompt, whose media it compares
            continue
        for group in {one for one in groups if one is not None}:
            own = [v for v, g in zip(values, groups, strict=False) if g == group and not math.isnan(v)]
            if own:
                found.setdefault(group, {})[name] = _interval(own)
    return found


def _interval(values: Sequence[float]) -> dict[str, float]:
    """The mean of values and its 95% interval: of shares Wilson's, as few that are all right say little."""
    score = Score.of(values)
    if set(values) <= {0.0, 1.0}:
        found = wilson(round(sum(values)), len(values))
        low, high = found["low"], found["high"]
    else:
        low, high = score.value - _Z * score.error, score.value + _Z * score.error
    return {"value": score.value, "low": low, "high": high, "n": len(values)}


def quality(found: Mapping[str, float]) -> str:
    """A mean with its interval and the number of media, in words."""
    return f"{short(found['value'])} ({short(found['low'])} to {short(found['high'])}; {found['n']})"


def _row(
    name: str, training: Sequence[str], real: Sequence[str], outputs: Sequence[str],
    qualities: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:  # fmt: skip
    counts = [(sum(one == name for one in groups), len(groups)) for groups in (training, real, outputs)]
    trained, judged, made = (wilson(*count) for count in counts)
    beyond = "more" if made["low"] > judged["high"] else "less" if made["high"] < judged["low"] else ""
    return {
        "group": name, "training": trained, "real": judged, "outputs": made, "beyond_chance": beyond,
        "quality": dict(qualities.get(name, {})),
    }  # fmt: skip


def _share(found: Mapping[str, float]) -> str:
    share, low, high = found["share"], found["low"], found["high"]
    if share is None or math.isnan(share):
        return "-"
    return f"{share:.0%} ({low:.0%} to {high:.0%})"
