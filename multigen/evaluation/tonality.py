"""The key of a sound: the tonic and mode in which a listener hears it, not only the scale that its notes lie on.

C major and A minor have the same notes; what tells them apart is which notes weigh most. The notes of each moment are
estimated from the spectrum, without the partials of lower notes, and their weights are compared with those that the
notes of a key have in written music.
"""

from __future__ import annotations

import torch
from torch import Tensor

from multigen.datasets import keys
from multigen.evaluation.audio import stft

_FFT = 8192
_LOW, _HIGH = 60.0, 1500.0  # Hz
_END, _FADED = 1.2, 25.0  # s, dB
# Semitones above a note at which its 2nd to 5th partials lie, and the share of its amplitude that is taken from there.
_PARTIALS = ((12, 0.5), (19, 0.5), (24, 0.4), (28, 0.4))


def note_weights(sound: Tensor, rate: int) -> Tensor:
    """Share of each pitch class, C to B, in the notes of a sound [N]: [12], summing to 1; all 0 for silence.

    A note's amplitude in a window of 8192 samples is the largest of the bins nearest to it, less half of what lies an
    octave or a twelfth below and 0.4 of what lies two octaves, or two octaves and a third, below. Square roots are
    summed over windows and octaves, so that soft notes count, too.
    """
    magnitude = stft(sound, _FFT, _FFT // 4)
    frequency = torch.arange(magnitude.shape[0], device=sound.device) * (rate / _FFT)
    inside = (frequency >= _LOW) & (frequency <= _HIGH)
    note = (69 + 12 * torch.log2(frequency[inside] / 440)).round().long()
    heard = magnitude[inside]
    loudest = heard.new_zeros(int(note.max()) + 1, heard.shape[1])
    loudest.scatter_reduce_(0, note[:, None].expand_as(heard), heard, "amax")
    notes = loudest.clone()
    for semitones, share in _PARTIALS:
        notes[semitones:] -= share * loudest[:-semitones]
    weights = notes.clamp_min(0).sqrt().sum(-1)
    classes = torch.arange(len(weights), device=sound.device) % 12
    out = weights.new_zeros(12).index_add_(0, classes, weights)
    return out / out.sum().clamp_min(1e-20)


def key_correlations(sound: Tensor, rate: int) -> dict[tuple[int, str], float]:
    """Correlation of a sound's notes with each of the 24 keys, by tonic, 0 (C) to 11, and mode; 0 for silence."""
    found = keys.correlations(note_weights(sound, rate).double().cpu().numpy())
    return dict(zip(keys.KEYS, found.tolist(), strict=True))


def key_of(sound: Tensor, rate: int) -> tuple[int, str]:
    """Tonic, 0 (C) to 11, and mode, "major" or "minor", of a sound [N]."""
    found = key_correlations(sound, rate)
    return max(found, key=lambda key: found[key])


def ends_on(sound: Tensor, rate: int, tonic: int) -> bool:
    """Whether a sound [N] ends on the chord of a tonic, 0 (C) to 11, major or minor.

    The end is the last `_END` s before the sound falls `_FADED` dB below its loudest 50 ms for good. Of the 24 triads
    the one is heard whose three notes weigh most, its root twice.
    """
    frame = round(0.05 * rate)
    power = sound[: len(sound) // frame * frame].reshape(-1, frame).square().mean(-1)
    if not bool(power.any()):
        return False
    last = int((power > power.max() * 10 ** (-_FADED / 10)).nonzero()[-1]) + 1
    weights = note_weights(sound[max(0, last * frame - round(_END * rate)) : last * frame], rate)
    major, minor = (2 * weights + weights.roll(-third) + weights.roll(-7) for third in (4, 3))
    return int(torch.maximum(major, minor).argmax()) == tonic
