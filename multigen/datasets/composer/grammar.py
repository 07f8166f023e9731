"""Which chord follows which: a weighted grammar of harmonic functions.

The tables state what textbooks of common-practice harmony teach (tonic - predominant - dominant - tonic, descending
fifths, resolution of applied dominants, inversions for a stepwise bass). They are not counted from a corpus.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from multigen.datasets.composer.chords import Chord

_NEXT: Mapping[str, Mapping[str, Mapping[str, float]]] = {
    "major": {
        "I": {
            "I": 0.3, "ii": 0.8, "iii": 0.15, "IV": 1.0, "V": 1.0, "vi": 0.8, "viio": 0.4,
            "V/V": 0.25, "viio/V": 0.08, "V/vi": 0.35, "V/ii": 0.35, "V/IV": 0.35,
        },
        "ii": {"V": 1.4, "viio": 0.4, "ii": 0.25, "I": 0.08, "V/V": 0.25, "viio/V": 0.15},
        "iii": {"vi": 1.0, "IV": 0.7, "ii": 0.1},
        "IV": {"V": 1.0, "I": 0.7, "ii": 0.6, "viio": 0.4, "IV": 0.25, "V/V": 0.35, "viio/V": 0.25},
        "V": {"I": 1.4, "vi": 0.4, "V": 0.35, "IV": 0.15, "V/vi": 0.1},
        "vi": {"ii": 0.8, "IV": 0.8, "V": 0.4, "iii": 0.12, "I": 0.12, "V/V": 0.4, "V/ii": 0.35},
        "viio": {"I": 1.4},
        "V/V": {"V": 1.0}, "viio/V": {"V": 1.0}, "V/vi": {"vi": 1.0}, "V/ii": {"ii": 1.0}, "V/IV": {"IV": 1.0},
    },
    "minor": {
        "i": {
            "i": 0.3, "iio": 0.8, "III": 0.3, "iv": 1.0, "V": 1.0, "VI": 0.7, "VII": 0.2, "viio": 0.4,
            "V/V": 0.15, "V/iv": 0.35, "V/III": 0.25, "V/VI": 0.1,
        },
        "iio": {"V": 1.4, "viio": 0.3, "iio": 0.2},
        "III": {"VI": 0.9, "iv": 0.8, "iio": 0.2, "i": 0.15, "V": 0.15},
        "iv": {"V": 1.1, "i": 0.6, "iio": 0.5, "viio": 0.3, "iv": 0.25, "VII": 0.2, "V/III": 0.12},
        "V": {"i": 1.4, "VI": 0.4, "V": 0.35, "iv": 0.1},
        "VI": {"iio": 0.7, "iv": 0.7, "V": 0.35, "III": 0.25, "V/III": 0.2},
        "VII": {"III": 1.0},
        "viio": {"i": 1.4},
        "V/V": {"V": 1.0}, "V/iv": {"iv": 1.0}, "V/III": {"III": 1.0}, "V/VI": {"VI": 1.0},
    },
}  # fmt: skip
_FORMS = {  # how often a degree takes each of its figures
    "I": {"": 1.0, "6": 0.7}, "i": {"": 1.0, "6": 0.7}, "ii": {"": 0.5, "6": 0.8, "7": 0.15, "65": 0.5},
    "iio": {"6": 0.8, "65": 0.6}, "IV": {"": 1.0, "6": 0.4}, "iv": {"": 1.0, "6": 0.45},
    "V": {"": 1.0, "6": 0.6, "7": 0.45, "65": 0.5, "43": 0.25, "42": 0.35}, "III": {"": 1.0, "6": 0.3},
}  # fmt: skip
_APPLIED_FORMS = {"": 0.3, "6": 0.4, "7": 0.5, "65": 0.8, "42": 0.25}
_BASS = (0.3, 1.8, 1.8, 0.9, 0.9, 1.0, 0.08)  # by the semitones that the bass moves in either direction
_EARLY_CLOSE = 0.35  # weight of V - I, both in root position, before the cadence


@cache
def weight(a: Chord, b: Chord) -> float:
    """How well b follows a within a phrase, both in one key; 0 means never."""
    step = (b.bass - a.bass) % 12
    if a == b or (b.inversion == 2 and b.seventh is None):  # 6-4 chords occur in cadences only
        return 0.0
    value = _NEXT[a.mode][a.degree].get(b.degree, 0.0)
    value *= (_APPLIED_FORMS if "/" in b.symbol else _FORMS.get(b.degree, {})).get(_figure(b), 1.0)
    value *= _BASS[min(step, 12 - step)]
    if a.bass == a.seventh and step not in (10, 11, 0):
        return 0.0
    if a.degree == b.degree:  # a seventh stays until it resolves
        return 0.0 if (a.seventh is not None and b.seventh is None) or step == 0 else value
    if a.target in b.tones and a.bass == a.leading and step != 1:
        return 0.0
    if (
        a.target is None
        and a.mode == "minor"
        and {(a.bass - a.tonic) % 12, (b.bass - b.tonic) % 12} == {8, 11}
    ):
        return 0.0  # an augmented second
    if a.degree == "V" and b.degree in ("IV", "iv") and b.inversion != 1:
        return 0.0
    if a.seventh is not None and a.inversion == 0 and b.inversion != 0:
        return 0.0
    return value * (_EARLY_CLOSE if a.degree == "V" and not a.inversion and not b.inversion else 1.0)


def _figure(c: Chord) -> str:
    return c.symbol.partition("/")[0].removeprefix(c.degree.partition("/")[0])
