"""Composed pieces keep the textbook's rules, as found in their notes alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, pairwise

import pytest

from multigen.datasets.composer import compose, compose_with_plan
from multigen.datasets.composer.chords import chord, chords
from multigen.datasets.composer.dice import Dice
from multigen.datasets.composer.form import Phrase, Plan
from multigen.datasets.composer.grammar import weight
from multigen.datasets.composer.harmony import Key, progression
from multigen.datasets.composer.melody import Slot
from multigen.datasets.composer.voices import lead, voicings
from multigen.datasets.scores import Score

Column = tuple[int | None, ...]


@pytest.fixture(scope="module")
def pieces() -> list[tuple[Score, Plan]]:
    return [compose_with_plan(seed) for seed in range(40)]


def columns(score: Score, step: float) -> list[Column]:
    """What the voices sing every `step` quarters, from soprano to bass; None where one rests."""
    end = max(onset + length for part in score.parts for onset, length, _ in part)
    times = [k * step for k in range(int(end / step) + 1)]

    def sung(part: Sequence[tuple[float, float, int]], time: float) -> int | None:
        return next((p for on, length, p in part if on <= time < on + length), None)

    return [tuple(sung(part, time) for part in score.parts) for time in times]


def parallels(found: Sequence[Column]) -> list[tuple[Column, Column]]:
    """Neighbouring columns in which two voices move from one perfect fifth or octave to another."""
    bad = []
    for a, b in pairwise(found):
        for i, j in combinations(range(4), 2):
            w, x, y, z = a[i], a[j], b[i], b[j]
            if w is None or x is None or y is None or z is None or w == y or x == z:
                continue
            if (w - x) % 12 == (y - z) % 12 and (w - x) % 12 in (0, 7):
                bad.append((a, b))
    return bad


def test_the_search_for_parallels_finds_them() -> None:
    chord = (72, 67, 64, 48)
    assert parallels([(72, 64, 60, 53), (74, 65, 62, 55)])  # 72 over 53 and 74 over 55: a fifth both times
    assert parallels([chord, (74, 65, 62, 50)])  # soprano and bass, octaves
    assert parallels([chord, (74, 65, 60, 53)]) == []  # fourths are no fifths
    assert not parallels([chord, (71, 67, 62, 43), (72, 67, 64, 48)])


def test_no_parallel_fifths_or_octaves(pieces: list[tuple[Score, Plan]]) -> None:
    for score, _ in pieces:
        assert parallels(columns(score, 1.0)) == []
        assert parallels(columns(score, 0.5)) == []


def test_voices_stay_in_their_ranges_and_do_not_cross(pieces: list[tuple[Score, Plan]]) -> None:
    for score, _ in pieces:
        assert len(score.parts) == 4
        for part, (low, high) in zip(score.parts, ((60, 79), (55, 74), (48, 67), (40, 60)), strict=True):
            # A neighbour may go a step beyond.
            assert all(low - 2 <= pitch <= high + 2 for _, _, pitch in part)
        for column in columns(score, 0.5):
            sung = [p for p in column if p is not None]
            assert sung == sorted(sung, reverse=True)
            if len(sung) == 4:
                assert sung[0] - sung[1] <= 12 and sung[1] - sung[2] <= 12


def test_voices_sing_on_without_gaps_but_breathe_after_each_phrase(pieces: list[tuple[Score, Plan]]) -> None:
    for score, plan in pieces:
        ends = {phrase.onsets[-1] + phrase.lengths[-1] for phrase in plan.phrases}
        assert 4 <= len(plan.phrases) <= 8
        for part in score.parts:
            rests = {b[0] for a, b in pairwise(part) if a[0] + a[1] < b[0]}
            assert rests == ends - {max(ends)}
            assert all(a[0] + a[1] <= b[0] for a, b in pairwise(part))


def cadence_of(score: Score, phrase: Phrase) -> tuple[set[int], int, set[int], int]:
    """Pitch classes of the chord before the last and of the last, above the key's tonic, each with its bass.

    Of the first all that sounds; of the last what sounds when suspensions have resolved.
    """
    sets: list[set[int]] = []
    basses: list[int] = []
    for onset, end, share in zip(phrase.onsets[-2:], (*phrase.onsets[-1:], None), (0, 0.6), strict=True):
        since = onset + share * phrase.lengths[-1]
        until = since + 0.01 if end is None else end
        notes = [[p for on, span, p in part if on < until and on + span > since] for part in score.parts]
        sets.append({(p - phrase.key.tonic) % 12 for part in notes for p in part})
        basses.append((notes[3][-1] - phrase.key.tonic) % 12)
    return sets[0], basses[0], sets[1], basses[1]


def test_every_phrase_ends_in_its_cadence(pieces: list[tuple[Score, Plan]]) -> None:
    seen = set()
    for score, plan in pieces:
        for phrase in plan.phrases:
            before, bass_before, last, bass = cadence_of(score, phrase)
            third = 4 if phrase.key.mode == "major" else 3
            seen.add((phrase.cadence, phrase.key.mode))
            if phrase.cadence == "half":
                assert bass == 7 and last <= {7, 11, 2} and 11 in last
            elif phrase.cadence == "deceptive":
                assert bass == (9 if third == 4 else 8) and bass_before == 7 and 11 in before
                assert last <= {bass, 0, third}
            else:
                assert bass == 0 and last <= {0, third, 7}
                assert bass_before == (7 if phrase.cadence == "authentic" else 5)
                assert 11 in before or phrase.cadence == "plagal"
    assert len(seen) == 8


def test_pieces_end_on_the_tonic_with_the_tonic_on_top(pieces: list[tuple[Score, Plan]]) -> None:
    for score, plan in pieces:
        assert (score.tonic, score.mode) == plan.home == plan.phrases[-1].key
        assert all(part[-1][2] % 12 == score.tonic for part in (score.parts[0], score.parts[3]))


def test_leading_tones_rise_in_the_soprano_of_cadences(pieces: list[tuple[Score, Plan]]) -> None:
    found = 0
    for score, plan in pieces:
        for phrase in plan.phrases:
            if phrase.cadence not in ("authentic", "deceptive"):
                continue
            line = [p for on, _, p in score.parts[0] if on <= phrase.onsets[-1]]
            if (line[-2] - phrase.key.tonic) % 12 == 11:
                found += 1
                assert line[-1] - line[-2] == 1
    assert found > 20


def test_melodies_are_singable(pieces: list[tuple[Score, Plan]]) -> None:
    steps = [abs(b[2] - a[2]) for score, _ in pieces for a, b in pairwise(score.parts[0])]
    assert sum(step <= 2 for step in steps) / len(steps) > 0.7
    assert sum(step == 0 for step in steps) / len(steps) < 0.2
    assert max(steps) <= 12
    assert 6 not in [abs(b[2] - a[2]) for score, plan in pieces for a, b in _within(score, plan)]


def _within(score: Score, plan: Plan) -> list[tuple[tuple[float, float, int], tuple[float, float, int]]]:
    """Neighbouring soprano notes of one phrase."""
    starts = {phrase.onsets[0] for phrase in plan.phrases}
    return [(a, b) for a, b in pairwise(score.parts[0]) if b[0] not in starts]


def test_notes_belong_to_the_key(pieces: list[tuple[Score, Plan]]) -> None:
    shares = []
    for score, _ in pieces:
        own = {0, 2, 4, 5, 7, 9, 11} if score.mode == "major" else {0, 2, 3, 5, 7, 8, 9, 10, 11}
        notes = [(length, (pitch - score.tonic) % 12) for part in score.parts for _, length, pitch in part]
        shares.append(sum(length for length, pc in notes if pc in own) / sum(length for length, _ in notes))
    assert min(shares) >= 0.9
    assert min(shares) < 1  # they modulate


def test_the_key_can_be_heard(pieces: list[tuple[Score, Plan]]) -> None:
    """Krumhansl's key profiles (1990) agree with what the score says."""
    stream = pytest.importorskip("music21.stream")
    note = pytest.importorskip("music21.note")
    agree = 0
    for score, _ in pieces[:20]:
        heard = stream.Stream()
        for onset, length, pitch in (n for part in score.parts for n in part):
            heard.insert(onset, note.Note(pitch, quarterLength=length))
        key = heard.analyze("key")
        agree += (key.tonic.pitchClass, key.mode) == (score.tonic, score.mode)
    assert agree >= 18


