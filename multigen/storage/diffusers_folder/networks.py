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
from torch import nn
from torch.overrides import TorchFunctionMode

from multigen.errors import MultigenError, reason
from multigen.storage.diffusers_folder import single_file
from multigen.storage.diffusers_folder.files import Wanted, dtype_of, variant, weights
from multigen.storage.diffusers_folder.layout import (
    ELSEWHERE,
    PACKAGES,
    Component,
    component,
    listed,
    read_json,
)
from multigen.storage.diffusers_folder.single_file.folder import check_unchanged
from multigen.storage.diffusers_folder.turns import Turns
from multigen.storage.torchaudio_shim import import_torchaudio

# Layers whose weights may be of another dtype than fp32, as autocast multiplies them. Norms and embeddings may not.
LOWERED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


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


def network(folder: Path, name: str, allowed: Component, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Load the network of a part. MultigenError if its weights do not match its configuration.

    dtype  of the weights of linear layers and convolutions of diffusers' networks; all others are fp32
    """
    component(folder, name, allowed)
    return _loaded(folder / name, allowed.package, str(listed(folder, name, allowed)), dtype)


def lone_network(place: Path, kind: str, package: str = "diffusers") -> nn.Module:
    """Load a network, a class `kind`, that stands in no pipeline, in fp32. MultigenError as `network`."""
    component(place.parent, place.name, Component(package, (kind,)))
    return _loaded(place, package, kind)


def _loaded(place: Path, package: str, kind: str, dtype: torch.dtype = torch.float32) -> nn.Module:
    try:
        cls = _class(package, kind)
        note = read_json(place / ELSEWHERE) if (place / ELSEWHERE).is_file() else {}
        if "folder" in note:
            return _loaded(Path(note["folder"]), package, kind, dtype)
        with _quiet():
            if package == "transformers":
                model, missing = _of_transformers(cls, place, note)
            else:
                model, missing = _of_diffusers(cls, place, note, dtype)
    except MultigenError:
        raise
    except Exception as error:  # whatever the libraries raise for damaged files
        raise MultigenError(f"{place}: cannot be loaded as a {kind} ({_first_line(error)})") from error
    if missing:  # they would be random
        raise MultigenError(
            f"{place}: cannot be loaded as a {kind} ({len(missing)} weights missing: {missing[0]} ...)"
        )
    return model


def _of_transformers(cls: Any, place: Path, note: Mapping[str, Any]) -> tuple[nn.Module, list[str]]:
    options: dict[str, Any] = {"output_loading_info": True, "dtype": torch.float32}
    if note:
        options |= {"config": cls.config_class.from_pretrained(place), "state_dict": _weights(place, note)}
        model, report = cls.from_pretrained(None, **options)
    else:
        options |= {"local_files_only": True, "use_safetensors": True, "variant": variant(place)}
        model, report = cls.from_pretrained(place, **options)
    return model, sorted(report["missing_keys"])


def _of_diffusers(
    cls: Any, place: Path, note: Mapping[str, Any], dtype: torch.dtype
) -> tuple[nn.Module, list[str]]:
    """The network, without random weights first.

    Where the files have the dtype that is wanted, their own memory is the weights', and only what is called is read.
    """
    with _Unfilled():
        model = cls.from_config(read_json(place / "config.json"))
    cast = {
        f"{n}.{p}" for n, m in model.named_modules() if isinstance(m, LOWERED) for p in ("weight", "bias")
    }

    def wanted(name: str) -> torch.dtype:
        return dtype if name in cast else torch.float32

    found = _weights(place, note, wanted)
    if issubclass(cls, imported("diffusers").ModelMixin):
        model._fix_state_dict_keys_on_load(found)  # names of 2022
    missing, _ = model.load_state_dict(found, strict=False, assign=True)
    return model.eval(), sorted(missing)


def _weights(
    place: Path, note: Mapping[str, Any], wanted: Wanted = lambda _: torch.float32
) -> dict[str, torch.Tensor]:
    """The weights of a part, from its own files or from its share of a single file."""
    if "file" in note:
        file = Path(note["file"])
        check_unchanged(file, note)
        found = single_file.tensors(file, note["kind"], place.name, read_json(place / "config.json"))
        for name, tensor in found.items():  # one after another, so that two copies are of one tensor alone
            found[name] = tensor.to(dtype_of(tensor.dtype, name, wanted))
        return found
    return dict(weights(place, wanted))


class _Unfilled(TorchFunctionMode):
    """Inside the block of this thread, layers have weights without memory: their files bring it."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.empty:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


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
    loaded on first use; with `turns` they are freed when another network of the model is called.
    """

    def __init__(self, load: Callable[[], nn.Module], turns: Turns | None = None) -> None:
        self.load, self._turns, self._changed = load, turns, False
        self._lock = threading.Lock()
        self._network: Any = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Frozen:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Frozen, (self.load,)

    def on(self, device: torch.device) -> Any:
        """Return the network, moved to a device."""
        if self._turns is not None:
            self._turns.take(self)
        with self._lock, torch.inference_mode(False):  # the network is kept, and may be used in training
            if self._network is None:
                with torch.random.fork_rng(devices=[]):
                    self._network = self.load().eval().requires_grad_(False)
            return self._network.to(device)

    def to_change(self, device: torch.device) -> Any:
        """Return the network as `on`, to be changed: it is never freed from now on."""
        self._changed = True
        return self.on(device)

    def leave(self) -> None:
        """Free the weights: they are loaded again when they are wanted. What was changed goes to the CPU's memory."""
        with self._lock:
            self._network = self._network.to("cpu") if self._changed and self._network is not None else None
