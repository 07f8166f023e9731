"""The watermark of media it was not tuned on: how often it is found after what happens to media on their way.

`found`: share of media with the usual mark, payload 0, that the detector finds at 1e-6. `payload`: share of media with
a random payload (32 bits in pictures and sounds, 16 in videos) that is read without an error. Pictures and videos are
marked at 40 dB, sounds at 30 dB; "36 dB" says otherwise. The design was tuned on 48 emoji, 40 samples of the emoji
model, 10 renders of composed music and 16 samples of the video model; none of them is among these media.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.__main__ import table
from benchmarks.watermark_attacks import PICTURES, SOUNDS, VIDEOS
from multigen import marks, registry
from multigen.datasets import sprites
from multigen.generation.request import Request
from multigen.modalities.raster import from_levels, to_levels
from multigen.model.load import load
from multigen.recipe.load import load_recipe

_TUNED = 19  # every so many-th emoji was tuned on
_SIDE = 64


def measure(n: int = 40, kept: Path | None = None) -> list[dict[str, Any]]:
    """A row for each kind of media and attack. `n`: media of each; `kept`: a folder where samples stay."""
    rows: list[dict[str, Any]] = []
    for name, media in (("emoji, model", samples("image_emoji", n, kept)), ("emoji, real", pictures(n))):
        rows += [_row(name, what, media, of, bar, None) for what, (of, bar) in PICTURES.items()]
    rate = registry.build("modality", load_recipe("audio_music").modality).rate
    for name, media in (("music, model", samples("audio_music", n, kept)), ("music, real", sounds(n))):
        rows += [_row(name, what, media, of, bar, rate) for what, (of, bar) in SOUNDS.items()]
    for name, media in (("clips, model", samples("video_moving_emoji", n, kept)), ("clips, real", clips(n))):
        rows += [_row(name, what, media, of, bar, None) for what, (of, bar) in VIDEOS.items()]
        more = {what: VIDEOS[what] for what in ("H.264 crf 23", "H.264 crf 28")}
        rows += [_row(name, f"{what}, 36 dB", media, of, bar, None, 36.0) for what, (of, bar) in more.items()]
    return rows


def samples(name: str, n: int, kept: Path | None) -> list[Tensor]:
    """Samples of a shipped model, from seed 100 on."""
    file = None if kept is None else kept / f"{name}.pt"
    if file is not None and file.is_file():
        return [media.float().clamp(-1, 1) for media in torch.load(file)[:n]]
    model = load(name)
    prompts = load_recipe(name).sample.prompts
    wishes = [Request(prompts[k % len(prompts)], seed=100 + k, steps=12) for k in range(n)]
    made = [medium.tensor.clamp(-1, 1) for medium in model.stream(wishes)]
    if file is not None:
        torch.save(made, file)
    return made


def pictures(n: int) -> list[Tensor]:
    """Emoji on white that the design was not tuned on."""
    those = [one for k, one in enumerate(sprites.all_emoji()) if k % _TUNED][5 :: max(1, 1600 // n)][:n]
    found = []
    for one in those:
        picture = Image.open(one.file).convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        white.alpha_composite(picture)
        small = white.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
        found.append(from_levels(np.asarray(small)))
    return found


def sounds(n: int, seconds: float = 6.0) -> list[Tensor]:
    """Chorales on instruments of General MIDI, from their fifth second on."""
    recipe = load_recipe("audio_music")
    modality, part = registry.build("modality", recipe.modality), recipe.evaluate.other
    assert part is not None
    data = registry.build("dataset", part, given={"modality": modality})
    found = []
    for piece in data.pieces[:n]:
        read = modality.read(data.folder / piece.file, start=5.0, duration=seconds)
        found += [read] if read.shape[1] == round(seconds * modality.rate) else []
    return found


def clips(n: int) -> list[Tensor]:
    """Real emoji that move, as the video model's data."""
    recipe = load_recipe("video_moving_emoji")
    modality = registry.build("modality", recipe.modality)
    data = registry.build("dataset", recipe.data, given={"modality": modality})
    return [data[k]["media"] for k in range(3, len(data), max(1, len(data) // n))][:n]


def _row(
    name: str, what: str, media: Sequence[Tensor], attack: Callable[..., Any], bar: float, rate: int | None,
    strength: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    found, right = [], []
    strength = strength or (40.0 if rate is None else 30.0)
    for number, medium in enumerate(media):
        draw = random.Random(f"{name} {number}")
        key, bits = draw.randbytes(32), marks.BITS[marks.kind_of(medium, rate)]
        for payload in (0, draw.getrandbits(bits)):
            marked = _stored(
                marks.embed(medium, key=key, payload=payload, strength=strength, rate=rate), rate
            )
            seen, at = (attack(marked), None) if rate is None else attack(marked, rate)
            result = marks.detect(seen, key=key, rate=at)
            (right if payload else found).append(result.payload == payload if payload else result.found)
    print(
        f"{name}, {what}: {statistics.mean(found):.3f} {statistics.mean(right):.3f}",
        file=sys.stderr,
        flush=True,
    )
    return {
        "media": name, "what happened": what, "n": len(found), "bar, %": bar,
        "found, %": round(100 * statistics.mean(found), 1), "payload, %": round(100 * statistics.mean(right), 1),
    }  # fmt: skip


def _stored(media: Tensor, rate: int | None) -> Tensor:
    """As a file of 8 bits, or 16 for sounds, has it."""
    return from_levels(to_levels(media)) if rate is None else (media * 32767).round() / 32767


def costs(rounds: int = 20) -> list[dict[str, Any]]:
    """Milliseconds of marking and of detecting, of the shipped models' media."""
    key, rows = b"k" * 32, []
    rate = 22_050
    kinds: dict[str, tuple[Tensor, int | None]] = {
        "picture of 64 px": (torch.rand(3, 64, 64) * 2 - 1, None),
        "picture of 512 px": (torch.rand(3, 512, 512) * 2 - 1, None),
        "sound of 8 s": (0.1 * torch.randn(1, 8 * rate), rate),
        "16 frames of 32 px": (torch.rand(3, 16, 32, 32) * 2 - 1, None),
    }
    for name, (media, of) in kinds.items():
        marked = marks.embed(media, key=key, rate=of)
        marking = _milliseconds(partial(marks.embed, media, key=key, rate=of), rounds)
        finding = _milliseconds(partial(marks.detect, marked, key=key, rate=of), rounds)
        rows.append({"media": name, "mark, ms": marking, "detect, ms": finding})
    return rows


def _milliseconds(run: Callable[[], object], rounds: int) -> float:
    """The median of some runs, after one."""
    run()
    spent = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        spent.append(1e3 * (time.perf_counter() - start))
    return round(statistics.median(spent), 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=40, help="media of each kind")
    parser.add_argument("--kept", type=Path, help="folder where samples of the models stay")
    parser.add_argument("--costs", action="store_true", help="milliseconds alone")
    given = parser.parse_args()
    print(table(costs() if given.costs else measure(given.n, given.kept)))
