"""Recipe: the frozen dataclasses that one YAML names. (Reading, checking and composing the YAML: below.)"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from multigen.registry import Part


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
    dropout: float = 0.1  # share of samples trained on the null condition
    noise_level: Part = field(default_factory=lambda: Part("logit_normal"))
    objective: Part = field(default_factory=lambda: Part("flat"))
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: bool = False
    workers: int = 0  # processes that read media; 0: read in a thread
    checkpoint_every: int = 500  # steps
    keep: int = 2  # checkpoints
    log_every: int = 10  # steps
    held_out_every: int = 500  # steps; 0: never
    preview_every: int = 500  # steps; 0: never
    bad_media: float = 0.05  # share of items that may be unreadable before the run stops
    tensorboard: bool = True  # where it is installed
    init: str | None = None  # weights or run folder to start from


@dataclass(frozen=True)
class Sample:
    """What to make."""

    n: int = 8  # samples a prompt
    prompts: tuple[str, ...] = ("",)
    steps: int = 24
    size: int | tuple[int, int] | None = None  # pixels; null: the modality's
    duration: float | None = None  # s; null: the modality's
    batch: int = 16  # samples a network call at most, before guidance
    suffix: str | None = None  # file format; null: the modality's


@dataclass(frozen=True)
class Recipe:
    """Everything that makes a run, as data."""

    name: str
    modality: Part
    data: Part
    codec: Part
    backbone: Part
    train: Train
    schedule: Part = field(default_factory=lambda: Part("flow"))
    prediction: Part = field(default_factory=lambda: Part("flow"))
    conditioner: Part = field(default_factory=lambda: Part("none"))
    timesteps: Part = field(default_factory=lambda: Part("uniform"))
    sampler: Part = field(default_factory=lambda: Part("heun"))
    guide: Part = field(default_factory=lambda: Part("plain"))
    sample: Sample = field(default_factory=Sample)
    evaluate: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    description: str = ""
