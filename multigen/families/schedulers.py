"""The configuration of a scheduler in multigen's words: schedule, prediction, timesteps and sampler.

Four readers serve diffusers' schedulers, by class: tables of betas, flows, consistency distillation, and EDM.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from multigen.errors import MultigenError, message
from multigen.families.betas import table
from multigen.registry import Part
from multigen.storage import diffusers_folder

PREDICTIONS = {"epsilon": "eps", "v_prediction": "v", "sample": "x0", "flow_prediction": "flow"}
# Schedulers of tables -> the sampler that they are, and how they space their steps where they do not say.
TABLES: Mapping[str, tuple[str, str]] = {
    "DDIMScheduler": ("ddim", "leading"),
    "DDPMScheduler": ("ddpm", "leading"),
    "PNDMScheduler": ("ddim", "leading"),
    "DEISMultistepScheduler": ("ddim", "linspace"),
    "DPMSolverMultistepScheduler": ("dpmpp_2m", "linspace"),
    "DPMSolverSDEScheduler": ("dpmpp_2m_sde", "linspace"),
    "DPMSolverSinglestepScheduler": ("dpmpp_2m", "linspace"),
    "EulerAncestralDiscreteScheduler": ("euler_ancestral", "linspace"),
    "EulerDiscreteScheduler": ("euler", "linspace"),
    "HeunDiscreteScheduler": ("heun", "linspace"),
    "KDPM2AncestralDiscreteScheduler": ("heun", "linspace"),
    "KDPM2DiscreteScheduler": ("heun", "linspace"),
    "LMSDiscreteScheduler": ("ipndm", "linspace"),
    "UniPCMultistepScheduler": ("unipc", "linspace"),
}
# Those whose evenly spaced steps include index 0; the others stop one step before it.
CLOSED = frozenset(
    {"DDIMScheduler", "DDPMScheduler", "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler"}
    | {"HeunDiscreteScheduler", "KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler", "PNDMScheduler"}
    | {"LMSDiscreteScheduler"}
)
FLOWS = {"FlowMatchEulerDiscreteScheduler": "euler", "FlowMatchHeunDiscreteScheduler": "heun"}
# What a flow's scheduler may ask for that has no word here.
_UNKNOWN = ("invert_sigmas", "use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")
_STATISTICS = (
    ("base_shift", 0.5),
    ("max_shift", 1.15),
    ("base_image_seq_len", 256),
    ("max_image_seq_len", 4096),
)


class Scheduler(NamedTuple):
    """What a scheduler's configuration says; `modifiers` clip x0, where it does."""

    schedule: Part
    prediction: Part
    timesteps: Part
    sampler: Part
    modifiers: tuple[Part, ...] = ()


class Pipeline(NamedTuple):
    """What a pipeline does with its scheduler, as `Family` declares it."""

    own_sigmas: bool = False
    patch: int = 1


USUAL = Pipeline()


def read_scheduler(
    folder: Path, entries: Mapping[str, Any] | None = None, pipeline: Pipeline = USUAL
) -> Scheduler:
    """Read the scheduler of a folder, `entries` of its configuration replaced.

    MultigenError for a class that is not known, with the nearest, and for values that have no word here.
    """
    place = folder / diffusers_folder.SCHEDULER
    config = {**diffusers_folder.read_json(place / "scheduler_config.json"), **(entries or {})}
    kind = str(config.get("_class_name"))
    if kind not in READERS:
        raise MultigenError(message(f"{place}: its class", kind, sorted(READERS)))
    return READERS[kind](config, str(place), pipeline)


# --- tables of betas ------------------------------------------------------------------------------------------------


def _of_table(config: Mapping[str, Any], where: str, pipeline: Pipeline) -> Scheduler:
    if config.get("use_flow_sigmas") or config.get("prediction_type") == "flow_prediction":
        return _solver_of_flow(config, where)
    if config.get("timestep_type") == "continuous":
        return _continuous(config, where)
    kind = str(config["_class_name"])
    sampler, modifiers = Part(TABLES[kind][0]), _modifiers(config, kind)
    return Scheduler(table(config, where), prediction(config, where), timesteps(config), sampler, modifiers)


