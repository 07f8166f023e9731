"""Weights that the user has on disk: found, read without running any code, and loaded into a network."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from multigen.errors import MultigenError
from multigen.storage.files import sha256


def weights_file(weights: str, source: str) -> Path:
    """The user's weights file. MultigenError says what was given and, from `source`, where to get the file."""
    path = Path(weights).expanduser()
    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else "is not there"
        raise MultigenError(f"weights: {weights!r} {what}. Give the path of your copy: {source}.")
    return path


def read_state(path: Path) -> dict[str, Tensor]:
    """The state dict in a .safetensors file or in PyTorch's .pth and .pt, whose pickles may hold tensors only."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        text = f"weights: {path} is damaged, or its pickle holds more than tensors, which is not read"
        raise MultigenError(f"{text} ({str(error).splitlines()[0]})") from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, SafetensorError) as error:
        raise MultigenError(f"weights: {path} cannot be read ({str(error).splitlines()[0]})") from error
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise MultigenError(f"weights: {path} is not a state dict: a mapping of names to tensors.")
    return dict(state)


def load_weights(module: nn.Module, path: Path, source: str, ignored: tuple[str, ...] = ()) -> str:
    """Load a state dict into a network of the same names and shapes; return the facts' `weights`.

    module   the network
    source   name of the network, for the error
    ignored  prefixes of names that are left out

    MultigenError lists tensors that are missing, unknown or of another shape.
    """
    counters = "num_batches_tracked"  # not used in inference, and missing from old files
    state = {
        k: v for k, v in read_state(path).items() if not k.endswith(counters) and not k.startswith(ignored)
    }
    own = {k: v for k, v in module.state_dict().items() if not k.endswith(counters)}
    faults = {
        "missing": sorted(own.keys() - state.keys()),
        "unknown": sorted(state.keys() - own.keys()),
        "of another shape": sorted(k for k in own.keys() & state.keys() if own[k].shape != state[k].shape),
    }
    said = [f"{len(names)} {what} ({', '.join(names[:3])})" for what, names in faults.items() if names]
    if said:
        raise MultigenError(f"weights: {path} does not hold the layers of {source}: {'; '.join(said)}.")
    module.load_state_dict({k: v.float() for k, v in state.items()}, strict=False)
    return sha256(path)[:16]


def freeze(module: nn.Module) -> None:
    """Set evaluation mode and turn gradients off."""
    module.eval().requires_grad_(False)
