"""Recipe: the frozen dataclasses that one YAML file fills. Keys, types and defaults; nothing is read or built here.

Reading a recipe: `load`; writing one: `dump`; ranges, and which parts there are: `validate`; what a recipe may never
contain: `safety`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

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
    """Shares of samples whose condition loses one part alone, beside `train.cond_dropout`, which takes all of it."""

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
    grad_clip: float = 1.0  # gradient norm
    ema_decay: float = 0.999
    post_hoc: PostHoc = field(default_factory=PostHoc)
    cond_dropout: float = 0.1  # share of samples trained on the null condition
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
    negative_prompt: str = ""  # what guidance leads away from; "": what no prompt gives
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

    @property
    def trains(self) -> Literal["denoiser", "codec"]:
        """What a training of this recipe teaches: a denoiser, or, without a backbone, the codec."""
        return "codec" if self.backbone is None else "denoiser"

    @property
    def network(self) -> Part:
        """The backbone. RecipeError where there is none, because the recipe trains its codec."""
        if self.backbone is None:
            raise RecipeError(f"{self.name}: this recipe trains its codec; it has no backbone")
        return self.backbone
