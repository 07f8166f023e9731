"""Sentences spoken by flite: what is said is said then, and draws hide what they should."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from multigen.conditioners.phones import LETTER, PAUSE, PHONE, UNKNOWN, Spoken
from multigen.core.noise import stream
from multigen.datasets import flite
from multigen.datasets.flite import phones_of
from multigen.datasets.sentences import _SMALL, frequent, sentence
from multigen.datasets.spoken import SpokenSentences, _find, _without
from multigen.errors import MultigenError, RecipeError
from multigen.modalities.audio import Audio

needs_flite = pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed")
RATE = 16000


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> SpokenSentences:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MULTIGEN_CACHE", str(tmp_path_factory.mktemp("cache")))
        return SpokenSentences(modality=Audio(rate=RATE, seconds=4.096), sentences=24, words=400)


def test_what_flite_prints_becomes_phones() -> None:
    tokens, ends = phones_of("pau:0.200 dh:0.250 ax:0.300 el:0.500 pau:0.700 \n")
    assert tokens == (PAUSE, PHONE["DH"], PHONE["AH"], PHONE["AH"], PHONE["L"], PAUSE)
    assert ends == pytest.approx((0.2, 0.25, 0.3, 0.4, 0.5, 0.7))


def test_sentences_are_always_the_same_and_hold_words_out() -> None:
    assert [sentence(k, 400) for k in range(5)] == [sentence(k, 400) for k in range(5)]
    kept, out = frequent(400)
    assert not set(kept) & set(out) and len(kept) + len(out) == 400 and 20 <= len(out) <= 60
    said = " ".join(sentence(k, 400).lower() for k in range(300))
    words = set(said.replace(",", "").replace(".", "").replace("?", "").split())
    assert not words & (set(out) - set(_SMALL))


@needs_flite
def test_silence_lies_where_silence_is_said(spoken: SpokenSentences) -> None:
    for index in range(0, 24, 5):
        item = spoken[index]
        assert "spoken" in item
        said, sound = item["spoken"], item["media"][0]
        times = [said.first, *said.ends]
        level = {True: [], False: []}
        for token, a, b in zip(said.tokens, times, times[1:], strict=False):
            part = sound[int(a * RATE) : int(b * RATE)]
            if len(part) > 400:
                level[token == PAUSE].append(float(part.square().mean().sqrt()))
        assert max(level[True]) < 0.3 * sum(level[False]) / len(level[False])


@needs_flite
def test_items_say_who_speaks(spoken: SpokenSentences) -> None:
    assert len(spoken) == 24 and spoken.instruments == ("awb", "rms", "slt")
    assert "24 sentences of 3 voices" in spoken.summary()
    item = spoken[1]
    assert item.get("text", "").startswith("rms: ") and item.get("voice") == "rms"
    kept, out = spoken.split()
    assert not {spoken[i].get("text") for i in kept} & {spoken[i].get("text") for i in out}


@needs_flite
def test_draws_move_hide_and_spell(spoken: SpokenSentences) -> None:
    drawn = [spoken.draw(k % 24, stream(0, "test", k)) for k in range(200)]
    voices = [item.get("voice") for item in drawn]
    assert 5 < voices.count(None) < 45
    tokens = [set(item["spoken"].tokens) for item in drawn if "spoken" in item]
    assert sum(UNKNOWN in one for one in tokens) > 20
    assert sum(bool(one & set(LETTER.values())) for one in tokens) > 20
    again = spoken.draw(7, stream(0, "test", 7))
    assert torch.equal(again["media"], drawn[7]["media"])


@needs_flite
def test_a_drawn_sound_and_its_phones_move_together(spoken: SpokenSentences) -> None:
    whole, drawn = spoken[2], spoken.draw(2, stream(3, "test"))
    assert "spoken" in whole and "spoken" in drawn
    shift = whole["spoken"].ends[-1] - drawn["spoken"].ends[-1]  # s, by which the draw begins later
    n = round(shift * RATE)
    a, b = whole["media"][0], drawn["media"][0]
    a, b = (a[n:], b[: len(a) - n]) if n >= 0 else (a[: len(a) + n], b[-n:])
    assert torch.allclose(a, b, atol=1e-6) and a.abs().max() > 0.1


def test_hidden_stretches_keep_their_times() -> None:
    said = Spoken((5, 6, 7), (1.0, 2.0, 3.0))
    assert _without(said, 1.2, 1.8) == Spoken((5, UNKNOWN, 7), (1.0, 2.0, 3.0))
    assert _find([4, 5, 6, 5, 6, 9], [5, 6], 6) == 3
    assert _find([4, 5, 6, 5, 6, 9], [7], 6) is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"voices": ("slt", "bob")}, "data.voices: 'bob' is not allowed"),
        ({"voices": ()}, "one voice or more"),
        ({"sentences": 0}, "data.sentences: 0"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        SpokenSentences(modality=Audio(rate=RATE, seconds=1.0), **settings)  # pyright: ignore[reportArgumentType]
    with pytest.raises(RecipeError, match="16000 Hz"):
        SpokenSentences(modality=Audio(rate=22050, seconds=1.0))


def test_without_flite_the_message_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MultigenError, match="apt install flite"):
        flite.program()
