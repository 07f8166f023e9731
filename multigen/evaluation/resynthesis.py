"""How good a vocoder is: held-out sounds resynthesised from their mel spectrograms, beside Griffin-Lim."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from multigen.codecs.griffin_lim import GriffinLim
from multigen.codecs.mel import Mel
from multigen.codecs.vocoder import Vocoder
from multigen.errors import RecipeError
from multigen.evaluation import audio
from multigen.evaluation.metrics import Score, skill
from multigen.evaluation.results import Measure
from multigen.evaluation.sets import draw_items, pools_of
from multigen.model.build import build_dataset
from multigen.model.model import Model

ITERATIONS = 32  # of the Griffin-Lim that a vocoder is compared with
FLOOR = f"Griffin-Lim, {ITERATIONS} iterations"


def measure_resynthesis(model: Model) -> tuple[list[Measure], dict[str, Any]]:
    """Metrics of up to `evaluate.n` held-out sounds, and facts: their number and the speeds.

    The value is that of the vocoder's copies, the ceiling that of the originals and the floor that of Griffin-Lim's
    copies. RecipeError if the codec does not make sound from mel spectrograms.
    """
    codec, recipe = model.codec, model.recipe
    if not isinstance(codec, Mel):
        raise RecipeError(
            f"evaluate: a codec can be measured only if it is mel; this one is {recipe.codec.name}"
        )
    dataset = build_dataset(recipe, model.modality)
    pool = pools_of(dataset)[-1]
    n = min(recipe.evaluate.n, len(pool.indices))
    rate = model.modality.shape(duration=1.0)[1]
    classic = GriffinLim(codec.filters, fft=codec.fft, hop=codec.hop, iterations=ITERATIONS).to(model.device)
    found: dict[str, list[list[float]]] = {name: [[], [], []] for name in MEASURES}
    seconds, duration = [0.0, 0.0], 0.0
    for k, item in enumerate(draw_items(dataset, pool, n, recipe.seed, "ceiling")):
        sound = item["media"].mean(0, keepdim=True)
        sound = sound[:, : sound.shape[1] // codec.hop * codec.hop].to(model.device)
        duration += sound.shape[1] / rate
        with torch.no_grad():
            mel = codec.magnitudes(codec.encode(sound[None]))
        copies: list[Tensor] = []
        for which, vocoder in enumerate((codec.vocoder, classic)):
            copy, took = _timed(vocoder, mel, recipe.seed + k)
            copies.append(copy)
            seconds[which] += took
        for name, (_, measure) in MEASURES.items():
            for values, one in zip(found[name], (*copies, sound), strict=True):
                values.append(float(measure(one, sound, codec, rate)))
    rows = [_measure(name, about, *map(Score.of, found[name])) for name, (about, _) in MEASURES.items()]
    speeds = (duration / seconds[0], duration / seconds[1])
    speed = dict(zip(("times_real_time", "floor_times_real_time"), speeds, strict=True))
    return rows, {"sets": {"held out": n}, "speed": {"device": model.facts["device"], **speed}}


@torch.no_grad()
def _timed(vocoder: Vocoder, mel: Tensor, seed: int) -> tuple[Tensor, float]:
    """The sound [1, N] and the seconds that it took to make."""
    start = time.perf_counter()
    copy = vocoder(mel, seeds=[seed])[0]
    if mel.device.type == "cuda":
        torch.cuda.synchronize(mel.device)
    return copy, time.perf_counter() - start


def _measure(name: str, about: str, value: Score, floor: Score, ceiling: Score) -> Measure:
    return Measure(
        name,
        "held out",
        about,
        "lower",
        value.value,
        value.error,
        ceiling.value,
        ceiling.error,
        floor.value,
        FLOOR,
        skill=skill(value.value, floor.value, ceiling.value),
        ratio=value.value / floor.value,
    )


def _log_mel(copy: Tensor, sound: Tensor, codec: Mel, rate: int) -> Tensor:
    return (codec.log_mel(copy) - codec.log_mel(sound)).abs().mean()


def _stft(copy: Tensor, sound: Tensor, codec: Mel, rate: int) -> Tensor:
    return audio.stft_distance(copy, sound).mean()


def _detune(copy: Tensor, sound: Tensor, codec: Mel, rate: int) -> Tensor:
    return audio.detune(copy, rate).mean()


# Name -> description, and the measure of a copy [1, N] against the original sound.
MEASURES: dict[str, tuple[str, Callable[[Tensor, Tensor, Mel, int], Tensor]]] = {
    "log_mel": ("mean absolute error of the log-mel spectrogram", _log_mel),
    "stft": ("relative error of STFT magnitudes, windows of 512 to 4096 samples", _stft),
    "detune": ("distance from the nearest note, semitones", _detune),
}
