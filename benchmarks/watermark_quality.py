"""What the watermark costs in quality, how its wrong keys score, and what a masking model hears of it.

`before` and `after`: the same media without and with the mark. Pictures: kernel distance of the emoji model's samples
from real emoji. Sounds: detune in semitones, and the mark over the threshold of a masking model of tonal maskers, in dB
(below 0 it is not heard: Zwicker's Bark bands, the offset of 14.5 dB + Bark of Johnston 1988). Clips: mean change
between neighbouring frames. Wrong keys: scores of 10,000 keys on unmarked media, beside the normal distribution
(Kolmogorov and Smirnov), and how many are over 3.09 where the claim allows 3.18 in 1,000.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from scipy import stats
from torch import Tensor

from benchmarks.__main__ import table
from benchmarks.watermark import clips, pictures, samples, sounds
from multigen import marks, registry
from multigen.evaluation.audio import detune
from multigen.evaluation.distances import kernel
from multigen.marks import pictures as spectrum
from multigen.marks import sounds as sequence
from multigen.marks.chips import chips_of
from multigen.recipe.load import load_recipe
from multigen.registry import Part

KEY = b"a key of the benchmarks of multigen"
RATE = 22_050  # Hz


def measure(n: int = 40, kept: Path | None = None, keys: int = 10_000) -> list[dict[str, Any]]:
    """A row for each question."""
    return [*_pictures(n, kept), *_sounds(min(n, 24), kept), *_clips(n, kept), *_wrong_keys(keys)]


def _pictures(n: int, kept: Path | None) -> list[dict[str, Any]]:
    made = samples("image_emoji", n, kept)
    modality = registry.build("modality", load_recipe("image_emoji").modality)
    feature = registry.build("feature", Part("efficientnet_lite0"), given={"modality": modality})
    real = feature(torch.stack(pictures(n)))
    before = kernel(real, feature(torch.stack(made)))
    after = kernel(real, feature(torch.stack([marks.embed(one, key=KEY) for one in made])))
    return [_line("pictures: kernel distance", before.value, after.value, before.error)]


def _sounds(n: int, kept: Path | None) -> list[dict[str, Any]]:
    made = [one[:, : 6 * RATE] for one in samples("audio_music", n, kept)]
    rows = []
    for strength in (30.0, 36.0):
        marked = [marks.embed(one, key=KEY, rate=RATE, strength=strength) for one in made]
        if strength == sequence.STRENGTH:
            tunes = [torch.stack([detune(one, RATE).mean() for one in media]) for media in (made, marked)]
            error = float((tunes[1] - tunes[0]).std() / len(made) ** 0.5)
            rows.append(_line("sounds: detune", float(tunes[0].mean()), float(tunes[1].mean()), error))
        over = torch.stack([audible(a, b - a) for a, b in zip(made, marked, strict=True)])
        what = f"sounds at {strength:.0f} dB: mark over the masking threshold, dB"
        rows.append(_line(what, None, float(over.mean()), None))
    return rows


def audible(sound: Tensor, mark: Tensor, size: int = 1024) -> Tensor:
    """How far a mark lies over the masking threshold of a sound [1, N], dB; energies of Bark bands, over time."""
    window = torch.hann_window(size)
    power, noise = (
        torch.stft(x[0], size, size // 2, window=window, return_complex=True) for x in (sound, mark)
    )
    power, noise = power.abs().square(), noise.abs().square()
    hertz = torch.linspace(0, RATE / 2, size // 2 + 1)
    bark = 13 * (0.00076 * hertz).atan() + 3.5 * (hertz / 7500).square().atan()
    band = bark.long()
    bands = torch.zeros(int(band.max()) + 1, power.shape[1])
    masks, noises = bands.index_add(0, band, power), bands.index_add(0, band, noise)
    apart = torch.arange(len(bands))[:, None] - torch.arange(len(bands))
    reach = 10 ** -torch.where(apart > 0, 1.0 * apart, -2.7 * apart)
    threshold = (reach @ masks) * 10 ** -((14.5 + torch.arange(len(bands))[:, None]) / 10)
    loud = masks.sum(0) > 1e-4 * masks.sum(0).max()
    return 10 * (noises / (threshold + 1e-12))[3:, loud].mean(0).clamp_min(1e-6).log10().mean()


def _clips(n: int, kept: Path | None) -> list[dict[str, Any]]:
    made = samples("video_moving_emoji", n, kept) or clips(n)
    changes = []
    for media in (made, [marks.embed(one, key=KEY) for one in made]):
        changes.append(torch.stack([(one[:, 1:] - one[:, :-1]).abs().mean() for one in media]))
    error = float(changes[0].std() / len(made) ** 0.5)
    return [_line("clips: change between frames", float(changes[0].mean()), float(changes[1].mean()), error)]


def _wrong_keys(count: int) -> list[dict[str, Any]]:
    """Scores of payload 0 under wrong keys, a tenth of them on each of ten media."""
    view, band = next(iter(spectrum.views((64, 64)))), spectrum.BANDS[0]

    def picture(media: Tensor) -> Tensor:
        return next(
            iter(
                spectrum.coefficients(
                    spectrum.residual(spectrum.luminance(media), view.window, 8.0), view, band
                )
            )
        )

    def sound(media: Tensor) -> Tensor:
        return torch.view_as_real(sequence.folded(media[0], RATE)).flatten()

    rows = []
    real: list[tuple[str, list[Tensor], Callable[[Tensor], Tensor]]] = [
        ("pictures", pictures(10), picture), ("sounds", sounds(10), sound), ("clips", clips(10), picture)
    ]  # fmt: skip
    for name, media, of in real:
        scores = []
        for number, medium in enumerate(media):
            seen = of(medium)
            seen = seen / seen.norm()
            for key in range(count // len(media)):
                secret = b"wrong key" + number.to_bytes(4, "big") + key.to_bytes(4, "big")
                if name == "sounds":
                    signs = chips_of(secret, "audio", sequence.BITS, 1, len(seen), fixed=True).signs
                else:
                    signs = spectrum.chips_in(secret, "image", 32, view.whole, band).signs
                scores.append(float((seen * signs).sum()))
        fit = stats.kstest(scores, "norm")
        over = sum(score > 3.09 for score in scores)
        what = f"{name}: {len(scores)} wrong keys"
        rows.append({"what": what, "fit p": round(float(fit.pvalue), 3), "over 3.09": over})
    return rows


def _line(what: str, before: float | None, after: float, error: float | None) -> dict[str, Any]:
    return {"what": what, "before": before, "after": after, "error": error}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=40, help="media of each kind")
    parser.add_argument("--kept", type=Path, help="folder where samples of the models stay")
    given = parser.parse_args()
    print(table(measure(given.n, given.kept)))
