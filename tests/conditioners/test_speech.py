"""Speech as a condition: who speaks, how long, what is said where; also in edits and in windows."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch

from multigen.cli.main import main
from multigen.conditioners.durations import Durations
from multigen.conditioners.phones import PAUSE, PHONE, TOKENS, UNKNOWN, Spoken
from multigen.conditioners.speech import Speech
from multigen.core.guides import Query
from multigen.errors import MultigenError
from multigen.generation import trajectory as generation
from multigen.generation.plan import jobs
from multigen.generation.request import EditRequest, Request
from multigen.modalities.audio import Audio
from multigen.modalities.image import Image
from multigen.model.model import Model
from multigen.recipe.load import load_recipe

RATE, HOP, WIDTH = 16000, 256, 64
TINY = [
    "backbone.widths=[16,16]",
    "backbone.attention=[false,true]",
    "backbone.embedding=32",
    "codec.bins=24",
    "weights=null",
    "codec.vocoder=griffin_lim",
    "codec.iterations=2",
    "modality.seconds=2.048",
    "sample.steps=2",
]


@pytest.fixture(scope="module")
def model() -> Model:
    model = Model(load_recipe("audio_speech", TINY), device="cpu")
    noise = torch.Generator().manual_seed(0)
    model.codec.fit([0.1 * torch.randn(model.modality.shape(), generator=noise) for _ in range(4)])
    with torch.no_grad():
        model.denoiser.backbone.get_parameter("leave.weight").normal_(std=0.02)
    return model


@pytest.fixture
def speech() -> Speech:
    return Speech(modality=Audio(rate=RATE, seconds=2.048), voices=("ana", "ben"))


def tokens_of(speech: Speech, grid: torch.Tensor) -> list[int]:
    """The token of each place of a grid [K, N], by its vector."""
    own = torch.cdist(grid[:WIDTH].T[None], speech.tokens.weight[None])[0]
    return own.argmin(1).tolist()


def test_durations_are_those_that_were_spoken() -> None:
    """A voice whose phones last by rules of the model's own kind is predicted exactly."""
    generator = torch.Generator().manual_seed(0)
    base = 0.05 + 0.1 * torch.rand(TOKENS, generator=generator).double()

    def spoken(slow: float) -> Spoken:
        tokens = torch.randint(2, 40, (40,), generator=generator).tolist()
        after = [*tokens[1:], 0]
        drawn = [1.5 if token == PHONE["S"] else 1.0 for token in after]  # by what follows
        seconds = [float(base[t]) * slow * k for t, k in zip(tokens, drawn, strict=True)]
        return Spoken(tuple(tokens), tuple(itertools.accumulate(seconds)))

    model = Durations(2)
    said = [(spoken(1.0), 0) for _ in range(200)] + [(spoken(2.0), 1) for _ in range(200)]
    model.fit(said)
    tokens = [5, PHONE["S"], 9, 12]
    for voice, slow in ((0, 1.0), (1, 2.0)):
        found = model(tokens, voice)
        assert found[2] == pytest.approx(float(base[9]) * slow, rel=0.03)
        assert found[0] == pytest.approx(float(base[5]) * slow * 1.5, rel=0.05)
    assert model(tokens, None)[2] == pytest.approx(float(base[9]) * math.sqrt(2), rel=0.03)


def test_nothing_measured_leaves_plain_durations() -> None:
    assert Durations(1)([4, 5], 0).tolist() == pytest.approx([0.09, 0.09])


def test_a_prompt_names_its_voice(speech: Speech) -> None:
    asked = speech.asked(["ben: good morning", "good morning", "time: ten past four"], {"voice": "ana"})
    assert asked["voice"] == ["ben", "ana", "ana"]
    assert speech.asked(["hello", ""], {})["voice"] == [None, None]
    assert asked["spoken"][0].tokens == asked["spoken"][1].tokens
    with pytest.raises(MultigenError, match="voice: 'bem' is not allowed. .*ben"):
        speech.asked(["hello"], {"voice": "bem"})


def test_speed_shortens(speech: Speech) -> None:
    slow, usual, fast = (speech.extent("good morning to you", {"speed": s}) for s in (0.5, 1.0, 2.0))
    assert slow and usual and fast
    said = [
        one.duration - 0.4 for one in (slow, usual, fast) if one.duration
    ]  # without silence before and after
    assert said[0] == pytest.approx(2 * said[1], abs=0.2) and said[2] == pytest.approx(said[1] / 2, abs=0.2)
    assert usual.duration and usual.duration / 0.128 == pytest.approx(round(usual.duration / 0.128))
    assert speech.extent("", {}) is None


def test_phones_lie_where_they_are_said(speech: Speech) -> None:
    a, b = PHONE["AA"], PHONE["S"]
    said = Spoken((PAUSE, a, b), (0.5, 1.0, 1.5), first=0.0)
    grid = speech.along({"spoken": [said]}, (1, 2 * RATE), (200,))[0]
    assert tokens_of(speech, grid) == [PAUSE] * 50 + [a] * 50 + [b] * 50 + [PAUSE] * 50
    assert torch.allclose(grid[WIDTH][50:100], (torch.arange(50) + 0.5) / 50, atol=1e-5)
    late = said._replace(ends=(0.0, 0.5, 1.0), first=-0.5)  # the medium begins half a second into it
    assert tokens_of(speech, speech.along({"spoken": [late]}, (1, 2 * RATE), (200,))[0])[:50] == [a] * 50