def test_a_song_is_the_piece_as_melody_and_accompaniment(pieces: list[tuple[Score, Plan]]) -> None:
    """The plan and the chords are the chorale's; the lower voices play one figure and rest on last chords."""
    for seed, (chorale, plan) in enumerate(pieces[:10]):
        song, same = compose_with_plan(seed, "song")
        assert same == plan and (song.tonic, song.mode, song.metre) == (
            chorale.tonic,
            chorale.mode,
            plan.metre,
        )
        ends = {phrase.onsets[-1] for phrase in plan.phrases}
        chords = [
            (on, c) for phrase in plan.phrases for on, c in zip(phrase.onsets, phrase.chords, strict=True)
        ]
        for part in song.parts[1:]:
            assert all(onset in ends or length <= 0.5 for onset, length, _ in part)
            for onset, _, pitch in part:
                assert pitch % 12 in next(c for on, c in reversed(chords) if on <= onset + 1e-9).tones
        assert song.parts[3][-1][2] % 12 == song.parts[0][-1][2] % 12 == song.tonic
        assert {round(onset % 1, 3) for onset, _, _ in song.parts[3]} == {0.0}  # the bass is on the beat
        assert parallels(columns(song, 1.0)) == []


@pytest.mark.slow
def test_a_seed_is_a_piece(pieces: list[tuple[Score, Plan]]) -> None:
    assert compose(7) == compose(7) == pieces[7][0]
    more = [score for score, _ in pieces] + [compose(seed) for seed in range(40, 300)]
    assert len({score.parts for score in more}) == 300
    # Not one piece in other keys either: the lines differ, counted from their first note.
    assert len({tuple(n[2] - s.parts[0][0][2] for n in s.parts[0]) for s in more}) == 300
    assert {(s.tonic, s.mode) for s in more} == {(t, m) for t in range(12) for m in ("major", "minor")}


