"""The music codec's round trip on real renders: what is lost before any model, and how fast it is.

Held-out pieces, 8 s each, encoded and decoded as the recipe sets the codec and with other numbers of components and
Griffin-Lim iterations; statistics from the training pieces. Speeds are seconds of sound a second of processor time on
one thread. The first row is the renders themselves.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks.__main__ import table
from multigen import registry
from multigen.datasets.rendered import Rendered
from multigen.evaluation.audio import chroma_distance, detune, loudness, onset_rate, stft_distance
from multigen.recipe.load import load_recipe

SECONDS = 8.0
VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"iterations": 0},
    {"iterations": 64},
    {"components": 32},
    {"components": None},
    {"bins": 80, "components": None},
)


def measure(clips: int = 12, pieces: int | None = None, name: str = "audio_music") -> list[dict[str, Any]]:
    """One row a variant: detune (semitones), chroma distance, MR-STFT error, level (dB), onsets/s, speeds."""
    torch.set_num_threads(1)
    recipe = load_recipe(name)
    modality = registry.build("modality", recipe.modality)
    some = {} if pieces is None else {"pieces": pieces}
    of = registry.Part(recipe.data.name, {**recipe.data.args, **some})
    data: Rendered = registry.build("dataset", of, given={"modality": modality})
    train, held = data.split()
    rate, length = modality.rate, round(SECONDS * modality.rate)
    media = torch.stack([_clip(data, modality, index, length) for index in held[:clips]])
    rows = [_row("the renders themselves", media, media, rate)]
    for change in VARIANTS:
        part = registry.Part("mel", {**recipe.codec.args, **change})
        codec = registry.build("codec", part, given={"modality": modality})
        codec.fit(data[i]["media"] for i in train[:: max(1, len(train) // 150)])
        x, encoding = _timed(lambda codec=codec: codec.encode(media))
        back, decoding = _timed(lambda codec=codec, x=x: codec.decode(x))
        row = _row(", ".join(f"{k} {v}" for k, v in change.items()) or "the recipe", back, media, rate)
        sound = media.shape[0] * SECONDS
        row |= {"values_per_s": round(x[0].numel() / SECONDS)}
        row |= {"encode_x": round(sound / encoding, 1), "decode_x": round(sound / decoding, 1)}
        rows.append(row)
    return rows


def _clip(data: Rendered, modality: Any, index: int, length: int) -> Tensor:
    """From the fifth second on, past the opening chord."""
    path = data.folder / data.pieces[index].file
    return modality.fit(modality.read(path, start=5.0, duration=SECONDS), (1, length))


def _row(name: str, copy: Tensor, original: Tensor, rate: int) -> dict[str, Any]:
    original = original[..., : copy.shape[-1]]
    level = (loudness(copy, rate) - loudness(original, rate)).mean().item()
    return {
        "codec": name,
        "detune": round(detune(copy, rate).mean().item(), 4),
        "chroma": round(chroma_distance(copy, original, rate).mean().item(), 4),
        "mr_stft": round(stft_distance(copy, original).mean().item(), 4),
        "level_db": round(level, 2),
        "onsets_per_s": round(onset_rate(copy, rate).mean().item(), 2),
    }


def _timed(run: Callable[[], Tensor]) -> tuple[Tensor, float]:
    start = time.process_time()
    with torch.no_grad():
        out = run()
    return out, time.process_time() - start


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=12, help="held-out clips of 8 s")
    parser.add_argument("--pieces", type=int, help="render so many pieces only; without it all")
    parser.add_argument("--recipe", default="audio_music", help="or audio_chorales")
    given = parser.parse_args()
    print(table(measure(given.clips, given.pieces, given.recipe)))