def test_a_prompt_fills_what_is_made(speech: Speech) -> None:
    asked = speech.asked(["hello"], {})
    whole = tokens_of(speech, speech.along(asked, (1, 2 * RATE), (200,))[0])
    made = torch.zeros(200, dtype=torch.bool)
    made[100:] = True
    part = tokens_of(speech, speech.along(asked, (1, 2 * RATE), (200,), made)[0])
    assert part[:100] == [UNKNOWN] * 100
    assert part[100] == next(token for token in whole if token != PAUSE)  # right after what is kept
    assert part[-1] == PAUSE and len(set(whole)) == 5
    made[150:] = False
    hole = tokens_of(speech, speech.along(asked, (1, 2 * RATE), (200,), made)[0])[100:150]
    assert PAUSE not in hole and len(set(hole)) == 4  # no silence between what is kept and what is said
    grid = speech.along(asked, (1, 2 * RATE), (200,), made)[0]
    assert not grid[:, :100].any()


def test_nothing_is_said_by_the_empty_prompt(speech: Speech) -> None:
    assert not speech.along(speech.asked([""], {}), (1, RATE), (100,)).any()


def test_a_sentence_takes_its_time_and_a_given_time_is_filled(model: Model) -> None:
    one, two = (jobs(model, [text], 1, 0)[0].plan for text in ("Yes.", "Yes, I would like a cup of tea."))
    assert one.media[1] < two.media[1] and one.window is None
    assert jobs(model, [Request("Yes.", duration=1.0)], 1, 0)[0].plan.media[1] == RATE
    long = " ".join(["and so it went on"] * 6)
    plan = jobs(model, [long], 1, 0)[0].plan
    assert plan.window is not None and plan.media[1] > 2 * 2.048 * RATE
    twice = jobs(model, ["Yes.", "Yes.", "No, never."], 1, 0)
    assert twice[0].plan is twice[1].plan is not twice[2].plan


def test_options_reach_the_network(model: Model) -> None:
    """The voice is another vector, the speed another length."""
    plain, other, slow = (
        jobs(model, [Request("Good morning.", options=options)], 1, 0)[0]
        for options in ({}, {"voice": "awb"}, {"speed": 0.5})
    )
    assert plain.plan.media[1] < slow.plan.media[1]

    def vector(job: object) -> torch.Tensor:
        _, guide = generation.trajectory(model, job)  # pyright: ignore[reportArgumentType]
        answers = guide(Query(torch.zeros(1, *job.plan.shape), torch.tensor(1.0, dtype=torch.float64)))  # pyright: ignore
        calls = next(answers)
        answers.close()
        assert calls[0].cond.vector is not None
        return calls[0].cond.vector[0]

    sound = torch.zeros(1, RATE)
    edited = jobs(model, [Request("Yes.", edit=EditRequest(sound, extend="1s"))], 1, 0)[0]
    assert torch.equal(vector(edited), model.conditioner.voice.weight[3])  # pyright: ignore
    assert torch.equal(vector(plain), model.conditioner.voice.weight[0])  # pyright: ignore
    assert torch.equal(vector(other), model.conditioner.voice.weight[2])  # pyright: ignore


def test_an_edit_says_its_prompt_where_it_makes_anew(model: Model) -> None:
    sound = torch.randn(1, 2 * RATE, generator=torch.Generator().manual_seed(1)) * 0.1
    made = model.edit(sound, "hello", keep="0:1s", steps=2)[0].tensor
    assert torch.equal(made[:, : int(0.9 * RATE)], sound[:, : int(0.9 * RATE)])
    assert not torch.equal(made[:, int(1.1 * RATE) :], sound[:, int(1.1 * RATE) :])
    longer = model.edit(sound, "hello", extend="1s", steps=2)[0].tensor
    assert longer.shape[1] == 3 * RATE


def test_sentences_of_unlike_length_are_the_same_in_any_batch(model: Model) -> None:
    texts = ["Good morning.", "Where is the station, please?", "No."]
    together = model.generate(texts, steps=2, seed=3)
    for k, text in enumerate(texts):
        alone = model.generate(text, seed=3 + k, steps=2)[0]
        assert alone.tensor.shape == together[k].tensor.shape
        assert (
            alone.tensor - together[k].tensor
        ).abs().max() < 0.05  # Griffin-Lim's phases enlarge roundings


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "give one name or more"),
        (["a", "a"], "give one name or more"),
        (["a:b"], "no colon"),
    ],
)
def test_voices_that_cannot_be_named(overrides: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Speech(modality=Audio(rate=RATE), voices=tuple(overrides))
    with pytest.raises(ValueError, match="no sound"):
        Speech(modality=Image(), voices=("a",))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["--voice", "bob"], "slt"),
        (["--speed", "9"], "0.25 to 4"),
        (["--prompt", "Привет"], "cannot be spoken"),
    ],
)
def test_wrong_requests_get_one_line(
    model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str], line: list[str], message: str
) -> None:
    weights = model.save(tmp_path / "speech.safetensors")
    given = line if line[0] == "--prompt" else ["--prompt", "hello", *line]
    assert main(["sample", str(weights), *given, "--out", str(tmp_path / "made")]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("error:") == 1
    assert not (tmp_path / "made").exists()


def test_a_blend_of_voices_has_the_length_of_its_first_end(model: Model) -> None:
    first, last = (Request(text, steps=1) for text in ("slt: Good morning.", "rms: Good morning, my friend."))
    made = model.blend((first, last), n=3)
    alone = model.generate(first.prompt, steps=1)[0]
    assert {one.tensor.shape for one in made} == {alone.tensor.shape}


@pytest.mark.parametrize("prompt", ["slt:", "...", " - "])
def test_a_prompt_without_words_is_refused(model: Model, prompt: str) -> None:
    with pytest.raises(MultigenError, match="has no word to say|no word"):
        jobs(model, [prompt], 1, 0)