def test_chords_are_spelt_right() -> None:
    """In C and A: a few that a wrong table would get wrong."""
    assert chord("V65/V", "major", 0).tones == (2, 6, 9, 0)
    assert chord("V65/V", "major", 0).bass == 6 == chord("V65/V", "major", 0).leading
    assert chord("viio6/V", "major", 0).tones == (6, 9, 0)
    assert chord("iio65", "minor", 9).tones == (11, 2, 5, 9)
    assert chord("V7/iv", "minor", 9).altered == (1, 0)  # C sharp stands for C
    assert chord("V7/IV", "major", 0).altered == (10, 11)
    assert chord("V7", "minor", 9).tones == (4, 8, 11, 2)  # with the raised leading tone
    assert chord("V7/III", "minor", 9).target == 0


def test_grammar() -> None:
    named = {c.symbol: c for c in chords("major")}
    assert [s for s, c in named.items() if weight(named["V42"], c)] == [
        "I6",
        "V/vi",
        "V7/vi",
    ]  # the bass falls
    assert weight(named["V65"], named["I"]) and not weight(named["V65"], named["I6"])
    assert not weight(named["V"], named["ii"]) and not weight(named["V7"], named["V"])
    assert {c.degree for c in named.values() if weight(named["V65/vi"], c)} == {"vi"}
    home, away = Key(0, "major"), Key(7, "major")
    strong = [k % 2 == 0 for k in range(8)]
    for seed in range(20):
        found = progression(home, away, ("ii65", "V", "I"), strong, Dice(seed, "test"))
        assert found is not None and len(found) == 8
        assert found[0].tonic == 0 and [c.tonic for c in found[-3:]] == [7, 7, 7]
        assert [c.symbol for c in found[-3:]] == ["ii65", "V", "I"]
    assert progression(home, home, ("V", "I"), [True], Dice(0, "test")) is None


def test_spacings_and_a_phrase_that_cannot_be_sung() -> None:
    dominant = chord("V7", "major", 0)
    pitches, _ = voicings(dominant)
    assert len(pitches) > 20
    assert all((row % 12 == 11).sum() == 1 and (row % 12 == 5).sum() == 1 for row in pitches)
    slots = [Slot(dominant, 0.0, 1.0), Slot(chord("I", "major", 0), 1.0, 2.0, "authentic", True)]
    sung = lead(slots, [71, 72])
    assert sung is not None and (sung[1] % 12).tolist().count(0) >= 2
    # A soprano that the seventh would have to leave by a leap.
    assert lead(slots, [65, 79]) is None
