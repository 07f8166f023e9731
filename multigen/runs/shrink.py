"""Smaller copies of trained models, and what they cost: what `multigen shrink` does."""

from __future__ import annotations

import dataclasses
import logging
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multigen.errors import MultigenError
from multigen.evaluation.paired import Cost, measure_cost
from multigen.model.export.single_file import write_single_file
from multigen.model.model import Model
from multigen.model.source import Found, find, find_recipe
from multigen.model.weights import save_weights, stored
from multigen.recipe.schema import Recipe, Shrunk
from multigen.runs.pruning import pruned, recovered

log = logging.getLogger(__name__)

RISE = 0.1  # of the kernel distance's excess, above which a smaller copy is refused
KEPT = 0.95  # share of each metric's skill, below which it is


@dataclass(frozen=True)
class Shrinking:
    """How to make a model smaller.

    int8     store weights in 8 bits; otherwise in 16
    prune    share of the channels that go; 0: none
    recover  minutes of training after pruning; 0: none
    overrides  changes to the recipe for that training, such as train.lr=5e-4
    """

    int8: bool = False
    prune: float = 0.0
    recover: float = 0.0
    overrides: tuple[str, ...] = ()

    @property
    def by(self) -> str:
        """In words, for the file's recipe."""
        return ", ".join(
            ([f"prune {self.prune:g}"] if self.prune else []) + ["int8" if self.int8 else "half"]
        )


@dataclass(frozen=True)
class Smaller:
    """A smaller copy.

    path        its file
    numbers     parameters before and after
    size        bytes of a 16-bit file before, and of this one
    cost        what was measured; None: nothing
    """

    path: Path
    numbers: tuple[int, int]
    size: tuple[int, int]
    cost: Cost | None

    def __str__(self) -> str:
        (n, m), (a, b) = self.numbers, self.size
        rows = [
            ("parameters", f"{n / 1e6:.2f} M", f"{m / 1e6:.2f} M", f"{m / n:.2f}"),
            ("file (before: 16 bits)", f"{a / 1e6:.2f} MB", f"{b / 1e6:.2f} MB", f"{b / a:.2f}"),
        ]
        if (c := self.cost) is not None:
            s, t = c.seconds_before, c.seconds_after
            rise = f"{c.excess_rise:+.3f} ± {c.rise_error:.3f}"
            rows += [
                ("seconds a medium", f"{s:.3f}", f"{t:.3f}", f"{t / s:.2f}"),
                (
                    "kernel distance, excess",
                    f"{c.excess_before:.3f}",
                    f"{c.excess_before + c.excess_rise:.3f}",
                    rise,
                ),
                ("difference of media, rms", "", f"{c.difference:.4f}", ""),
            ]
            rows += [
                (f"{k.metric}, skill", f"{k.before:.3f}", f"{k.after:.3f}", f"{k.after - k.before:+.3f}")
                for k in c.skills
            ]
        table = [("", "before", "after", ""), *rows]
        return "\n".join(f"{name:26}{was:>12}{now:>12}  {ratio}".rstrip() for name, was, now, ratio in table)


def shrink(
    source: str | Path,
    out: str | Path,
    how: Shrinking,
    *,
    n: int = 64,
    bound: float = RISE,
    force: bool = False,
    device: str | None = None,
    quiet: bool = False,
) -> Smaller:
    """Write a smaller copy of a trained model as one weights file, and measure it beside the model on `n` media.

    MultigenError, and no file, where the kernel distance's excess rises by more than `bound` or a metric keeps less
    than 0.95 of its skill, unless `force`. n = 0: nothing is measured. A pruned model's recovery stays beside the file,
    in a run folder of its name, and goes on there when the same command is repeated.
    """
    path, found = Path(out).expanduser(), find(source)
    if path.exists():
        raise MultigenError(f"{path}: already exists; give another name")
    _check(source, found)
    before = Model.of(found, device=device)
    with tempfile.TemporaryDirectory(prefix=".shrink-", dir=path.parent) as folder:
        whole = write_single_file(before, Path(folder, "before.safetensors"), half=True)
        small = Path(folder, "after.safetensors")
        after = _smaller(before, how, small, path.with_suffix(""), device, quiet)
        cost = measure_cost(before, after, n=n, quiet=quiet) if n else None
        if cost is not None and not force:
            _refuse(path, cost, bound)
        record = Shrunk(how.by, before.recipe.name, before.weights_hash(), measured(cost))
        after.recipe = dataclasses.replace(after.recipe, shrunk=record)
        final = write_single_file(after, Path(folder, "final.safetensors"), half=True, small=how.int8)
        numbers = (_numbers(before), _numbers(after))
        sizes = (whole.stat().st_size, final.stat().st_size)
        os.replace(final, path)
    return Smaller(path, numbers, sizes, cost)


