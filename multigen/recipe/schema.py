"""Recipe: the frozen dataclasses that one YAML names, and the doors in and out of YAML.

Reading and finding files: `recipe_source`; what a recipe may not contain: `recipe_safety`; `defaults` and overrides:
`recipe_compose`; types, ranges and parts: `recipe_check`; whether the parts work together: `recipe_fit`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import yaml

from multigen.errors import RecipeError
from multigen.registry import Part


@dataclass(frozen=True)
class PostHoc:
    """Power-function averages of the weights, from which `multigen export --ema` puts together one of any length."""

    every: int = 0  # steps between snapshots of them; 0: none are tracked
    sigmas: tuple[float, ...] = (0.05, 0.1)  # their lengths, sigma_rel: relative to the training so far
    precision: Literal["fp16", "fp32"] = "fp16"  # of the snapshots; the averages themselves are fp32
    keep: int = 0  # newest snapshots; 0: all


@dataclass(frozen=True)
class Drop:
    """Shares of samples whose condition loses one part alone, beside `train.dropout`, which takes all of it."""

    vector: float = 0.0
    tokens: float = 0.0
    grid: float = 0.0


@dataclass(frozen=True)
class Train:
    """How to train. Training ends at `steps` or after `minutes`, whichever comes first; one of them must be set."""

    steps: int | None = None
    minutes: float | None = None
    batch: int = 32  # samples a step, over all accumulation parts
    accumulate: int = 1  # parts that a batch is cut into
    lr: float = 1e-4
    warmup: int = 100  # steps
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float = 1.0  # gradient norm
    ema: float = 0.999
    post_hoc: PostHoc = field(default_factory=PostHoc)
    dropout: float = 0.1  # share of samples trained on the null condition
    drop: Drop = field(default_factory=Drop)
    huber: float | None = (
        None  # errors count absolutely, beyond this in pure noise, sooner in less; null: squared
    )
    uncertainty: bool = False  # learns how hard each noise level is, and weighs it by that
    offset_noise: float = 0.0  # deviation of a constant that each channel's training noise has beside its own
    noise_level: Part = field(default_factory=lambda: Part("logit_normal"))
    objective: Part = field(default_factory=lambda: Part("flat"))
    critic: Part | None = None  # what a codec that learns plays against; null: nothing
    adapter: Part | None = (
        None  # what learns beside the frozen weights of `init`; null: these learn themselves
    )
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: bool = False
    sizes: tuple[
        int | tuple[int, int], ...
    ] = ()  # pixels, as sample.size: each step draws one; none: the modality's
    durations: tuple[float, ...] = ()  # s, as sample.duration: each step draws one; none: the modality's
    size_shift: bool = False  # smaller pictures are trained at less noise, at which they show as much
    workers: int = 0  # processes that read media; 0: read in a thread
    cache: float = 0.0  # GiB on disk of encoded texts, and media if they are not augmented; 0: none
    checkpoint_every: int = 500  # steps
    keep: int = 2  # newest checkpoints
    keep_every: int = 0  # steps whose checkpoints stay, too; 0: none
    keep_best: bool = False  # the checkpoint of the lowest held-out loss stays, too (checkpoints/best.json)
    skip: int = 3  # updates in a row left out for a loss that is not finite, before the run stops
    log_every: int = 10  # steps
    held_out_every: int = 500  # steps; 0: never
    patience: int = (
        0  # held-out losses in a row without a better one, after which the run ends; 0: it does not
    )
    preview_every: int = 500  # steps; 0: never
    bad_media: float = 0.05  # share of items that may be unreadable before the run stops
    tensorboard: bool = True  # where it is installed
    wandb: bool = False  # Weights & Biases, too; offline unless the environment says WANDB_MODE=online
    init: str | None = None  # weights or run folder to start from


@dataclass(frozen=True)
class Launch:
    """Where a training runs: `none`, in the process of the command; `torchrun`, in `nproc` of them, each with its share
    of `train.batch`. `launch=torchrun` is short for `launch.name=torchrun`."""

    name: Literal["none", "torchrun"] = "none"
    nproc: int = 1  # processes on this machine, one a device
    port: int | None = None  # where they find one another; null: a free one
    restarts: int = 0  # of all of them, from the newest checkpoint, when one died


@dataclass(frozen=True)
class Polish:
    """Passes of the network over each finished medium, told that it holds a little noise: faint texture goes."""

    passes: int = 0
    noise: float = 0.1  # sigma/alpha that the network is told


@dataclass(frozen=True)
class Sample:
    """What to make."""

    n: int = 8  # samples a prompt
    prompts: tuple[str, ...] = ("",)
    steps: int = 24
    polish: Polish = field(default_factory=Polish)
    size: int | tuple[int, int] | None = None  # pixels; null: the modality's
    duration: float | None = None  # s; null: the modality's
    batch: int = 16  # samples a network call at most, before guidance
    negative: str = ""  # what guidance leads away from; "": what no prompt gives
    precision: Literal["fp32", "bf16"] = "fp32"  # fp32 keeps a sample the same whatever the batch
    suffix: str | None = None  # file format; null: the modality's


@dataclass(frozen=True)
class WeightedLora:
    """A LoRA (its file, or the run folder that trained it) and how much of it: 0 nothing, 1 as it was trained."""

    path: str
    weight: float = 1.0


@dataclass(frozen=True)
class Evaluate:
    """How to measure a trained model."""

    n: int = 200  # media made, and real ones beside them
    new: int = 60  # more of them for captions that training never saw, where the dataset holds out such
    metrics: tuple[Part, ...] = ()  # a name, or {name: ..., its arguments}
    feature: Part | None = None  # extractor of the distances; null: the modality's own
    other: Part | None = None  # a dataset of another kind, for scale; null: noise
    bank: int = 2000  # training items that are searched for copies, at most


@dataclass(frozen=True)
class Recipe:
    """Everything that makes a run, as data."""

    name: str
    modality: Part
    data: Part
    codec: Part
    train: Train
    backbone: Part | None = None  # null: the recipe trains its codec, and generates nothing
    schedule: Part = field(default_factory=lambda: Part("flow"))
    prediction: Part = field(default_factory=lambda: Part("flow"))
    conditioner: Part = field(default_factory=lambda: Part("none"))
    timesteps: Part = field(default_factory=lambda: Part("uniform"))
    sampler: Part = field(default_factory=lambda: Part("heun"))
    guide: Part = field(default_factory=lambda: Part("plain"))
    modifiers: tuple[Part, ...] = ()  # guides around the guide, the innermost first
    masked: bool = False  # the network also sees which part of a medium is known, and that part: for filling
    sample: Sample = field(default_factory=Sample)
    weights: str | None = (
        None  # `run` samples with these (shipped name, file, run or diffusers folder); null: trains first
    )
    loras: tuple[WeightedLora, ...] = ()  # added to the weights when media are made
    evaluate: Evaluate = field(default_factory=Evaluate)
    launch: Launch = field(default_factory=Launch)
    seed: int = 0
    description: str = ""


def load_recipe(path_or_name: str, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe from a YAML file, a run folder or the name of a shipped recipe, with overrides as Hydra reads them.

    Everything in it is checked (keys, types, ranges, parts and their arguments) and nothing is built. RecipeError
    names the file and line, the place, what was given, what is allowed and what is nearest.
    """
    from multigen.recipe.compose import compose
    from multigen.recipe.source import chain, find
    from multigen.recipe.validate import to_recipe

    return to_recipe(compose(chain(find(path_or_name)), overrides))


