"""Networks of a pipeline, loaded with diffusers and transformers."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from multigen.errors import MultigenError, reason
from multigen.storage.diffusers_folder.layout import PACKAGES, WEIGHTS, Component, component, listed
from multigen.storage.torchaudio_shim import import_torchaudio


def imported(name: str) -> ModuleType:
    """Import diffusers or transformers. MultigenError if it is not installed."""
    with suppress(ModuleNotFoundError):
        import_torchaudio()  # which transformers imports if it is installed
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise MultigenError(
            f"pipelines of diffusers need the package {error.name}: pip install {error.name}"
        ) from error


def _class(package: str, kind: str) -> Any:
    """Return a class of diffusers, of transformers, or of a module of diffusers' pipelines."""
    if package in PACKAGES:
        return getattr(imported(package), kind)
    imported("diffusers")
    try:
        module = importlib.import_module(f"diffusers.pipelines.{package}")
    except ModuleNotFoundError:  # a pipeline that diffusers has retired
        module = importlib.import_module(f"diffusers.pipelines.deprecated.{package}")
    return getattr(module, kind)


def blank(folder: Path, name: str, allowed: Component) -> nn.Module:
    """Make the network of a part of diffusers from its configuration, without its weights."""
    config, kind = component(folder, name, allowed), listed(folder, name, allowed)
    try:
        return _class(allowed.package, str(kind)).from_config(config)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise MultigenError(
            f"{folder / name}: its config.json describes no network ({reason(error)})"
        ) from error


def network(folder: Path, name: str, allowed: Component) -> nn.Module:
    """Load the network of a part, in fp32. MultigenError if its weights do not match its configuration."""
    component(folder, name, allowed)
    return _loaded(folder / name, allowed.package, str(listed(folder, name, allowed)))


def lone_network(place: Path, kind: str, package: str = "diffusers") -> nn.Module:
    """Load a network, a class `kind`, that stands in no pipeline, in fp32. MultigenError as `network`."""
    component(place.parent, place.name, Component(package, (kind,)))
    return _loaded(place, package, kind)


def _loaded(place: Path, package: str, kind: str) -> nn.Module:
    options: dict[str, Any] = {"local_files_only": True, "use_safetensors": True, "output_loading_info": True}
    if package != "transformers":
        options |= {"low_cpu_mem_usage": False, "torch_dtype": torch.float32}
    else:
        options |= {"dtype": torch.float32}
    try:
        cls = _class(package, kind)
        with _quiet():
            model, report = _in_one_dtype(cls).from_pretrained(place, variant=_variant(place), **options)
        model.__class__ = cls
    except MultigenError:
        raise
    except Exception as error:  # whatever the libraries raise for damaged files
        raise MultigenError(f"{place}: cannot be loaded as a {kind} ({_first_line(error)})") from error
    missing = sorted(report["missing_keys"])
    if missing:  # they would be random
        raise MultigenError(
            f"{place}: cannot be loaded as a {kind} ({len(missing)} weights missing: {missing[0]} ...)"
        )
    return model.float()


def _in_one_dtype(cls: Any) -> Any:
    """A class of diffusers that keeps some modules in fp32 would load with the package accelerate alone.

    Here all of them are fp32.
    """
    wants = issubclass(cls, imported("diffusers").ModelMixin)
    return type(cls.__name__, (cls,), {"_keep_in_fp32_modules": None}) if wants else cls


def _variant(place: Path) -> str | None:
    """Return None if there are weights without a variant; else "fp16" or "bf16", which are converted to fp32."""
    found = {m["variant"] for p in place.iterdir() if (m := WEIGHTS.fullmatch(p.name))}
    return None if None in found or not found else sorted(str(v) for v in found)[-1]


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the progress bars of transformers."""
    logging: Any = imported("transformers").utils.logging
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if bars:
            logging.enable_progress_bar()


class Frozen:
    """A network that is never trained, averaged, copied or saved: its weights stay in their folder.

    Not an `nn.Module`: a deep copy is the same object, and an unpickled one loads its weights again. The weights are
    loaded on first use.
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
        """Return the network, moved to a device."""
        with self._lock, torch.inference_mode(False):  # the network is kept, and may be used in training
            if self._network is None:
                with torch.random.fork_rng(devices=[]):
                    self._network = self.load().eval().requires_grad_(False)
            return self._network.to(device)
