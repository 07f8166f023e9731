"""What extractors share: checking the modality, local weights, sizes, colours and rates."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from multigen.errors import MultigenError
from multigen.modalities import Modality
from multigen.modalities.raster import to_channels
from multigen.storage.files import sha256
from multigen.storage.torchaudio_shim import import_torchaudio

_KINDS = {1: "sound", 2: "images", 3: "video"}


def needs(modality: Modality, axes: int, name: str) -> None:
    """MultigenError unless media of the modality have so many axes beside channels: 1 sound, 2 images, 3 video."""
    have = len(modality.shape()) - 1
    if have != axes:
        raise MultigenError(
            f"{name} takes {_KINDS[axes]} ({axes} axes); the modality {modality.name} has {have}."
        )


def check_media(media: Tensor, axes: int, name: str) -> None:
    """MultigenError unless media are [B, C, *D] with so many axes D, none of them empty."""
    if media.ndim != axes + 2 or 0 in media.shape:
        wanted = ("channels", "frames", "height", "width")[:1] + ("frames", "height", "width")[3 - axes :]
        wanted = ("channels", "samples") if axes == 1 else wanted
        raise MultigenError(
            f"{name}: media of shape {tuple(media.shape)}; allowed: [B, {', '.join(wanted)}]."
        )


def sample_rate(modality: Modality) -> int:
    """Hz of an audio modality."""
    return modality.shape(duration=1.0)[1]


# --- weights ------------------------------------------------------------------------------------------------------


def weights_file(weights: str, source: str) -> Path:
    """The user's file of weights; MultigenError says what was given and where one gets it."""
    path = Path(weights).expanduser()
    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else "is not there"
        raise MultigenError(f"weights: {weights!r} {what}. Give the path of your copy: {source}.")
    return path


def read_state(path: Path) -> dict[str, Tensor]:
    """A state dict of .safetensors or PyTorch's .pth and .pt, whose pickles may hold nothing but tensors."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        text = f"weights: {path} holds more than tensors, or is damaged: nothing else in a pickle is read"
        raise MultigenError(f"{text} ({str(error).splitlines()[0]})") from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, SafetensorError) as error:
        raise MultigenError(f"weights: {path} cannot be read ({str(error).splitlines()[0]})") from error
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise MultigenError(f"weights: {path} is no state dict: names with a tensor each.")
    return dict(state)


def load_weights(module: nn.Module, path: Path, source: str, ignored: tuple[str, ...] = ()) -> str:
    """Load a state dict whose names and shapes must be the module's; returns the facts' `weights`.

    Names that start with one of `ignored` are left out. MultigenError lists what is missing, unknown or misshapen.
    """
    counters = "num_batches_tracked"  # which inference does not use, and old files do not have
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
        raise MultigenError(f"weights: {path} has not the layers of {source}: {'; '.join(said)}.")
    module.load_state_dict({k: v.float() for k, v in state.items()}, strict=False)
    return sha256(path)[:16]


def frozen(module: nn.Module) -> None:
    """Evaluation mode, and nothing to train."""
    module.eval().requires_grad_(False)


# --- pictures -----------------------------------------------------------------------------------------------------


def rgb_levels(media: Tensor) -> Tensor:
    """[B, C, *D] in [-1, 1] -> [B, 3, *D] float, whole levels 0 to 255: what a saved file would hold.

    Grey becomes three equal channels; alpha is composited on white.
    """
    colours = to_channels(media.movedim(1, 0).float(), 3).movedim(0, 1)
    return ((colours + 1) * 127.5).round().clamp(0, 255)


def resized(pictures: Tensor, height: int, width: int) -> Tensor:
    """[N, C, H, W] levels -> [N, C, height, width], bicubic and antialiased; the aspect is not kept."""
    if tuple(pictures.shape[2:]) == (height, width):
        return pictures
    size = (height, width)
    return F.interpolate(pictures, size=size, mode="bicubic", antialias=True, align_corners=False).clamp(
        0, 255
    )


def resized_tf1(pictures: Tensor, height: int, width: int) -> Tensor:
    """[N, C, H, W] -> [N, C, height, width] as TensorFlow 1's ResizeBilinear does it: pixel i is at i * H / height.

    Neither centred nor antialiased, so other ways of resizing give other distances (Parmar et al. 2022,
    arXiv:2104.11222).
    """
    rows, columns = _bilinear(pictures.shape[2], height), _bilinear(pictures.shape[3], width)
    return rows.to(pictures) @ pictures @ columns.to(pictures).T


@lru_cache(maxsize=16)
def _bilinear(size: int, target: int) -> Tensor:
    """[target, size]: the weights of each old row in each new one."""
    place = torch.arange(target) * (size / target)
    low = place.floor().long().clamp_max(size - 1)
    share = (place - low)[:, None]
    eye = torch.eye(size)
    return eye[low] * (1 - share) + eye[(low + 1).clamp_max(size - 1)] * share


# --- sound --------------------------------------------------------------------------------------------------------


def mono(media: Tensor, rate: int, target: int) -> Tensor:
    """[B, C, N] at `rate` Hz -> [B, N'] at `target` Hz: the mean of the channels, then torchaudio's sinc resampling.

    Above half the lower rate there is nothing, so compare only sets of one rate.
    """
    sound = media.float().mean(1)
    return sound if rate == target else import_torchaudio().functional.resample(sound, rate, target)


def windows(sound: Tensor, size: int, hop: int) -> Tensor:
    """[B, N] -> [B, K, size]: windows that lie wholly inside, at least one; a shorter sound is followed by silence."""
    missing = max(0, size - sound.shape[1])
    return F.pad(sound, (0, missing)).unfold(1, size, hop)
