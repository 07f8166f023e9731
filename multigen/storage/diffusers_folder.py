"""Folders in diffusers' format: found here or fetched from the hub, judged before they are read, loaded as data.

Only what is safe to take from a stranger: JSON, a tokenizer's text files and safetensors. No pickles, no code.
diffusers and transformers take seconds to import, so this happens where a network is wanted, not before.
"""

from __future__ import annotations

import functools
import importlib
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from multigen.errors import MultigenError
from multigen.registry import convert
from multigen.storage.torchaudio_shim import import_torchaudio

INDEX = "model_index.json"
PIPELINE = "StableDiffusionPipeline"
# What the pipeline is made of: sub-folder -> library and classes that may stand there.
COMPONENTS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "unet": ("diffusers", ("UNet2DConditionModel",)),
    "vae": ("diffusers", ("AutoencoderKL",)),
    "text_encoder": ("transformers", ("CLIPTextModel",)),
    "tokenizer": ("transformers", ("CLIPTokenizer", "CLIPTokenizerFast")),
}
SCHEDULER = "scheduler"
# What is fetched from the hub, of what there is.
WANTED = (
    INDEX,
    f"{SCHEDULER}/*.json",
    *(f"{name}/*.json" for name in COMPONENTS),
    "tokenizer/*.txt",
    *(f"{name}/*.safetensors" for name in ("unet", "vae", "text_encoder")),
)
UNWANTED = ("*.fp16.*", "*.non_ema.*")
MAX_JSON = 64 * 1024**2  # bytes
_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_OURS = ("runs", "recipes")  # no owner on the hub, but where our own folders are
_FILES = (".yaml", ".yml", ".safetensors", ".ckpt", ".bin", ".pt")
_WEIGHTS = re.compile(
    r"(diffusion_pytorch_model|model)(?:\.(?P<variant>fp16|bf16))?(-\d+-of-\d+)?\.safetensors"
)


def is_pipeline(path: Path) -> bool:
    """Whether a folder says that it holds a pipeline of diffusers."""
    return (path / INDEX).is_file()


def is_id(source: str) -> bool:
    """Whether this reads as owner/name on the hub, and no such file or folder is here."""
    path = Path(source).expanduser()
    owner = source.partition("/")[0]
    return (
        _ID.fullmatch(source) is not None
        and path.suffix not in _FILES
        and owner not in _OURS
        and not path.exists()
        and not path.parent.is_dir()
    )


def located(path: str | None) -> Path:
    """The folder itself, or that of an id on the hub, which is downloaded first. MultigenError if there is none."""
    if path is None:
        raise MultigenError(
            "path: not set. Give a folder in diffusers' format, or its id on the hub (owner/name)."
        )
    if is_id(path):
        return _fetched(path)
    folder = Path(path).expanduser().resolve()
    if not folder.is_dir():
        raise MultigenError(
            f"path: {path}: no such folder. Give a folder in diffusers' format, or an id (owner/name)."
        )
    return folder


@functools.cache
def _fetched(name: str) -> Path:
    """Once a process: the hub is asked whether the copy here is the newest."""
    from huggingface_hub import snapshot_download

    try:
        found = snapshot_download(name, allow_patterns=list(WANTED), ignore_patterns=list(UNWANTED))
    except (OSError, ValueError, RuntimeError) as error:  # offline, no such model, not allowed; a wrong id
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise MultigenError(
            f"{name}: no such folder here, and it cannot be fetched from the hub ({reason}). Offline, give the path of "
            "a folder in diffusers' format."
        ) from error
    return Path(found)


# --- judging ----------------------------------------------------------------------------------------------------


def check_pipeline(folder: Path) -> None:
    """MultigenError unless the folder is a Stable Diffusion pipeline whose every part is one that is known."""
    index = read_json(folder / INDEX)
    name = index.get("_class_name")
    if isinstance(name, list):
        raise MultigenError(f"{folder}: it asks for code of its own ({name[0]}), which is never run")
    if name != PIPELINE:
        raise MultigenError(f"{folder}: a {name}. Allowed: {PIPELINE} (Stable Diffusion 1.x and 2.x).")
    for part, (library, classes) in COMPONENTS.items():
        given = index.get(part)
        if not isinstance(given, list) or len(given) != 2:
            raise MultigenError(f"{folder / INDEX}: it names no {part}")
        if given[0] not in ("diffusers", "transformers"):
            raise MultigenError(
                f"{folder}: its {part} asks for code of its own ({given[0]}.{given[1]}), which is never run"
            )
        if given[0] != library or given[1] not in classes:
            raise MultigenError(
                f"{folder}: its {part} is a {given[0]}.{given[1]}. Allowed: {library}.{classes[0]}."
            )