def parse_recipe(text: str, where: str, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe from its YAML text, under the same checks; `where` names the text in messages. It extends no other."""
    from multigen.recipe.compose import compose
    from multigen.recipe.source import parse
    from multigen.recipe.validate import to_recipe

    source = parse(text, where)
    if source.defaults != ["_self_"]:
        raise RecipeError(
            f"{where}:{source.lines['defaults']}: `defaults` needs a recipe file; this is a text."
        )
    return to_recipe(compose([source], overrides))


def override_recipe(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """The recipe under overrides, checked as if they had been given when it was loaded."""
    return parse_recipe(to_yaml(recipe), recipe.name, overrides)


def to_data(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain data: keys in the order of the dataclasses, a part's arguments sorted after its name."""
    return {f.name: _plain(getattr(recipe, f.name)) for f in dataclasses.fields(recipe)}


def _plain(value: Any) -> Any:
    if isinstance(value, Part):
        return {"name": value.name, **{k: _plain(value.args[k]) for k in sorted(value.args)}}
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value


class _Dumper(yaml.SafeDumper):
    """Quotes words that any YAML version would read as a number or a truth value; writes no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    # Line ends and control characters survive in double quotes only: elsewhere YAML folds them.
    style = None if text.isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$"),
    list("-+.0123456789"),
)


def to_yaml(recipe: Recipe) -> str:
    """The resolved recipe as YAML that `load_recipe` reads back as the same recipe; the key order is stable."""
    return yaml.dump(to_data(recipe), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def recipe_hash(recipe: Recipe) -> str:
    """sha256 (hex) of the recipe's data: equal for equal recipes, however they were written."""
    text = json.dumps(to_data(recipe), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
