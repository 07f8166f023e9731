"""VGGish: the audio network that FAD is defined on, with weights from the user's file."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from multigen.evaluation.features import Facts, Feature
from multigen.evaluation.features.checks import check_media, check_modality
from multigen.evaluation.features.sound import mono, sample_rate, windows
from multigen.evaluation.features.weights import freeze, load_weights, weights_file
from multigen.modalities import Modality
from multigen.registry import Given

RATE = 16_000  # Hz
_SPAN, _STEP, _FFT = 400, 160, 512  # samples: a frame, the distance between frames, the transform
_FRAMES, _BANDS, _WIDTH = 96, 64, 128
_LOW, _HIGH = 125.0, 7500.0  # Hz
_SOURCE = "vggish-10086976.pth of harritaylor/torchvggish"
# Channels of each convolution; 0 stands for max pooling. The weights are numbered by place in this sequence.
_LAYERS = (64, 0, 128, 0, 256, 256, 0, 512, 512, 0)


class VGGish(nn.Module, Feature):
    """Sound: 128 features of VGGish for each 0.96 s; FAD is the Fréchet distance on them.

    weights: path of your copy of the weights' file (PyTorch or safetensors, the names of torchvggish)

    Hershey et al. 2017 (arXiv:1609.09430); FAD: Kilgour et al. 2019 (arXiv:1812.08466). As in FAD, the embedding
    is taken before the last ReLU and is neither whitened nor quantised.
    """

    def __init__(self, *, modality: Given[Modality], weights: str) -> None:
        super().__init__()
        check_modality(modality, 1, "vggish")
        self._rate = sample_rate(modality)
        path = weights_file(weights, _SOURCE)
        self.net = Network()
        digest = load_weights(self.net, path, "VGGish", ignored=("pproc.",))
        freeze(self)
        self.facts = Facts(
            name="vggish",
            width=_WIDTH,
            takes=f"{RATE} Hz mono, windows of 0.96 s",
            normalisation="log(mel + 0.01), 64 bands from 125 to 7500 Hz",
            licence="Apache-2.0; trained on YouTube-8M",
            weights=digest,
        )

    @torch.no_grad()
    def forward(self, media: Tensor) -> Tensor:
        """[B, C, N] in [-1, 1] -> [B, K, 128], K = windows of 96 frames, at least 1 (padded with silence)."""
        check_media(media, 1, "vggish")
        patches = log_mel_patches(mono(media, self._rate, RATE), hop=_FRAMES, offset=0.01)
        return self.net(patches.flatten(0, 1)[:, None]).unflatten(0, patches.shape[:2])


class Network(nn.Module):
    """[B, 1, 96, 64] -> [B, 128]. Layers are named as in the weights."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for out in _LAYERS:
            layers += [nn.Conv2d(channels, out, 3, padding=1), nn.ReLU()] if out else [nn.MaxPool2d(2)]
            channels = out or channels
        self.features = nn.Sequential(*layers)
        wide = 4096
        self.embeddings = nn.Sequential(
            nn.Linear(512 * 6 * 4, wide), nn.ReLU(), nn.Linear(wide, wide), nn.ReLU(), nn.Linear(wide, _WIDTH)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Embeddings [B, 128] of log-mel patches [B, 1, 96, 64]."""
        # The dense layers were trained with channels last.
        return self.embeddings(rearrange(self.features(x), "b c h w -> b (h w c)"))


def log_mel_patches(sound: Tensor, *, hop: int, offset: float) -> Tensor:
    """[B, N] at 16 kHz -> log-mel patches [B, K, 96, 64] every `hop` frames of 10 ms, as for AudioSet's models.

    Frames of 25 ms under a periodic Hann window, zero-padded to 512 samples; magnitudes; mel filters that are
    triangular in mel, not in Hz; log(mel + offset).
    """
    size, step = _SPAN + (_FRAMES - 1) * _STEP, hop * _STEP
    # Cutting patches from the frames of the whole sound equals framing each patch.
    parts = windows(sound, size, step)
    frames = parts.unfold(2, _SPAN, _STEP) * torch.hann_window(_SPAN, device=sound.device)
    magnitude = torch.fft.rfft(F.pad(frames, (0, _FFT - _SPAN))).abs()
    return (magnitude @ _mel_filters().to(magnitude) + offset).log()


def _mel_filters() -> Tensor:
    """[257, 64]: triangles in mel = 1127 ln(1 + f / 700 Hz); none includes 0 Hz."""
    frequency = torch.linspace(0, RATE / 2, _FFT // 2 + 1, dtype=torch.float64)
    low, high = (1127 * torch.log1p(torch.tensor(f).double() / 700) for f in (_LOW, _HIGH))
    edges = low + (high - low) * torch.arange(_BANDS + 2) / (_BANDS + 1)
    mel = 1127 * torch.log1p(frequency / 700)[:, None]
    rise = (mel - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - mel) / (edges[2:] - edges[1:-1])
    filters = rise.minimum(fall).clamp_min(0)
    filters[0] = 0
    return filters.float()
