"""Networks of a pipeline, loaded with diffusers and transformers."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from torch.overrides import TorchFunctionMode

from multigen.errors import MultigenError, reason
from multigen.storage.diffusers_folder import single_file
from multigen.storage.diffusers_folder.layout import (
    ELSEWHERE,
    PACKAGES,
    WEIGHTS,
    Component,
    component,
    listed,
    read_json,
)
from multigen.storage.diffusers_folder.single_file.folder import check_unchanged
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
    return getattr(importlib.import_module(f"diffusers.pipelines.{package}"), kind)


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
    try:
        cls = _class(package, kind)
        note = read_json(place / ELSEWHERE) if (place / ELSEWHERE).is_file() else {}
        if "folder" in note:
            return _loaded(Path(note["folder"]), package, kind)
        with _quiet():
            load = _of_transformers if package == "transformers" else _of_diffusers
            model, missing = load(cls, place, note)
    except MultigenError:
        raise
    except Exception as error:  # whatever the libraries raise for damaged files
        raise MultigenError(f"{place}: cannot be loaded as a {kind} ({_first_line(error)})") from error
    if missing:  # they would be random
        raise MultigenError(
            f"{place}: cannot be loaded as a {kind} ({len(missing)} weights missing: {missing[0]} ...)"
        )
    return model.float()


def _of_transformers(cls: Any, place: Path, note: Mapping[str, Any]) -> tuple[nn.Module, list[str]]:
    options: dict[str, Any] = {"output_loading_info": True, "dtype": torch.float32}
    if note:
        options |= {"config": cls.config_class.from_pretrained(place), "state_dict": _weights(place, note)}
        model, report = cls.from_pretrained(None, **options)
    else:
        options |= {"local_files_only": True, "use_safetensors": True, "variant": _variant(place)}
        model, report = cls.from_pretrained(place, **options)
    return model, sorted(report["missing_keys"])


def _of_diffusers(cls: Any, place: Path, note: Mapping[str, Any]) -> tuple[nn.Module, list[str]]:
    """The network with the file's own memory as its weights: no second copy is made, and none of random weights."""
    with _Unfilled():
        model = cls.from_config(read_json(place / "config.json"))
    weights = _weights(place, note)
    if issubclass(cls, imported("diffusers").ModelMixin):
        model._fix_state_dict_keys_on_load(weights)  # names of 2022
    weights = {k: v.float() if v.is_floating_point() else v for k, v in weights.items()}
    missing, _ = model.load_state_dict(weights, strict=False, assign=True)
    return model.eval(), sorted(missing)


def _weights(place: Path, note: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The weights of a part, from its own files or from its share of a single file."""
    if "file" in note:
        file = Path(note["file"])
        check_unchanged(file, note)
        return single_file.tensors(file, note["kind"], place.name, read_json(place / "config.json"))
    variant, found = _variant(place), {}
    for path in sorted(place.iterdir()):
        if (match := WEIGHTS.fullmatch(path.name)) and match["variant"] == variant:
            found |= load_file(path)
    return found


class _Unfilled(TorchFunctionMode):
    """Inside the block of this thread, layers have weights without memory: their files bring it."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.empty:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


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
