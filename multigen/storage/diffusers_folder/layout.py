"""The layout of a pipeline's folder: which parts it has, and whether they are allowed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from multigen.errors import MultigenError, reason
from multigen.registry import convert

INDEX = "model_index.json"
PIPELINE = "StableDiffusionPipeline"
# Parts of the pipeline: sub-folder -> library and allowed classes.
COMPONENTS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "unet": ("diffusers", ("UNet2DConditionModel",)),
    "vae": ("diffusers", ("AutoencoderKL",)),
    "text_encoder": ("transformers", ("CLIPTextModel",)),
    "tokenizer": ("transformers", ("CLIPTokenizer", "CLIPTokenizerFast")),
}
SCHEDULER = "scheduler"
MAX_JSON = 64 * 1024**2  # bytes
WEIGHTS = re.compile(
    r"(diffusion_pytorch_model|model)(?:\.(?P<variant>fp16|bf16))?(-\d+-of-\d+)?\.safetensors"
)


def is_pipeline(path: Path) -> bool:
    """Return whether a folder is a pipeline of diffusers."""
    return (path / INDEX).is_file()


def check_pipeline(folder: Path) -> None:
    """Raise MultigenError unless the folder is a Stable Diffusion pipeline of known parts."""
    index = read_json(folder / INDEX)
    name = index.get("_class_name")
    if isinstance(name, list):
        raise MultigenError(f"{folder}: it requires its own code ({name[0]}), which is never run")
    if name != PIPELINE:
        raise MultigenError(
            f"{folder}: this is a {name}. Allowed: {PIPELINE} (Stable Diffusion 1.x and 2.x)."
        )
    for part, (library, classes) in COMPONENTS.items():
        given = index.get(part)
        if not isinstance(given, list) or len(given) != 2:
            raise MultigenError(f"{folder / INDEX}: it lists no {part}")
        if given[0] not in ("diffusers", "transformers"):
            raise MultigenError(
                f"{folder}: its {part} requires its own code ({given[0]}.{given[1]}), which is never run"
            )
        if given[0] != library or given[1] not in classes:
            raise MultigenError(
                f"{folder}: its {part} is a {given[0]}.{given[1]}. Allowed: {library}.{classes[0]}."
            )


def component(folder: Path, name: str) -> dict[str, Any]:
    """Read the configuration of one part, in its sub-folder.

    Raises MultigenError if it is missing, is of another class, requires its own code, or has no safetensors.
    """
    place = folder / name
    tokenizer = name == "tokenizer"
    config = read_json(place / ("tokenizer_config.json" if tokenizer else "config.json"))
    if "auto_map" in config:
        raise MultigenError(f"{place}: it requires its own code (auto_map), which is never run")
    classes = COMPONENTS[name][1]
    given = config.get("_class_name")
    if given is not None and given not in classes:
        raise MultigenError(f"{place}: this is a {given}. Allowed: {classes[0]}.")
    if tokenizer and not any((place / file).is_file() for file in ("vocab.json", "tokenizer.json")):
        raise MultigenError(f"{place}: there is no vocabulary (vocab.json and merges.txt, or tokenizer.json)")
    if not tokenizer and not any(WEIGHTS.fullmatch(p.name) for p in place.iterdir()):
        raise MultigenError(
            f"{place}: there are no .safetensors weights (pickled weights, .bin or .ckpt, are never loaded)"
        )
    return config


def entry(config: Mapping[str, Any], place: Path, key: str, annotation: Any, default: Any) -> Any:
    """Return one value of a configuration. MultigenError if it is of another type."""
    return convert(annotation, config.get(key, default), f"{place / 'config.json'}: {key}")


def vae_factor(folder: Path) -> int:
    """Return the number of pixels of a latent, along each side."""
    place = folder / "vae"
    return 2 ** (
        len(entry(component(folder, "vae"), place, "block_out_channels", tuple[int, ...], (64,))) - 1
    )


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
