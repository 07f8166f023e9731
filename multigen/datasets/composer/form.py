"""The plan of a piece: metre, phrases, keys and cadences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from multigen.datasets.composer.chords import Chord
from multigen.datasets.composer.dice import Dice
from multigen.datasets.composer.harmony import Key, progression

# Related keys: (semitones above the home tonic, mode) -> weight; the dominant, relative, subdominant and others.
_NEAR = {
    "major": {(7, "major"): 1.0, (9, "minor"): 0.7, (5, "major"): 0.5, (2, "minor"): 0.2},
    "minor": {(3, "major"): 1.0, (7, "minor"): 0.5, (5, "minor"): 0.4},
}
# Last chords of each cadence in major; `_IN_MINOR` translates them.
_CADENCES: Mapping[str, Mapping[tuple[str, ...], float]] = {
    "authentic": {
        ("ii65", "V", "I"): 1.0, ("ii6", "V7", "I"): 0.8, ("IV", "V7", "I"): 0.8, ("V", "I"): 0.7, ("V7", "I"): 0.6,
        ("I64", "V7", "I"): 1.0, ("ii65", "I64", "V", "I"): 0.7, ("IV", "I64", "V7", "I"): 0.7,
    },
    "half": {
        ("IV", "V"): 1.0, ("ii6", "V"): 0.8, ("I", "V"): 0.8, ("V65/V", "V"): 0.6, ("vi", "V"): 0.3, ("IV6", "V"): 0.6,
    },
    "deceptive": {("ii65", "V7", "vi"): 1.0, ("IV", "V", "vi"): 0.7, ("ii6", "V7", "vi"): 0.8},
    "plagal": {("V", "I", "IV", "I"): 1.0, ("V6", "I", "IV", "I"): 0.8, ("I6", "IV", "I"): 0.8},
}  # fmt: skip
_IN_MINOR = {
    "I": "i",
    "I6": "i6",
    "I64": "i64",
    "ii6": "iio6",
    "ii65": "iio65",
    "IV": "iv",
    "IV6": "iv6",
    "vi": "VI",
}


@dataclass(frozen=True)
class Phrase:
    """Chords with onsets and lengths in quarters. A breath follows the last chord, which ends the cadence.

    cadence  "authentic", "half", "deceptive" or "plagal"
    key      the key in which the phrase ends
    """

    cadence: str
    key: Key
    chords: tuple[Chord, ...]
    onsets: tuple[float, ...]
    lengths: tuple[float, ...]


@dataclass(frozen=True)
class Plan:
    """Home key, metre (quarters per bar) and phrases of a piece, and quarters before its first bar line."""

    home: Key
    metre: int
    phrases: tuple[Phrase, ...]
    pickup: int = 0


@dataclass(frozen=True)
class _Metre:
    """The rhythm of a phrase: length of each chord, and whether it stands on a strong beat."""

    lengths: tuple[float, ...]
    strong: tuple[bool, ...]


def plan(dice: Dice) -> Plan:
    """Draw a plan of about 48 to 64 quarters: 30 to 45 s at most tempi from 72 to 112 quarters per minute."""
    home = Key(dice.whole(0, 11), "major" if dice.chance(0.55) else "minor")
    beats = 4 if dice.chance(0.65) else 3
    pickup = dice.chance(0.5)
    bars = [2] * dice.whole(6, 8)
    if beats == 3:
        bars = [2 if dice.chance(0.2) else 3 for _ in range(dice.whole(6, 7))]
    keys = _keys(home, len(bars), dice)
    phrases: list[Phrase] = []
    onset = 0.0
    before = home
    for index, (bar, key) in enumerate(zip(bars, keys, strict=True)):
        cadence = _cadence(index, len(bars), key == home, dice)
        phrase = None
        while phrase is None:
            phrase = _phrase(_fill(beats, bar, pickup, cadence, dice), cadence, before, key, onset, dice)
        phrases.append(phrase)
        onset, before = onset + beats * bar, key
    return Plan(home, beats, tuple(phrases), int(pickup))


def _keys(home: Key, count: int, dice: Dice) -> list[Key]:
    """The key in which each phrase ends: home for the first and the last, another for at most two phrases."""
    keys, away = [home], 0
    for _ in range(count - 2):
        stay = keys[-1] != home and dice.chance(0.2)
        if away < 2 and (stay or (keys[-1] == home and dice.chance(0.45))):
            shift, mode = dice.pick(_NEAR[home.mode])
            keys.append(keys[-1] if stay else Key(home.tonic + shift, mode))
            away += 1
        else:
            keys.append(home)
    return [*keys, home]


def _cadence(index: int, count: int, at_home: bool, dice: Dice) -> str:
    if index == count - 1:
        return dice.pick({"authentic": 0.85, "plagal": 0.15})
    if not at_home:
        return dice.pick({"authentic": 0.8, "half": 0.2})
    return dice.pick({"authentic": 0.4, "half": 0.35, "deceptive": 0.15, "plagal": 0.08})


def _fill(beats: int, bars: int, pickup: bool, cadence: str, dice: Dice) -> _Metre:
    """One chord per quarter. The last is longer, and in some authentic and deceptive cadences so is an earlier one."""
    total = beats * bars
    last = 3 if pickup and beats == 4 else 2
    lengths = [1.0] * (total - last) + [float(last)]
    if cadence in ("authentic", "deceptive") and dice.chance(0.35) and len(lengths) > 6:
        lengths[-3:-1] = [2.0]
    onsets = [sum(lengths[:i]) - pickup for i in range(len(lengths))]
    strong = (0, 2) if beats == 4 else (0,)
    return _Metre(tuple(lengths), tuple(onset % beats in strong for onset in onsets))


def _phrase(metre: _Metre, cadence: str, before: Key, key: Key, onset: float, dice: Dice) -> Phrase | None:
    ending = dice.pick(_CADENCES[cadence])
    if key.mode == "minor":
        ending = tuple(_IN_MINOR.get(symbol, symbol) for symbol in ending)
    for index, symbol in enumerate(ending):
        # The cadential six-four chord is accented: it stands on a stronger beat than the chord that it leads to.
        if symbol.endswith("64") and not metre.strong[index - len(ending)]:
            return None
    found = progression(before, key, ending, metre.strong, dice)
    if found is None:
        return None
    onsets = tuple(onset + sum(metre.lengths[:i]) for i in range(len(found)))
    return Phrase(cadence, key, tuple(found), onsets, metre.lengths)
