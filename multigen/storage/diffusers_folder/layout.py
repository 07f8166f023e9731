"""The layout of a pipeline's folder: which parts it has, and whether they are allowed."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from multigen.errors import MultigenError, message, reason
from multigen.registry import convert
from multigen.storage.pipeline_place import INDEX

SCHEDULER = "scheduler"
CONTROLNET = "controlnet"  # the folder of a run that holds the ControlNet that it trained
ELSEWHERE = (
    "weights.json"  # in the folder of a part: where its weights stand, in a single file or another folder
)
PACKAGES = ("diffusers", "transformers")
MAX_JSON = 64 * 1024**2  # bytes
WEIGHTS = re.compile(
    r"(diffusion_pytorch_model|model)(?:\.(?P<variant>fp16|bf16))?(-\d+-of-\d+)?\.safetensors"
)
_PICKLES = (".bin", ".ckpt", ".pt", ".pth")


@dataclass(frozen=True)
class Component:
    """What may stand in a sub-folder of a pipeline.

    package   diffusers, transformers, or the module of diffusers' pipelines that has the class, such as stable_audio
    classes   of that package
    optional  whether the pipeline may lack it
    """

    package: str
    classes: tuple[str, ...]
    optional: bool = False

    @property
    def is_tokenizer(self) -> bool:
        """Whether it holds a vocabulary and no weights."""
        return "Tokenizer" in self.classes[0]

    @property
    def is_processor(self) -> bool:
        """Whether it says how pictures are prepared, and holds no weights."""
        return "ImageProcessor" in self.classes[0]

    @property
    def config(self) -> str:
        """The name of its configuration."""
        if self.is_tokenizer:
            return "tokenizer_config.json"
        return "preprocessor_config.json" if self.is_processor else "config.json"


AUTOENCODER = Component("diffusers", ("AutoencoderKL",))
TEMPORAL_AUTOENCODER = Component("diffusers", ("AutoencoderKLWan", "AutoencoderKLLTXVideo"))
MOVQ = Component("diffusers", ("VQModel",))
OOBLECK = Component("diffusers", ("AutoencoderOobleck",))
VOCODER = Component("transformers", ("SpeechT5HifiGan",))
TEMPORAL_DECODER = Component("diffusers", ("AutoencoderKLTemporalDecoder",))


def pipeline_class(folder: Path) -> str:
    """Return the class of a pipeline. MultigenError if it is code of the folder's own, or not stated."""
    name = read_json(folder / INDEX).get("_class_name")
    if isinstance(name, list):
        raise MultigenError(f"{folder}: it requires its own code ({name[0]}), which is never run")
    if not isinstance(name, str):
        raise MultigenError(f"{folder / INDEX}: it names no class of pipeline (_class_name)")
    return name


def listed(folder: Path, name: str, allowed: Component) -> str | None:
    """Return the class of a part, or None for an optional part that is not there.

    MultigenError if the pipeline lacks it, and for a class that is not allowed there or is the folder's own code.
    """
    index = read_json(folder / INDEX)
    given = index.get(name)
    absent = given is None or given == [None, None]
    if absent and allowed.optional:
        return None
    if not isinstance(given, list) or len(given) != 2 or absent:
        raise MultigenError(f"{folder / INDEX}: it lists no {name}, which a {index.get('_class_name')} has")
    package, kind = given
    if package not in (*PACKAGES, allowed.package):
        raise MultigenError(
            f"{folder}: its {name} requires its own code ({package}.{kind}), which is never run"
        )
    if package != allowed.package or kind not in allowed.classes:
        classes = [f"{allowed.package}.{one}" for one in allowed.classes]
        raise MultigenError(message(f"{folder}: its {name}", f"{package}.{kind}", classes))
    return kind


def component(folder: Path, name: str, allowed: Component) -> dict[str, Any]:
    """Read the configuration of one part, in its sub-folder.

    Raises MultigenError if it is missing, is of another class, requires its own code, or has no safetensors.
    """
    place = folder / name
    config = read_json(place / allowed.config)
    if "auto_map" in config:
        raise MultigenError(f"{place}: it requires its own code (auto_map), which is never run")
    given = config.get("_class_name")
    if given is not None and given not in allowed.classes:
        raise MultigenError(message(f"{place}: its class", given, allowed.classes))
    if allowed.is_tokenizer:
        if not any((place / file).is_file() for file in ("vocab.json", "tokenizer.json", "spiece.model")):
            raise MultigenError(
                f"{place}: there is no vocabulary (vocab.json and merges.txt, tokenizer.json, or spiece.model)"
            )
    elif not allowed.is_processor and not _has_weights(place):
        raise _no_weights(place)
    return config


def _has_weights(place: Path) -> bool:
    return (place / ELSEWHERE).is_file() or any(WEIGHTS.fullmatch(p.name) for p in place.iterdir())


def _no_weights(place: Path) -> MultigenError:
    """Say that there are no safetensors, and how to get them from the pickles that are there."""
    pickles = sorted(p for p in place.iterdir() if p.suffix in _PICKLES)
    how = ""
    if pickles:
        # transformers' pytorch_model.bin is model.safetensors; diffusers' names differ in the suffix alone.
        name = re.sub("^pytorch_model", "model", pickles[0].stem)
        target = place / f"{name}.safetensors"
        how = f". Convert it, which runs no code: multigen convert {pickles[0]} {target}"
    return MultigenError(
        f"{place}: there are no .safetensors weights (pickled weights, .bin or .ckpt, are never loaded){how}"
    )


def entry(config: Mapping[str, Any], place: Path, key: str, annotation: Any, default: Any) -> Any:
    """Return one value of a configuration. MultigenError if it is of another type."""
    return convert(annotation, config.get(key, default), f"{place / 'config.json'}: {key}")


def vae_factor(folder: Path) -> int:
    """Return the number of pixels of a latent, along each side."""
    config = component(folder, "vae", Component("diffusers", AUTOENCODER.classes + TEMPORAL_DECODER.classes))
    widths = entry(config, folder / "vae", "block_out_channels", tuple[int, ...], (64,))
    return 2 ** (len(widths) - 1)


def temporal_factors(folder: Path) -> tuple[int, int]:
    """Return the number of frames, and of pixels along each side, of a latent of a video's VAE."""
    config = component(folder, "vae", TEMPORAL_AUTOENCODER)
    number = functools.partial(entry, config, folder / "vae", annotation=int | None, default=None)
    if config.get("_class_name") == "AutoencoderKLWan":
        return number(key="scale_factor_temporal") or 4, number(key="scale_factor_spatial") or 8
    scaling = entry(
        config, folder / "vae", "spatio_temporal_scaling", tuple[bool, ...], (True, True, True, False)
    )
    halved = 2 ** sum(scaling)
    frames = number(key="temporal_compression_ratio") or (number(key="patch_size_t") or 1) * halved
    return frames, number(key="spatial_compression_ratio") or (number(key="patch_size") or 4) * halved


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object. MultigenError if it is missing or anything else."""
    try:
        if path.stat().st_size > MAX_JSON:
            raise MultigenError(f"{path}: larger than {MAX_JSON:,} bytes")
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MultigenError(f"{path}: no such file, which a folder in diffusers' format has") from None
    except (OSError, ValueError, RecursionError) as error:
        raise MultigenError(f"{path}: not readable as JSON ({reason(error)})") from error
    if not isinstance(value, dict):
        raise MultigenError(f"{path}: not a JSON object")
    return value
