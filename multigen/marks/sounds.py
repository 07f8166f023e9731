"""The mark of sounds: a keyed sequence that repeats each second, shaped like the spectrum of the sound.

Its spectrum has a line at each whole number of Hz from 300 to 7,500, whose real and imaginary parts are chips. A second
has as many samples as the rate says, so that no conversion between rates changes the lines. The detector divides the
sound by its own spectrum, adds up all its seconds, and correlates with the sequence at all shifts at once.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from multigen.marks.chips import Chips, chips_of, turned
from multigen.marks.search import Found, better, judged, search

BITS = 32  # of the payload
STRENGTH = 36.0  # dB under the sound
LEAST, LEAST_RATE = 1.0, 4000  # s and Hz; shorter and coarser sounds carry no mark
LOW, HIGH = 300, 7500  # Hz
_SHAPED, _WEIGHED = 0.046, 0.186  # s; windows of the mark's shape and of the detector
_UP, _DOWN = 1.0, 2.7  # bels by which a sound hides others a Bark above and below it: 10 and 27 dB
_TILT = 1.0  # exponent of the shape: 0 is white, 1 as the sound's spectrum, spread
_POWER = 0.5  # by which the detector weakens what is loud: 0.5 divides by the magnitude
_BEST = 4  # shifts at which payloads are decoded


def mark_samples(
    media: Tensor, key: bytes, rate: int, payload: int, strength: float, keep: Tensor | None
) -> Tensor:
    """A sound [C, N] at a rate in Hz with a mark. `keep`: what stays as it is, bool [N]."""
    mark = _sequence(key, rate, payload).repeat(-(-media.shape[-1] // rate))[: media.shape[-1]]
    size = _window(_SHAPED, rate)
    sound = media.detach().float().cpu()
    shape = spread(_spectra(sound, size).abs(), rate)
    made = _sound(_spectra(mark[None], size) * shape, size, media.shape[-1])
    if keep is not None:
        made = made * ~keep
    loudness, own = sound.square().mean().sqrt(), made.square().mean().sqrt()
    if not float(own):
        return media
    share = 1.0 if keep is None else float((~keep).float().mean())
    made = made * (loudness / own * 10 ** (-strength / 20) * math.sqrt(share))
    most = max(1.0, float(sound.abs().max()))  # writers lower as a whole what is over full scale
    marked = (sound + made).clamp(-most, most).to(media)
    return marked if keep is None else torch.where(keep, media, marked)


def find_in_samples(media: Tensor, key: bytes, rate: int) -> Found:
    """The mark of a sound [C, N] at a rate in Hz, wherever it begins."""
    lines = folded(media.detach().float().cpu().mean(0), rate)
    count = len(lines)
    chips = _chips(key, count)
    norm = lines.abs().square().sum().sqrt()
    if not float(norm):
        return Found()
    signs = torch.view_as_complex(chips.signs.view(count, 2))
    fixed = torch.view_as_complex((chips.signs * (chips.words == BITS // 16)).view(count, 2))
    shifts = set()
    for one in (signs, fixed):
        spectrum = torch.zeros(rate // 2 + 1, dtype=torch.complex64)
        spectrum[LOW : LOW + count] = one.conj() * lines
        shifts |= set(torch.fft.irfft(spectrum, n=rate).topk(_BEST).indices.tolist())
    hertz = torch.arange(LOW, LOW + count, dtype=torch.float64)
    best = Found()
    for shift in shifts:
        turn = torch.polar(torch.ones_like(hertz), 2 * math.pi / rate * ((hertz * shift) % rate))
        seen = torch.view_as_real(lines * turn.to(torch.complex64)).flatten()
        best = better(best, search([seen], chips, BITS, float(rate)))
    return judged(best)


def spread(spectrum: Tensor, rate: int) -> Tensor:
    """How strong a mark each place [C, F, T] of a spectrogram of magnitudes hides: it is spread over the Bark scale."""
    hertz = torch.linspace(0, rate / 2, spectrum.shape[1])
    bark = 13 * (0.00076 * hertz).atan() + 3.5 * (hertz / 7500).square().atan()  # Zwicker and Terhardt, 1980
    apart = bark[:, None] - bark
    reach = 10 ** -torch.where(apart > 0, _UP * apart, -_DOWN * apart)
    return (reach @ spectrum.square()).sqrt() ** _TILT


def folded(sound: Tensor, rate: int) -> Tensor:
    """The lines of a sound [N], complex [count]: whitened, its seconds summed up."""
    size = _window(_WEIGHED, rate)
    spectra = _spectra(sound[None], size)
    power = spectra.abs().square()
    around = F.avg_pool2d(F.pad(power[None], (1, 1, 0, 0), mode="replicate"), (1, 3), stride=1)[0]
    weighed = spectra / (around + 1e-6 * power.mean() + 1e-20) ** _POWER
    plain = _sound(weighed, size, len(sound))[0]
    whole = F.pad(plain, (0, -len(plain) % rate)).view(-1, rate).sum(0)
    return torch.fft.rfft(whole)[LOW : 1 + min(HIGH, rate * 9 // 20)]


def _chips(key: bytes, count: int) -> Chips:
    """Two chips for each of `count` lines."""
    return chips_of(key, "audio", BITS, 1, 2 * count, fixed=True)


def _sequence(key: bytes, rate: int, payload: int) -> Tensor:
    """A second of the mark before it is shaped, [rate]."""
    count = 1 + min(HIGH, rate * 9 // 20) - LOW
    spectrum = torch.zeros(rate // 2 + 1, dtype=torch.complex64)
    signs = turned(_chips(key, count), payload)
    spectrum[LOW : LOW + count] = torch.view_as_complex(signs.view(count, 2))
    return torch.fft.irfft(spectrum, n=rate) * math.sqrt(rate)


def _window(seconds: float, rate: int) -> int:
    return 2 ** round(math.log2(seconds * rate))


def _spectra(sound: Tensor, size: int) -> Tensor:
    """Spectrogram [C, F, T] of [C, N]."""
    return torch.stft(
        sound,
        size,
        size // 2,
        window=torch.hann_window(size).sqrt(),
        return_complex=True,
        pad_mode="constant",
    )


def _sound(spectra: Tensor, size: int, count: int) -> Tensor:
    return torch.istft(spectra, size, size // 2, window=torch.hann_window(size).sqrt(), length=count)
