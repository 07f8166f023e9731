"""CLAP: embeddings of sound from a model folder on disk."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from multigen.errors import MultigenError
from multigen.evaluation.features import Facts, Feature
from multigen.evaluation.features.checks import check_media, check_modality
from multigen.evaluation.features.sound import mono, sample_rate
from multigen.evaluation.features.weights import freeze
from multigen.modalities import Modality
from multigen.registry import Given
from multigen.storage.files import sha256
from multigen.storage.torchaudio_shim import import_torchaudio

_SOURCE = "laion/clap-htsat-unfused or laion/larger_clap_music, downloaded to a folder"
_FILES = ("*.safetensors", "config.json", "preprocessor_config.json")


class Clap(nn.Module, Feature):
    """Sound: embeddings of CLAP for each 10 s; they follow the meaning of a sound more than its texture.

    weights: folder of a CLAP model as transformers saves it (its config, preprocessor and model.safetensors)

    Wu et al. 2023 (arXiv:2211.06687). Longer sounds are cut into windows of the model's length (10 s); shorter ones are
    repeated, as the model does. A remainder under a tenth of a window is ignored. Nothing is downloaded.
    """

    def __init__(self, *, modality: Given[Modality], weights: str) -> None:
        super().__init__()
        check_modality(modality, 1, "clap")
        self._rate = sample_rate(modality)
        folder = Path(weights).expanduser()
        if not (folder / "config.json").is_file():
            what = "has no config.json" if folder.is_dir() else "is not a folder"
            raise MultigenError(f"weights: {weights!r} {what}. Give the folder of a CLAP model: {_SOURCE}.")
        self._prepare, self.net = _loaded(folder)
        freeze(self)
        self._target: int = self._prepare.sampling_rate
        self._size: int = self._prepare.nb_max_samples
        self.facts = Facts(
            name="clap",
            width=self.net.config.projection_dim,
            takes=f"{self._target} Hz mono, windows of {self._size / self._target:g} s",
            normalisation=f"log mel, {self._prepare.feature_size} bands; embeddings of length 1",
            licence="that of the folder; Apache-2.0 for LAION's",
            weights=_digest(folder),
        )

    @torch.no_grad()
    def forward(self, media: Tensor) -> Tensor:
        """[B, C, N] in [-1, 1] -> [B, K, width], K windows, at least 1."""
        check_media(media, 1, "clap")
        sound = mono(media, self._rate, self._target)
        starts = [
            s for s in range(0, sound.shape[1], self._size) if s == 0 or sound.shape[1] - s >= self._size / 10
        ]
        found = [self._window(sound[:, s : s + self._size]) for s in starts]
        return torch.stack(found, 1)

    def _window(self, sound: Tensor) -> Tensor:
        """[B, N] of one window -> [B, width]."""
        inputs = self._prepare(list(sound.cpu().numpy()), sampling_rate=self._target, return_tensors="pt")
        mel = inputs["input_features"].to(sound.device, torch.float32)
        # The preprocessor marks one sound of the batch, drawn from the global random state, as longer. None is.
        longer = torch.zeros(len(sound), 1, dtype=torch.bool, device=sound.device)
        inner = self.net.audio_model(input_features=mel, is_longer=longer)
        return nn.functional.normalize(self.net.audio_projection(inner.pooler_output), dim=-1).float()


def _loaded(folder: Path) -> tuple[Any, Any]:
    """Preprocessor and network of a CLAP folder: no download, no pickle, no randomly initialised layer."""
    import_torchaudio()  # before transformers, which imports it
    from transformers import ClapFeatureExtractor, ClapModel
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        prepare = ClapFeatureExtractor.from_pretrained(folder, local_files_only=True)
        load: Any = ClapModel.from_pretrained  # its annotations lack output_loading_info
        net, report = load(
            folder, local_files_only=True, use_safetensors=True, dtype=torch.float32, output_loading_info=True
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0]
        raise MultigenError(f"weights: {folder} cannot be loaded as a CLAP model ({reason})") from error
    finally:
        if bars:
            logging.enable_progress_bar()
    missing = sorted(k for k in report["missing_keys"] if k.startswith("audio_"))
    if missing:
        raise MultigenError(
            f"weights: {folder} lacks {len(missing)} tensors of CLAP's audio encoder ({missing[0]})."
        )
    return prepare, net


def _digest(folder: Path) -> str:
    """A hash of the files that determine the features: each file's name and content."""
    found = sorted(path for pattern in _FILES for path in folder.glob(pattern))
    text = "".join(f"{path.name} {sha256(path)}\n" for path in found)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
