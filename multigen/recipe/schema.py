"""Recipe: the frozen dataclasses that one YAML file fills. Keys, types and defaults; nothing is read or built here.

Reading a recipe: `load`; writing one: `dump`; ranges, and which parts there are: `validate`; what a recipe may never
contain: `safety`. The comments beside the fields are part of the documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from multigen.errors import RecipeError
from multigen.recipe.guards import Groups, Novelty
from multigen.recipe.sections import UNSAID_EMPTY, Provenance, Safety, Shrunk, WeightedAdapter, WeightedLora
from multigen.registry import Part


@dataclass(frozen=True)
class PostHoc:
    """Power-function averages of the weights, from which `multigen export --ema` puts together one of any length."""

    every: int = 0  # steps between snapshots of the averages; 0: none are tracked
    sigmas: tuple[float, ...] = (0.05, 0.1)  # lengths (sigma_rel), relative to the training so far
    precision: Literal["fp16", "fp32"] = "fp16"  # of the snapshots; the averages themselves are fp32
    keep: int = 0  # how many of the newest snapshots stay; 0: all


@dataclass(frozen=True)
class Drop:
    """Shares of samples whose condition loses one part alone. `train.cond_dropout` removes all of it."""

    vector: float = 0.0  # share of samples without the vector (a class, a pooled text)
    tokens: float = 0.0  # share of samples without the tokens (the words of a text)
    grid: float = 0.0  # share of samples without the grid (the known part, with `masked`)


@dataclass(frozen=True)
class Prior:
    """Media of the subject's class: the model makes them before the training, and learns them beside the data."""

    prompt: str  # what they are made from, such as `a photo of a dog`
    count: int = 100  # how many are made, once
    weight: float = 1.0  # of their loss, beside that of the data


@dataclass(frozen=True)
class Replay:
    """What the weights of `train.init` know already, learned again beside the data, so that it is not forgotten."""

    share: float = 0.5  # of the samples of the training, from 0.01 to 0.99
    # The former data; null: media that the former model makes itself
    data: Part | None = None
    prompts: tuple[str, ...] = ()  # what these are made from; empty: captions that the former model was told
    count: int = 200  # how many are made, once


@dataclass(frozen=True)
class Distill:
    """What is distilled into the network that learns, and how."""

    teacher: str  # what is distilled: a shipped name, a file, a run folder or a diffusers folder
    method: Part = field(default_factory=lambda: Part("progressive"))  # how


@dataclass(frozen=True)
class Train:
    """How to train. Training ends at `steps` or after `minutes`, whichever comes first; one of them must be set."""

    steps: int | None = None  # optimizer steps; null: no limit
    minutes: float | None = None  # time limit; null: none
    # Samples per step, over all processes and accumulation parts; `auto`: found by speed and memory at the start
    batch: int | Literal["auto"] = 32
    accumulate: int = 1  # parts that a batch is cut into, to save memory
    lr: float = 1e-4  # learning rate after the warm-up; it then falls to 0 along a cosine
    warmup: int = 100  # steps over which the learning rate rises from 0
    weight_decay: float = 0.0  # of AdamW
    betas: tuple[float, float] = (0.9, 0.99)  # of AdamW
    grad_clip: float = 1.0  # largest norm of the gradient; longer ones are scaled down
    ema_decay: float = 0.999  # decay of the average of the weights, per step
    post_hoc: PostHoc = field(default_factory=PostHoc)
    cond_dropout: float = 0.1  # share of samples that are trained on the null condition
    drop: Drop = field(default_factory=Drop)
    # Pseudo-Huber loss: threshold at pure noise, which shrinks with the noise level; null: squared error
    huber: float | None = None
    uncertainty: bool = False  # learn how hard each noise level is, and weight the loss by it
    offset_noise: float = 0.0  # standard deviation of a constant added to the noise of each channel
    noise_level: Part = field(default_factory=lambda: Part("logit_normal"))
    objective: Part = field(default_factory=lambda: Part("flat"))
    # How the copies of a VAE are compared with their originals; null: as `pictures` or `sounds` by itself
    reconstruction: Part | None = field(default=None, metadata={UNSAID_EMPTY: True})
    critic: Part | None = None  # the critic that a codec trains against; null: none
    # What learns beside the frozen weights of `train.init`, such as a LoRA; null: the weights themselves learn
    adapter: Part | None = None
    # DreamBooth's prior preservation: {prompt: a photo of a dog, count: 100, weight: 1}; null: none
    prior: Prior | None = field(default=None, metadata={UNSAID_EMPTY: True})
    # Learn on without forgetting: {share: 0.5} mixes media of the former model's own (or {data: {name: ...}}, those
    # that it learned from) into the training; null: none
    replay: Replay | None = field(default=None, metadata={UNSAID_EMPTY: True})
    # A trained model that the network learns from, to make the same in fewer calls:
    # {teacher: image_emoji, method: {name: progressive}}; null: it learns from the data
    distill: Distill | None = field(default=None, metadata={UNSAID_EMPTY: True})
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # of the network; `auto`: bf16 where it is faster
    compile: bool = False  # compile the network; needs a C++ compiler
    # Sizes in pixels, as in `sample.size`, of which each step draws one; empty: the modality's
    sizes: tuple[int | tuple[int, int], ...] = ()
    durations: tuple[float, ...] = ()  # durations in s, of which each step draws one; empty: the modality's
    # Side in pixels of a part of each picture or clip, at a random place, on which a step trains: for networks that
    # only look near, as those that enlarge; null: all of it
    crop: int | None = field(default=None, metadata={UNSAID_EMPTY: True})
    size_shift: bool = False  # train smaller pictures at less noise, at which they show as much
    workers: int = 0  # processes that read media; 0: a thread reads them
    cache: float = 0.0  # GiB on disk for encoded texts, and for media that are not augmented; 0: none
    checkpoint_every: int = 500  # steps between checkpoints
    keep: int = 2  # how many of the newest checkpoints stay
    # Near-duplicates among the training items, by `dedup_feature`: `list` names them in duplicates.json,
    # `drop` also trains on the first of each group alone; null: nothing looks for them
    dedup: Literal["list", "drop", "off"] | None = field(default=None, metadata={UNSAID_EMPTY: True})
    # Distance of duplicates, as a share of the median distance of an item to its nearest other; null: 0.2
    dedup_near: float | None = field(default=None, metadata={UNSAID_EMPTY: True})
    # Feature in which they are near; null: `thumbnail` of pictures and video, `spectral` of sounds
    dedup_feature: Part | None = field(default=None, metadata={UNSAID_EMPTY: True})
    keep_every: int = 0  # the checkpoint of every so many steps stays, too; 0: none
    keep_best: bool = False  # the checkpoint of the lowest held-out loss stays, too
    skip: int = 3  # updates in a row that may be skipped because the loss is not finite
    log_every: int = 10  # steps between lines of the log
    held_out_every: int = 500  # steps between held-out losses; 0: never
    patience: int = 0  # held-out losses in a row without improvement that end the run; 0: no limit
    preview_every: int = 500  # steps between previews; 0: never
    bad_media: float = 0.05  # share of unreadable items at which the run stops
    tensorboard: bool = True  # log to TensorBoard, where it is installed
    wandb: bool = False  # log to Weights & Biases, offline unless WANDB_MODE=online
    init: str | None = None  # weights or run folder to start from; null: random weights

    @property
    def batch_size(self) -> int:
        """Samples per step. RecipeError while `auto` has not been found."""
        if self.batch == "auto":
            raise RecipeError("train.batch: auto is found when a training starts; here give a number")
        return self.batch


