"""Recipe: the frozen dataclasses that one YAML file fills. Keys, types and defaults; nothing is read or built here.

Reading a recipe: `load`; writing one: `dump`; ranges, and which parts there are: `validate`; what a recipe may never
contain: `safety`. The comments beside the fields are part of the documentation.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from multigen.errors import RecipeError
from multigen.registry import Part


@dataclass(frozen=True)
class PostHoc:
    """Power-function averages of the weights, which `multigen export --ema` combines to an average of any length."""

    every: int = 0  # steps between snapshots; 0: none
    sigmas: tuple[float, ...] = (0.05, 0.1)  # lengths sigma_rel, relative to the training so far
    precision: Literal["fp16", "fp32"] = "fp16"  # of the snapshots; the averages themselves are fp32
    keep: int = 0  # newest snapshots to keep; 0: all


@dataclass(frozen=True)
class Drop:
    """Shares of samples whose condition loses one part, while `train.cond_dropout` removes the whole condition."""

    vector: float = 0.0
    tokens: float = 0.0
    grid: float = 0.0


@dataclass(frozen=True)
class Train:
    """How to train. Training ends at `steps` or after `minutes`, whichever comes first; one of them must be set."""

    steps: int | None = None
    minutes: float | None = None
    batch: int = 32  # samples a step, over all accumulated parts
    accumulate: int = 1  # parts that a batch is split into
    lr: float = 1e-4
    warmup: int = 100  # steps
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.99)
    grad_clip: float = 1.0  # maximum norm of the gradient
    ema_decay: float = 0.999  # decay of the exponential moving average of the weights
    post_hoc: PostHoc = field(default_factory=PostHoc)
    cond_dropout: float = 0.1  # share of samples trained without their condition
    drop: Drop = field(default_factory=Drop)
    # pseudo-Huber loss whose threshold, this number in pure noise, shrinks with the noise level; null: squared error
    huber: float | None = None
    uncertainty: bool = False  # learn the typical loss of each noise level, and divide by it
    offset_noise: float = 0.0  # standard deviation of a constant added to each channel's training noise
    noise_level: Part = field(default_factory=lambda: Part("logit_normal"))
    objective: Part = field(default_factory=lambda: Part("flat"))
    critic: Part | None = None  # discriminator, for recipes that train a codec; null: none
    adapter: Part | None = (
        None  # train this beside the frozen weights of `init`; null: train the weights themselves
    )
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: bool = False
    # pixels, as sample.size: each step draws one; []: the modality's size
    sizes: tuple[int | tuple[int, int], ...] = ()
    durations: tuple[
        float, ...
    ] = ()  # s, as sample.duration: each step draws one; []: the modality's duration
    size_shift: bool = False  # train smaller pictures at less noise, where they show as much
    workers: int = 0  # processes that read media; 0: a thread
    cache: float = 0.0  # GiB on disk for encoded texts, and for media unless they are augmented; 0: none
    checkpoint_every: int = 500  # steps
    keep: int = 2  # newest checkpoints to keep
    keep_every: int = 0  # also keep the checkpoints of every so many steps; 0: none
    keep_best: bool = False  # also keep the checkpoint with the lowest held-out loss (checkpoints/best.json)
    skip: int = 3  # updates in a row that may be skipped for a non-finite loss before the run stops
    log_every: int = 10  # steps
    held_out_every: int = 500  # steps between held-out losses; 0: none
    patience: int = 0  # end the training after so many held-out losses without a new lowest one; 0: never
    preview_every: int = 500  # steps; 0: never
    bad_media: float = 0.05  # share of items that may be unreadable before the run stops
    tensorboard: bool = True  # log to TensorBoard, if it is installed
    wandb: bool = False  # log to Weights & Biases; offline unless the environment sets WANDB_MODE=online
    init: str | None = None  # weights or run folder to start from


@dataclass(frozen=True)
class Launch:
    """Where a training runs: `none`, in the process of the command; `torchrun`, in `nproc` processes, each with its
    share of `train.batch`. `launch=torchrun` is short for `launch.name=torchrun`."""

    name: Literal["none", "torchrun"] = "none"
    nproc: int = 1  # processes on this machine, one for each device
    port: int | None = None  # port for their communication; null: a free one
    restarts: int = 0  # times to restart all of them from the newest checkpoint after one died


@dataclass(frozen=True)
class Polish:
    """Passes of the network over each finished medium, as if it held a little noise: they remove faint texture."""

    passes: int = 0
    noise: float = 0.1  # sigma/alpha of that noise


@dataclass(frozen=True)
class Sample:
    """What to generate."""

    n: int = 8  # samples a prompt
    prompts: tuple[str, ...] = ("",)
    steps: int = 24
    polish: Polish = field(default_factory=Polish)
    size: int | tuple[int, int] | None = None  # pixels: a side, or [height, width]; null: the modality's
    duration: float | None = None  # s; null: the modality's
    batch: int = 16  # most samples in a network call, before guidance
    negative_prompt: str = ""  # what guidance leads away from; "": the unconditional prediction
    precision: Literal["fp32", "bf16"] = "fp32"  # with fp32 a sample does not depend on the batch
    suffix: str | None = None  # file format; null: the modality's


@dataclass(frozen=True)
class WeightedLora:
    """A LoRA, by its file or the run folder that trained it, and its weight: 0 is off, 1 as trained."""

    path: str
    weight: float = 1.0


@dataclass(frozen=True)
class Evaluate:
    """How to measure a trained model."""

    n: int = 200  # generated media, and real ones to compare them with
    new: int = 60  # further media for captions that training never saw, if the dataset holds some out
    metrics: tuple[Part, ...] = ()  # a name, or {name: ..., its arguments}
    feature: Part | None = None  # feature extractor of the distances; null: the modality's own
    other: Part | None = None  # a dataset of another kind, to scale the distances; null: noise
    bank: int = 2000  # most training items that are searched for copies


@dataclass(frozen=True)
class Recipe:
    """Everything that defines a run, as data."""

    name: str
    modality: Part
    data: Part
    codec: Part
    train: Train
    backbone: Part | None = None  # null: the recipe trains its codec and generates nothing
    schedule: Part = field(default_factory=lambda: Part("flow"))
    prediction: Part = field(default_factory=lambda: Part("flow"))
    conditioner: Part = field(default_factory=lambda: Part("none"))
    timesteps: Part = field(default_factory=lambda: Part("uniform"))
    sampler: Part = field(default_factory=lambda: Part("heun"))
    guide: Part = field(default_factory=lambda: Part("plain"))
    modifiers: tuple[Part, ...] = ()  # modifiers of the guide, the innermost first
    masked: bool = False  # the network also sees which part of a medium is known, for inpainting
    sample: Sample = field(default_factory=Sample)
    # `run` samples with these weights: shipped name, file, run folder or diffusers folder; null: it trains first
    weights: str | None = None
    loras: tuple[WeightedLora, ...] = ()  # added to the weights for sampling
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
        """The backbone. RecipeError if there is none, because the recipe trains its codec."""
        if self.backbone is None:
            raise RecipeError(f"{self.name}: this recipe trains its codec; it has no backbone")
        return self.backbone