def _continuous(config: Mapping[str, Any], where: str) -> Scheduler:
    """A solver that walks sigmas of its own: v where alpha² + sigma² = 1, at the same sigma/alpha."""
    low, high = config.get("sigma_min"), config.get("sigma_max")
    if config.get("prediction_type") != "v_prediction" or not (low and high):
        raise MultigenError(
            f"{where}: timestep_type continuous is not allowed here. Allowed: with prediction_type v_prediction, "
            "sigma_min and sigma_max."
        )
    name = "exponential" if config.get("use_exponential_sigmas") else "karras"
    grid = Part(name, {"sigma_min": float(low), "sigma_max": float(high), "from_pure": False})
    sampler = TABLES[str(config["_class_name"])][0]
    return Scheduler(Part("cosine", {"s": 0.0}), Part("v"), grid, Part(sampler))


def _modifiers(config: Mapping[str, Any], kind: str) -> tuple[Part, ...]:
    """How the scheduler keeps x0 within its range."""
    limit = float(config.get("clip_sample_range", 1.0))
    if config.get("thresholding"):
        quantile, most = config.get("dynamic_thresholding_ratio", 0.995), config.get("sample_max_value", 1.0)
        return (Part("threshold", {"quantile": quantile, "limit": float(most)}),)
    clips = config.get("clip_sample", kind in ("DDIMScheduler", "DDPMScheduler"))
    return (Part("clip", {"limit": limit}),) if clips else ()


def prediction(config: Mapping[str, Any], where: str) -> Part:
    """What the network outputs."""
    given = config.get("prediction_type", "epsilon")
    if given not in PREDICTIONS:
        raise MultigenError(message(f"{where}: prediction_type", given, PREDICTIONS))
    return Part(PREDICTIONS[given])


def timesteps(config: Mapping[str, Any]) -> Part:
    """The grid of a table's scheduler."""
    kind = str(config.get("_class_name"))
    for flag, name in (("use_karras_sigmas", "karras"), ("use_exponential_sigmas", "exponential")):
        if config.get(flag):
            return Part(name)
    spacing = config.get("timestep_spacing", TABLES[kind][1])
    if spacing == "trailing":
        return Part("trailing")
    if spacing == "linspace":
        return Part("linspace", {"closed": kind in CLOSED})
    offset = config.get("steps_offset", 0)
    to_zero = config.get("set_alpha_to_one", kind != "PNDMScheduler")
    if config.get("final_sigmas_type") == "sigma_min":
        to_zero = False
    # At offset 0 the last step is at the first index itself.
    return Part("leading", {"offset": offset, "to_zero": to_zero or offset == 0})


# --- flows ----------------------------------------------------------------------------------------------------------


def _of_flow(config: Mapping[str, Any], where: str, pipeline: Pipeline) -> Scheduler:
    wrong = [key for key in _UNKNOWN if config.get(key)]
    if wrong:
        raise MultigenError(f"{where}: {wrong[0]}: true is not allowed. Allowed: false.")
    shift, count = float(config.get("shift", 1.0)), int(config.get("num_train_timesteps", 1000))
    args: dict[str, Any] = {}
    if config.get("use_dynamic_shifting"):
        low, high, few, many = (config.get(key) or usual for key, usual in _STATISTICS)
        law = config.get("time_shift_type", "exponential")
        args |= {"shifts": [low, high], "tokens": [few, many], "law": law, "patch": pipeline.patch}
        shift = 1.0
    else:
        args["shift"] = shift
    if not pipeline.own_sigmas:  # from the table's first to its last, which are shifted already
        first = 1 / count
        args["last"] = shift * first / (1 + (shift - 1) * first)
    if config.get("shift_terminal"):
        args["terminal"] = config["shift_terminal"]
    sampler = FLOWS[str(config["_class_name"])]
    return Scheduler(Part("flow", {"shift": shift}), Part("flow"), Part("flow", args), Part(sampler))