@dataclass(frozen=True)
class Launch:
    """In which processes a training runs. `launch=torchrun` is short for `launch.name=torchrun`."""

    name: Literal["none", "torchrun"] = "none"  # `none`: the process of the command; `torchrun`: several
    nproc: int = 1  # processes on this machine, one per device, each with its share of `train.batch`
    port: int | None = None  # port where they find each other; null: a free one
    # The processes share the network among them (FSDP2), for networks that are too large for one device
    fsdp: bool = field(default=False, metadata={UNSAID_EMPTY: True})
    restarts: int = 0  # how often all of them restart from the newest checkpoint when one dies


@dataclass(frozen=True)
class Polish:
    """Passes of the network over the finished sample, as if it held a little noise: faint texture goes."""

    passes: int = 0  # number of passes
    noise: float = 0.1  # noise level of the passes, sigma/alpha


@dataclass(frozen=True)
class Sample:
    """What to make."""

    n: int = 8  # media per prompt
    prompts: tuple[str, ...] = ("",)  # what to make
    steps: int = 24  # sampler steps
    polish: Polish = field(default_factory=Polish)
    size: int | tuple[int, int] | None = None  # side or [height, width] in pixels; null: the modality's
    duration: float | None = None  # seconds; null: the modality's
    batch: int = 16  # media side by side; commands on a CPU take fewer, so that little is lost when they stop
    negative_prompt: str = ""  # what guidance leads away from; "": the unconditional prediction
    # words that the prompt has in addition in the first sliding window
    opening: str = field(default="", metadata={UNSAID_EMPTY: True})
    # words that it has in addition in the last one
    ending: str = field(default="", metadata={UNSAID_EMPTY: True})
    # of the network; `auto`: bf16 where the device is faster in it and the weights were found as good, else fp32
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    # compile the network's blocks, for GPUs; needs triton, on CPUs a C++ compiler and minutes
    compile: bool = field(default=False, metadata={UNSAID_EMPTY: True})
    # Memory of a pipeline of diffusers: its networks take turns on the device, or the layers of its network; null: all
    # stay there
    offload: Literal["components", "sequential"] | None = field(default=None, metadata={UNSAID_EMPTY: True})
    # What is reused from step to step, such as {name: deep, every: 3}; null: as measured for the weights (`auto`)
    cache: Part | None = field(default=None, metadata={UNSAID_EMPTY: True})
    # Media nearer to a training item than a threshold are made again: {share: 0.05, tries: 4}; null: they are not
    novelty: Novelty | None = field(default=None, metadata={UNSAID_EMPTY: True})
    suffix: str | None = None  # file format, such as `.webp`; null: the modality's
    # with stages and without a cascade: share of the way from noise that they walk, before this network takes over
    handover: float | None = field(default=None, metadata={UNSAID_EMPTY: True})
    # what the modality declares, such as {lufs: -14}
    options: Mapping[str, Any] = field(default_factory=dict, metadata={UNSAID_EMPTY: True})


