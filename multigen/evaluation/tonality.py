"""The key of a sound: the tonic and mode in which a listener hears it, not only the scale that its notes lie on.

C major and A minor have the same notes; what tells them apart is which notes weigh most. The notes of each moment are
estimated from the spectrum, without the partials of lower notes, and their weights are compared with those that the
notes of a key have in written music.
"""

from __future__ import annotations

import torch
from torch import Tensor

from multigen.evaluation.audio import stft

_FFT = 8192
_LOW, _HIGH = 60.0, 1500.0  # Hz
# Semitones above a note at which its 2nd to 5th partials lie, and the share of its amplitude that is taken from there.
_PARTIALS = ((12, 0.5), (19, 0.5), (24, 0.4), (28, 0.4))
# How much of the music in a key falls on each degree, from the tonic up in semitones: Albrecht and Shanahan 2013,
# "The use of large corpora to train a new type of key-finding algorithm", Music Perception 31(1), table 1.
_PROFILES = {
    "major": (0.238, 0.006, 0.111, 0.006, 0.137, 0.094, 0.016, 0.214, 0.009, 0.080, 0.008, 0.081),
    "minor": (0.220, 0.006, 0.104, 0.123, 0.019, 0.103, 0.012, 0.214, 0.062, 0.022, 0.061, 0.052),
}


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
    """Correlation of a sound's notes with each of the 24 keys, by tonic, 0 (C) to 11, and mode.

    Krumhansl 1990, "Cognitive foundations of musical pitch", ch. 4, with the profiles of Albrecht and Shanahan 2013.
    All 0 for silence.
    """
    heard = note_weights(sound, rate)
    heard = heard - heard.mean()
    out: dict[tuple[int, str], float] = {}
    for mode, profile in _PROFILES.items():
        expected = torch.tensor(profile, device=heard.device)
        expected = expected - expected.mean()
        norm = (expected.norm() * heard.norm()).clamp_min(1e-20)
        for tonic in range(12):
            out[tonic, mode] = float(expected.roll(tonic) @ heard / norm)
    return out


def key_of(sound: Tensor, rate: int) -> tuple[int, str]:
    """Tonic, 0 (C) to 11, and mode, "major" or "minor", of a sound [N]."""
    found = key_correlations(sound, rate)
    return max(found, key=lambda key: found[key])
