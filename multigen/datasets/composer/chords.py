"""Chords of a key in the notation of common-practice harmony: degree, figure, and tones that must resolve.

A symbol is a degree, a figure and, for an applied dominant, the degree that it is applied to: "ii65", "V42", "V7/vi".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

MAJOR, MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)

_QUALITIES = {"M": (0, 4, 7), "m": (0, 3, 7), "d": (0, 3, 6)}
_FIGURES = {"": (0, False), "6": (1, False), "64": (2, False)} | {
    figure: (inversion, True) for inversion, figure in enumerate(("7", "65", "43", "42"))
}
# Degree -> semitones of the root above the tonic, and quality of the triad.
_DEGREES: Mapping[str, Mapping[str, tuple[int, str]]] = {
    "major": {
        "I": (0, "M"), "ii": (2, "m"), "iii": (4, "m"), "IV": (5, "M"), "V": (7, "M"), "vi": (9, "m"),
        "viio": (11, "d"),
    },
    "minor": {
        "i": (0, "m"), "iio": (2, "d"), "III": (3, "M"), "iv": (5, "m"), "V": (7, "M"), "VI": (8, "M"),
        "VII": (10, "M"), "viio": (11, "d"),
    },
}  # fmt: skip
_SYMBOLS = {
    "major": [
        "I", "I6", "I64", "ii", "ii6", "ii7", "ii65", "iii", "IV", "IV6", "V", "V6", "V7", "V65", "V43", "V42", "vi",
        "viio6", "V/V", "V6/V", "V7/V", "V65/V", "V42/V", "viio6/V", "V/vi", "V6/vi", "V7/vi", "V65/vi", "V7/ii",
        "V65/ii", "V7/IV", "V65/IV", "V42/IV",
    ],
    "minor": [
        "i", "i6", "i64", "iio6", "iio65", "III", "III6", "iv", "iv6", "V", "V6", "V7", "V65", "V43", "V42", "VI",
        "VII", "viio6", "V/V", "V65/V", "V7/iv", "V65/iv", "V42/iv", "V/III", "V7/III", "V65/III", "V7/VI", "V65/VI",
    ],
}  # fmt: skip


@dataclass(frozen=True)
class Chord:
    """A chord in a key; pitch classes are absolute, 0 is C.

    degree     without the figure: "V", "V/vi"
    tonic      of the key
    tones      root, third, fifth and, in a seventh chord, the seventh
    target     root that a dominant or leading-tone chord resolves to
    altered    a tone outside the key, and the tone of the key that it replaces
    """

    symbol: str
    degree: str
    tonic: int
    mode: str
    tones: tuple[int, ...]
    inversion: int
    target: int | None
    altered: tuple[int, int] | None

    @property
    def bass(self) -> int:
        """The lowest tone."""
        return self.tones[self.inversion]

    @property
    def leading(self) -> int | None:
        """The leading tone, which rises a semitone to `target`."""
        return None if self.target is None else (self.target - 1) % 12

    @property
    def seventh(self) -> int | None:
        """The seventh, which falls by step."""
        return self.tones[3] if len(self.tones) == 4 else None

    @property
    def third_is_minor(self) -> bool:
        """Whether the third is minor."""
        return (self.tones[1] - self.tones[0]) % 12 == 3

    @property
    def diminished(self) -> bool:
        """Whether the fifth is diminished."""
        return (self.tones[2] - self.tones[0]) % 12 == 6

    def moved(self, tonic: int) -> Chord:
        """The chord with the same symbol in the key on `tonic`."""
        by = tonic - self.tonic

        def up(tone: int) -> int:
            return (tone + by) % 12

        return replace(
            self,
            tonic=up(self.tonic),
            tones=tuple(up(tone) for tone in self.tones),
            target=None if self.target is None else up(self.target),
            altered=None if self.altered is None else (up(self.altered[0]), up(self.altered[1])),
        )


@cache
def chords(mode: str) -> tuple[Chord, ...]:
    """All chords of a mode on tonic 0."""
    return tuple(_chord(symbol, mode) for symbol in _SYMBOLS[mode])


@cache
def chord(symbol: str, mode: str, tonic: int) -> Chord:
    """The chord of a symbol in the key on `tonic`. KeyError if the mode has no such chord."""
    return {c.symbol: c for c in chords(mode)}[symbol].moved(tonic)


def scale(tonic: int, mode: str) -> tuple[int, ...]:
    """The seven pitch classes of major or natural minor."""
    return tuple((tonic + step) % 12 for step in (MAJOR if mode == "major" else MINOR))


def _chord(symbol: str, mode: str) -> Chord:
    head, _, of = symbol.partition("/")
    base = head.rstrip("0123456789")
    inversion, seventh = _FIGURES[head[len(base) :]]
    degrees = _DEGREES[mode]
    target = None if base not in ("V", "viio") else degrees[of][0] if of else 0
    if of:
        assert target is not None
        root, quality = ((target + 7) % 12, "M") if base == "V" else ((target - 1) % 12, "d")
    else:
        root, quality = degrees[base]
    tones = [root + interval for interval in _QUALITIES[quality]]
    if seventh:
        tones.append(root + 10)  # the seventh is minor in V7, ii7 and the half-diminished chord alike
    placed = tuple(tone % 12 for tone in tones)
    degree = f"{base}/{of}" if of else base
    return Chord(symbol, degree, 0, mode, placed, inversion, target, _altered(placed, mode) if of else None)


def _altered(tones: tuple[int, ...], mode: str) -> tuple[int, int] | None:
    """The raised third of an applied dominant, or its lowered seventh, with the tone of the key that it replaces."""
    own = scale(0, mode)
    if tones[-1] not in own and len(tones) == 4:
        return tones[-1], (tones[-1] + 1) % 12
    raised = tones[1] if tones[1] not in own else tones[0]
    return (raised, (raised - 1) % 12) if raised not in own else None