@dataclass(frozen=True)
class Evaluate:
    """How to measure a trained model."""

    n: int = 200  # media to make, and real ones to compare them with
    new: int = 60  # more media, for captions that training never saw, where the dataset holds such out
    metrics: tuple[Part, ...] = ()  # names, or {name: ..., argument: ...}
    feature: Part | None = None  # extractor for the distances; null: the modality's own
    other: Part | None = None  # a dataset of another kind, for scale; null: noise
    bank: int = 2000  # largest number of training items that are searched for copies
    # Quality and shares by group: {names: {red: [red], blue: [blue]}, neutral: [apple]}; null: they are not measured
    groups: Groups | None = field(default=None, metadata={UNSAID_EMPTY: True})


@dataclass(frozen=True)
class Recipe:
    """Everything that makes a run, as data."""

    name: str  # of the run folder
    modality: Part
    data: Part
    codec: Part
    train: Train
    backbone: Part | None = None  # the network; null: the recipe trains its codec and generates nothing
    schedule: Part = field(default_factory=lambda: Part("flow"))
    prediction: Part = field(default_factory=lambda: Part("flow"))
    conditioner: Part = field(default_factory=lambda: Part("none"))
    timesteps: Part = field(default_factory=lambda: Part("uniform"))
    sampler: Part = field(default_factory=lambda: Part("heun"))
    guide: Part = field(default_factory=lambda: Part("plain"))
    modifiers: tuple[Part, ...] = ()  # wrap the guide; the first is the innermost
    masked: bool = False  # the network has a mask channel: it sees the known part of a medium
    # How the network sees the medium of the stage before it, such as {name: enlarge, factor: 4}; null: it does not
    cascade: Part | None = field(default=None, metadata={UNSAID_EMPTY: True})
    # What comes before, in order: recipes, run folders or weights files. The first makes a medium, the next takes it
    # as its condition, and so on to this recipe's own network
    stages: tuple[str, ...] = field(default=(), metadata={UNSAID_EMPTY: True})
    sample: Sample = field(default_factory=Sample)
    # What `run` samples with: a shipped name, a file, a run folder or a diffusers folder; null: `run` trains first
    weights: str | None = None
    # Sample with the student that the weights were distilled into, in few calls of the network: true for the one that
    # is shipped beside them, or its file or run folder; false: with the weights themselves
    fast: bool | str = field(default=False, metadata={UNSAID_EMPTY: True})
    loras: tuple[WeightedLora, ...] = ()  # LoRAs that are added to the weights when media are made
    # What stands beside the model when media are made. ControlNets and IP-Adapters lead it by pictures:
    # {name: ip_adapter, path: FILE, image: FILE, weight: 0.8}. New words: {name: textual_inversion, path: FILE}. Motion
    # modules: {name: motion_adapter, path: FOLDER}
    adapters: tuple[WeightedAdapter, ...] = field(default=(), metadata={UNSAID_EMPTY: True})
    # Filters of prompts and media: {filters: [words, {name: nsfw, action: blur}], log: safety.jsonl}
    safety: Safety = field(default_factory=Safety, metadata={UNSAID_EMPTY: True})
    evaluate: Evaluate = field(default_factory=Evaluate)
    launch: Launch = field(default_factory=Launch)
    provenance: Provenance = field(default_factory=Provenance, metadata={UNSAID_EMPTY: True})
    # A mark in the signal of saved media, which `multigen verify` finds again. `auto`: on in a server that others than
    # this machine's users reach, else off
    watermark: Literal["auto", "on", "off"] = field(default="auto", metadata={UNSAID_EMPTY: True})
    seed: int = 0  # keys everything random: weights, order, noise, media
    description: str = ""  # one line, for `multigen recipes`
    # How the weights that it came with were made smaller, and what that cost; null: they were not
    shrunk: Shrunk | None = field(default=None, metadata={UNSAID_EMPTY: True})

    @property
    def trains(self) -> Literal["denoiser", "codec"]:
        """What a training of this recipe teaches: a denoiser, or, without a backbone, the codec."""
        return "codec" if self.backbone is None else "denoiser"

    @property
    def makes(self) -> str:
        """The modality of its media, by name: with motion modules a network of pictures makes videos."""
        moves = any(one.name == "motion_adapter" for one in self.adapters)
        return "video" if moves else self.modality.name

    @property
    def network(self) -> Part:
        """The backbone. RecipeError where there is none, because the recipe trains its codec."""
        if self.backbone is None:
            raise RecipeError(f"{self.name}: this recipe trains its codec; it has no backbone")
        return self.backbone