def measured(cost: Cost | None) -> Mapping[str, Any]:
    """What was measured, as the file's recipe records it."""
    if cost is None:
        return {}
    skills = {f"{k.metric}_skill": round(k.after, 4) for k in cost.skills}
    return {
        "media": cost.media,
        "excess_before": round(cost.excess_before, 4),
        "excess_rise": round(cost.excess_rise, 4),
        "rise_error": round(cost.rise_error, 4),
        "difference": round(cost.difference, 5),
        **skills,
    }


def _check(source: str | Path, found: Found) -> None:
    """MultigenError for what has no weights of its own that a file could hold."""
    if found.tensors is None and found.adapter is None and found.words is None:
        raise MultigenError(
            f"{source}: its weights are those of {found.where}, a pipeline's, which stay there. To hold them in 8 "
            f"bits when they are loaded: multigen sample {source} backbone.dtype=int8 (extra int8). What was trained "
            "from it can be shrunk"
        )
    if found.adapter is not None or found.words is not None:
        raise MultigenError(f"{source}: it is what was trained beside a base, and small as it is. Merge both first: "
                            f"multigen export {source} FILE --merge")  # fmt: skip


def _smaller(before: Model, how: Shrinking, path: Path, run: Path, device: str | None, quiet: bool) -> Model:
    """The smaller model, as its file reads back. `run` is where a recovery trains."""
    if not how.prune:
        write_single_file(before, path, half=True, small=how.int8)
        return Model.of(find(path), before.recipe, device=device)
    record = Shrunk(f"prune {how.prune!r}", before.recipe.name, before.weights_hash())
    if how.recover:
        _check_start(run, record)
    recipe, tensors = pruned(before, how.prune)
    if how.recover:
        start = _start(run, dataclasses.replace(recipe, shrunk=record), tensors, before)
        tensors = recovered(
            recipe,
            start,
            folder=run,
            minutes=how.recover,
            overrides=how.overrides,
            device=device,
            quiet=quiet,
        )
    narrow = Model(recipe, device=device)
    narrow.load_weights(tensors, f"{before.recipe.name}, pruned")
    narrow.knowledge = before.knowledge
    write_single_file(narrow, path, half=True, small=how.int8)
    return Model.of(find(path), narrow.recipe, device=device)


def _start_of(run: Path) -> Path:
    return run.with_name(f"{run.name}-start.safetensors")


def _check_start(run: Path, record: Shrunk) -> None:
    """MultigenError where the recovery would go on from other weights, or in a folder that is not its own."""
    start = _start_of(run)
    if not start.exists():
        if run.exists():
            raise MultigenError(
                f"{run}: already exists, and the recovery would train there; it is not that of an earlier one, which "
                f"{start.name} beside it would tell. Give the file another name, or take the folder away"
            )
        return
    found = find_recipe(start).shrunk
    if found != record:
        there = "something else" if found is None else f"{found.by} of {found.source} ({found.weights_hash})"
        raise MultigenError(
            f"{start}: a recovery began there from {there}; this one is {record.by} of {record.source} "
            f"({record.weights_hash}). Give the file another name, or take {start.name} and {run.name} away"
        )


def _start(run: Path, recipe: Recipe, tensors: Mapping[str, Any], before: Model) -> Path:
    """What pruning left, beside the recovery's run folder, so that the recovery can go on from there."""
    start = _start_of(run)
    if not start.exists():
        run.parent.mkdir(parents=True, exist_ok=True)
        save_weights(start, stored(tensors, None, recipe, before.codec), half=False)
    return start


def _refuse(path: Path, cost: Cost, bound: float) -> None:
    """MultigenError where a smaller copy is too much worse."""
    worse: list[str] = []
    if not cost.excess_rise <= bound:  # also where it is not a number
        worse.append(
            f"the kernel distance's excess rises by {cost.excess_rise:.3f} ± {cost.rise_error:.3f} (at most {bound:g})"
        )
    if not cost.kept >= KEPT:
        rows = [f"{k.metric} {k.before:.3f} -> {k.after:.3f}" for k in cost.skills]
        worse.append(f"a metric keeps {cost.kept:.2f} of its skill (at least {KEPT}): {', '.join(rows)}")
    if worse:
        raise MultigenError(
            f"{path}: not written, because {'; '.join(worse)}, on {cost.media} media each. Prune less, recover longer, "
            "or write it all the same: --force"
        )


def _numbers(model: Model) -> int:
    return sum(tensor.numel() for tensor in model.state_dict().values())