def _solver_of_flow(config: Mapping[str, Any], where: str) -> Scheduler:
    """A solver for tables that is told to walk a flow."""
    shift, count = float(config.get("flow_shift", 1.0)), int(config.get("num_train_timesteps", 1000))
    kind = str(config["_class_name"])
    # UniPC's sigmas are on their way to 1/N when they end, the others' to 0.
    ends = {"towards": 1 / count} if kind == "UniPCMultistepScheduler" else {"first": 1 - 1 / count}
    grid, sampler = Part("flow", {"shift": shift, **ends}), TABLES[kind][0]
    return Scheduler(Part("flow", {"shift": shift}), Part("flow"), grid, Part(sampler))


# --- consistency distillation ---------------------------------------------------------------------------------------


def _of_consistency(config: Mapping[str, Any], where: str, pipeline: Pipeline) -> Scheduler:
    grid = Part("trailing", {"of": config.get("original_inference_steps", 50)})
    return Scheduler(table(config, where), prediction(config, where), grid, Part("consistency"))


def _of_consistency_model(config: Mapping[str, Any], where: str, pipeline: Pipeline) -> Scheduler:
    """A network that maps noise to data itself (Song et al. 2023, arXiv:2303.01469)."""
    low, high = float(config.get("sigma_min", 0.002)), float(config.get("sigma_max", 80.0))
    if float(config.get("s_noise", 1.0)) != 1:
        raise MultigenError(f"{where}: s_noise: {config['s_noise']} is not allowed. Allowed: 1.")
    schedule = {"sigma_min": low, "sigma_max": high, "rho": float(config.get("rho", 7.0))}
    data = float(config.get("sigma_data", 0.5))
    clips = config.get("clip_denoised", True)
    return Scheduler(
        Part("edm", schedule),
        Part("consistency", {"sigma_data": data, "sigma_min": low}),
        Part("uniform", {"of": config.get("num_train_timesteps", 40)}),
        Part("consistency", {"sigma_min": low}),
        (Part("clip", {"limit": 1.0}),) if clips else (),
    )


# --- EDM ------------------------------------------------------------------------------------------------------------


def _of_edm(config: Mapping[str, Any], where: str, pipeline: Pipeline) -> Scheduler:
    """EDM's preconditioning of v at sigma_data 1 is v itself where alpha² + sigma² = 1, at the same sigma/alpha."""
    given = config.get("prediction_type", "v_prediction")
    if given != "v_prediction" or float(config.get("sigma_data", 1.0)) != 1:
        raise MultigenError(
            f"{where}: prediction_type {given}, sigma_data {config.get('sigma_data')} are not allowed. Allowed: "
            "v_prediction, 1."
        )
    low, high = float(config.get("sigma_min", 0.3)), float(config.get("sigma_max", 500.0))
    args: dict[str, Any] = {"sigma_min": low, "sigma_max": high, "from_pure": False}
    spacing = config.get("sigma_schedule", "exponential")
    if spacing == "karras":
        args["rho"] = float(config.get("rho", 7.0))
    deterministic = config.get("algorithm_type") == "dpmsolver++"
    sampler = "dpmpp_2m" if deterministic else "dpmpp_2m_sde"
    return Scheduler(Part("cosine", {"s": 0.0}), Part("v"), Part(spacing, args), Part(sampler))


READERS: Mapping[str, Callable[[Mapping[str, Any], str, Pipeline], Scheduler]] = {
    **dict.fromkeys(TABLES, _of_table),
    **dict.fromkeys(FLOWS, _of_flow),
    "CMStochasticIterativeScheduler": _of_consistency_model,
    "LCMScheduler": _of_consistency,
    "CosineDPMSolverMultistepScheduler": _of_edm,
    "EDMDPMSolverMultistepScheduler": _of_edm,
}
