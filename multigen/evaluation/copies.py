"""How good a VAE is: copies of held-out media, beside the same media reduced to as many numbers as the latents are."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from multigen.codecs.fidelity import LogMel, psnr, ssim
from multigen.codecs.kl_vae import KLVAE
from multigen.errors import RecipeError
from multigen.evaluation import audio
from multigen.evaluation.metrics import Score, skill
from multigen.evaluation.results import Measure
from multigen.evaluation.sets import draw_items, pools_of
from multigen.model.build import build_dataset
from multigen.model.model import Model

Distance = Callable[[Tensor, Tensor], Tensor]  # a copy and its original [1, C, *D] -> [1]


def measure_copies(model: Model) -> tuple[list[Measure], dict[str, Any]]:
    """Measure the copies of up to `evaluate.n` held-out media: PSNR and SSIM, or the errors of sounds.

    The value is that of the copies, the ceiling that of the originals and the floor that of the media reduced to as
    many numbers as their latents are. Returns facts, too: the number of media, the latents and the seconds of a copy.
    RecipeError if the codec is no VAE that the recipe trains.
    """
    codec, recipe = model.codec, model.recipe
    if not isinstance(codec, KLVAE):
        raise RecipeError(
            f"evaluate: only a VAE is measured by its copies; this codec is {recipe.codec.name}"
        )
    dataset = build_dataset(recipe, model.modality)
    pool = pools_of(dataset)[-1]
    n, measures = min(recipe.evaluate.n, len(pool.indices)), _measures(model)
    found: dict[str, list[list[float]]] = {name: [[], []] for name in measures}
    natural, seconds = model.modality.shape(), 0.0
    shape = codec.shape(natural)
    share = math.prod(shape) / math.prod(natural)
    for item in draw_items(dataset, pool, n, recipe.seed, "ceiling"):
        media = item["media"][None].to(model.device)
        start = time.perf_counter()
        with torch.no_grad():
            copy = codec.decode(codec.encode(media))
        seconds += time.perf_counter() - start
        media = media[..., : copy.shape[-1]]
        floor = reduced(media, share)
        for name, (_, _, measure) in measures.items():
            for values, one in zip(found[name], (copy, floor), strict=True):
                values.append(measure(one, media).item())
    rows = [_row(name, *measures[name][:2], *map(Score.of, found[name])) for name in measures]
    latents = {"media": list(natural), "shape": list(shape), "share": share}
    latents |= {"device": model.facts["device"], "seconds_a_copy": seconds / n}
    return rows, {"sets": {pool.name: n}, "latents": latents}


def reduced(media: Tensor, share: float) -> Tensor:
    """Media [B, C, *D], reduced along their axes to `share` of their numbers, and enlarged again.

    Pictures and frames: bicubic, antialiased. Sounds: without the frequencies above.
    """
    if share >= 1:
        return media
    if media.ndim == 3:
        spectrum = torch.fft.rfft(media)
        spectrum[..., max(round(share * spectrum.shape[-1]), 1) :] = 0
        return torch.fft.irfft(spectrum, n=media.shape[-1])
    height, width = media.shape[-2:]
    small = (max(round(height * share**0.5), 1), max(round(width * share**0.5), 1))
    flat = media.reshape(-1, 1, height, width)
    for size in (small, (height, width)):
        flat = F.interpolate(flat, size=size, mode="bicubic", antialias=True, align_corners=False)
    return flat.clamp(-1, 1).reshape(media.shape)


def _measures(model: Model) -> dict[str, tuple[str, float, Distance]]:
    """Name -> what it is, its value for equal media, and the measure."""
    if len(model.modality.shape()) > 2:
        return {
            "psnr": ("peak signal-to-noise ratio, dB", math.inf, psnr),
            "ssim": ("structural similarity", 1.0, ssim),
        }
    log_mel = LogMel(model.modality.shape(duration=1.0)[1]).to(model.device)
    return {
        "log_mel": ("mean absolute error of the log-mel spectrogram", 0.0, log_mel),
        "stft": (
            "relative error of STFT magnitudes, windows of 512 to 4096 samples",
            0.0,
            lambda copy, real: audio.stft_distance(copy, real).mean(1),
        ),
    }


def _row(name: str, about: str, ceiling: float, value: Score, floor: Score) -> Measure:
    return Measure(
        name,
        "held out",
        about,
        "lower" if ceiling == 0 else "higher",
        value.value,
        value.error,
        ceiling,
        math.nan,
        floor.value,
        "as many numbers as the latents",
        skill=math.nan if math.isinf(ceiling) else skill(value.value, floor.value, ceiling),
    )