def component(folder: Path, name: str) -> dict[str, Any]:
    """The configuration of one part in its sub-folder.

    MultigenError if it is not there, is of another class, asks for code to be run, or has no safetensors.
    """
    place = folder / name
    tokenizer = name == "tokenizer"
    config = read_json(place / ("tokenizer_config.json" if tokenizer else "config.json"))
    if "auto_map" in config:
        raise MultigenError(f"{place}: it asks for code of its own (auto_map), which is never run")
    classes = COMPONENTS[name][1]
    given = config.get("_class_name")
    if given is not None and given not in classes:
        raise MultigenError(f"{place}: a {given}. Allowed: {classes[0]}.")
    if tokenizer and not any((place / file).is_file() for file in ("vocab.json", "tokenizer.json")):
        raise MultigenError(f"{place}: no vocabulary there (vocab.json and merges.txt, or tokenizer.json)")
    if not tokenizer and not any(_WEIGHTS.fullmatch(p.name) for p in place.iterdir()):
        raise MultigenError(
            f"{place}: no .safetensors weights there (pickled weights, .bin or .ckpt, are never loaded)"
        )
    return config


def entry(config: Mapping[str, Any], place: Path, key: str, annotation: Any, default: Any) -> Any:
    """One value of a configuration. MultigenError if it is of another type."""
    return convert(annotation, config.get(key, default), f"{place / 'config.json'}: {key}")


def vae_factor(folder: Path) -> int:
    """Pixels a latent, along each side."""
    place = folder / "vae"
    return 2 ** (
        len(entry(component(folder, "vae"), place, "block_out_channels", tuple[int, ...], (64,))) - 1
    )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. MultigenError if it is missing or is none."""
    try:
        if path.stat().st_size > MAX_JSON:
            raise MultigenError(f"{path}: over {MAX_JSON:,} bytes")
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MultigenError(f"{path}: no such file; a folder in diffusers' format has it") from None
    except (OSError, ValueError, RecursionError) as error:
        raise MultigenError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(value, dict):
        raise MultigenError(f"{path}: not a JSON object")
    return value


# --- loading ----------------------------------------------------------------------------------------------------


def imported(name: str) -> ModuleType:
    """diffusers or transformers, imported. MultigenError if it is not installed."""
    with suppress(ModuleNotFoundError):
        import_torchaudio()  # transformers imports it where it is installed
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise MultigenError(
            f"Stable Diffusion needs the package {error.name}: pip install {error.name}"
        ) from error


def network(folder: Path, name: str) -> nn.Module:
    """The network of a part, in fp32, with all of its weights. MultigenError if they are not those of its config."""
    component(folder, name)
    package, (kind, *_) = COMPONENTS[name]
    place = folder / name
    options: dict[str, Any] = {"local_files_only": True, "use_safetensors": True, "output_loading_info": True}
    if package == "diffusers":
        options |= {"low_cpu_mem_usage": False, "torch_dtype": torch.float32}
    else:
        options |= {"dtype": torch.float32}
    try:
        cls = getattr(imported(package), kind)
        with _quiet():
            model, report = cls.from_pretrained(place, variant=_variant(place), **options)
    except MultigenError:
        raise
    except Exception as error:  # whatever two libraries make of damaged files
        raise MultigenError(f"{place}: cannot be loaded as a {kind} ({_first_line(error)})") from error
    missing = sorted(report["missing_keys"])
    if missing:  # they would be random
        raise MultigenError(
            f"{place}: cannot be loaded as a {kind} ({len(missing)} weights missing: {missing[0]} ...)"
        )
    return model.float()


def _variant(place: Path) -> str | None:
    """None where there are weights without a variant; else fp16 or bf16, which become fp32."""
    found = {m["variant"] for p in place.iterdir() if (m := _WEIGHTS.fullmatch(p.name))}
    return None if None in found or not found else sorted(str(v) for v in found)[-1]


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars of transformers."""
    logging: Any = imported("transformers").utils.logging
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if bars:
            logging.enable_progress_bar()


class Frozen:
    """A network of a folder that nobody trains, averages, copies or saves: it stays in its folder.

    Not an `nn.Module`: a deep copy is the same object, and a pickled one loads its weights anew. They are loaded when
    it is first used.
    """

    def __init__(self, load: Callable[[], nn.Module]) -> None:
        self.load = load
        self._lock = threading.Lock()
        self._network: Any = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Frozen:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Frozen, (self.load,)

    def on(self, device: torch.device) -> Any:
        """The network, on that device."""
        with self._lock, torch.inference_mode(False):  # what is kept must serve training too
            if self._network is None:
                with torch.random.fork_rng(devices=[]):
                    self._network = self.load().eval().requires_grad_(False)
            return self._network.to(device)
