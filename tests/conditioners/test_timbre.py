"""Voices are known again by how they sound, and an edit goes on in the voice of what it keeps."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

import multigen
from multigen.cli.main import main
from multigen.conditioners import Heard
from multigen.conditioners.speech import Speech
from multigen.conditioners.timbre import Timbre
from multigen.datasets.flite import speak
from multigen.generation.plan import Plan, jobs
from multigen.generation.request import EditRequest, Request
from multigen.modalities.audio import Audio
from multigen.model.model import Model
from multigen.model.weights import load_state, state_of

RATE = 16000
TEXT = "The boat was late, so we walked along the river until the rain began."


def voice(number: int, seed: int, seconds: float = 2.0) -> Tensor:
    """A buzz through resonances that are a voice's own, as long as syllables and as loud as they fall: [1, N]."""
    rng = torch.Generator().manual_seed(seed)
    n = round(seconds * RATE)
    times = torch.arange(n, dtype=torch.float64) / RATE
    rows, vowel = torch.zeros(n, dtype=torch.float64), 0.9 + 0.2 * float(torch.rand(1, generator=rng))
    for k in range(1, 25):
        hertz = k * (110 + 40 * number) * (1 + 0.02 * float(torch.rand(1, generator=rng)))
        gain = sum(
            2.0 ** (-(((hertz - f * vowel * (1 + 0.15 * number)) / 250) ** 2)) for f in (500, 1500, 2600)
        )
        rows += (gain + 0.02) * torch.sin(2 * torch.pi * hertz * times)
    loud = 0.6 + 0.4 * torch.sin(2 * torch.pi * 3 * times + 6 * float(torch.rand(1, generator=rng)))
    noise = torch.randn(n, generator=rng, dtype=torch.float64)
    return (0.05 * loud * rows + 0.002 * noise).float()[None]


@pytest.fixture(scope="module")
def timbre() -> Timbre:
    one = Timbre(3, RATE)
    one.fit((voice(number, seed), number) for number in range(3) for seed in range(40))
    return one


def whole(sound: Tensor) -> Tensor:
    return torch.ones(sound.shape[-1], dtype=torch.bool)


def test_a_voice_is_known_again_whatever_its_level_and_the_silence_about_it(timbre: Timbre) -> None:
    for number in range(3):
        sound = voice(number, 100 + number)
        for one in (sound, 0.05 * sound, torch.cat([torch.zeros(1, RATE), sound, torch.zeros(1, RATE)], 1)):
            found = timbre(one, whole(one))
            assert found is not None and found == (number, True)


def test_only_what_is_kept_is_heard(timbre: Timbre) -> None:
    both = torch.cat([voice(0, 200), voice(2, 201)], 1)
    first = whole(both)
    first[2 * RATE :] = False
    found = [timbre(both, keep) for keep in (first, ~first)]
    assert [None if one is None else one.voice for one in found] == [0, 2]


def test_another_voice_is_said_to_be_none_of_them(timbre: Timbre) -> None:
    sound = voice(6, 300)
    found = timbre(sound, whole(sound))
    assert found is not None and not found.near


def test_nothing_is_heard_in_silence_in_a_snatch_and_before_anything_was_measured(timbre: Timbre) -> None:
    sound = voice(0, 400)
    for one in (torch.zeros(1, RATE), sound[:, : RATE // 4], sound[:, :100]):
        assert timbre(one, whole(one)) is None
    assert timbre(sound, ~whole(sound)) is None
    assert Timbre(3, RATE)(sound, whole(sound)) is None


def test_clips_shorter_than_a_piece_count() -> None:
    one = Timbre(2, RATE)
    assert one.fit((voice(n, seed, 0.9), n) for n in range(2) for seed in range(20)) == []
    for number in range(2):
        sound = voice(number, 100, 1.5)
        assert one(sound, whole(sound)) == (number, True)
    snatches = Timbre(2, RATE)
    assert snatches.fit((voice(n, seed, 0.3), n) for n in range(2) for seed in range(20)) == [0, 1]
    assert not snatches.radius > 0


def test_a_voice_that_was_not_measured_is_left_out_alone(caplog: pytest.LogCaptureFixture) -> None:
    new = Speech(modality=Audio(rate=RATE), voices=("slt", "rms", "awb"))
    counts = {"slt": 20, "rms": 1, "awb": 20}  # of a single clip nothing is known of how it varies
    spoken = new.from_prompts(["yes."])["spoken"][0]
    new.fit(
        {"media": voice(k, seed), "spoken": spoken, "voice": name}
        for k, name in enumerate(counts)
        for seed in range(counts[name])
    )
    assert "voice: rms: too little was heard" in caplog.text and len(caplog.records) == 1
    assert not new.timbre.means[1].any() and bool(torch.isfinite(new.timbre.means).all())
    for number, name in ((0, "slt"), (2, "awb")):
        sound = voice(number, 100)
        assert new.heard(sound, whole(sound)) == {"voice": Heard(name)}
    sound = voice(1, 100)
    assert new.heard(sound, whole(sound))["voice"].value != "rms"


def test_the_same_clip_twice_measures_nothing() -> None:
    one = Timbre(1, RATE)
    assert one.fit([(voice(0, 1), 0), (voice(0, 1), 0)]) == [0]


@pytest.fixture(scope="module")
def model() -> Model:
    return multigen.load("audio_speech", device="cpu")


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """A sentence that training never heard, by four voices of flite; the model knows three of them."""
    if shutil.which("flite") is None:
        pytest.skip("recordings need flite (Debian: apt install flite)")
    path = tmp_path_factory.mktemp("spoken") / "one.wav"
    names = ("slt", "rms", "awb", "kal16")
    return {
        name: torch.from_numpy(speak(TEXT, name, 1.0, path).sound / 32768)[None].float() for name in names
    }


def planned(model: Model, edit: EditRequest, **options: str) -> Plan:
    (job,) = jobs(model, [Request("yes.", edit=edit, options=options, steps=1)], 1, 0)
    return job.plan


def test_an_edit_goes_on_in_the_voice_that_it_keeps(model: Model, spoken: dict[str, Tensor]) -> None:
    for name in ("slt", "rms", "awb"):
        for edit in (
            EditRequest(spoken[name], extend="1s"),
            EditRequest(spoken[name], keep="0:1.5s,2s:"),
            EditRequest(spoken[name], strength=0.5),
        ):
            plan = planned(model, edit)
            assert plan.options["voice"] == name and plan.heard == {"voice": Heard(name)}
    plan = planned(model, EditRequest(spoken["slt"], extend="1s"), voice="rms")
    assert plan.options["voice"] == "rms" and plan.heard == {}  # what is asked for goes first


def test_a_voice_that_the_prompt_names_is_not_said_as_heard(
    model: Model, spoken: dict[str, Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    def heard(*prompts: str) -> list[bool]:
        caplog.clear()
        edit = EditRequest(spoken["slt"], extend="1s")
        with caplog.at_level("INFO", "multigen.generation.heard"):
            planned = jobs(model, [Request(one, edit=edit, steps=1) for one in prompts], 1, 0)
        return [job.plan.heard == {"voice": Heard("slt")} for job in planned]

    assert heard("rms: yes.") == [False] and not caplog.messages
    assert heard("rms: yes.", "no.", "awb: no.", "yes.") == [False, True, False, True]
    assert caplog.messages == ["voice: slt, as in what is kept"]
    assert heard("well: yes.") == [True]  # no voice is called so


@pytest.mark.slow
def test_of_a_strange_voice_the_nearest_goes_on_and_that_is_said(
    spoken: dict[str, Tensor], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Audio(rate=RATE).write(spoken["kal16"], tmp_path / "a.wav")
    told = ["--extend", "0.5s", "--prompt", "yes.", "--steps", "1", "--out", str(tmp_path / "out")]
    assert main(["edit", "audio_speech", "--input", str(tmp_path / "a.wav"), *told]) == 0
    (row,) = json.loads((tmp_path / "out" / "manifest.json").read_text())["files"]
    heard = row["heard"]["voice"]
    assert heard["value"] in ("slt", "rms", "awb") and heard["known"] is False
    assert (
        f"voice: what is kept is unlike all that audio_speech knows; the nearest, {heard['value']}"
        in caplog.text
    )


def test_weights_of_before_are_loaded_and_hear_nothing(model: Model) -> None:
    new = Speech(modality=model.modality, voices=("slt", "rms", "awb"))
    old = {k: v for k, v in state_of({"conditioner": model.conditioner}).items() if ".timbre." not in k}
    load_state({"conditioner": new}, old, "old")
    sound = voice(0, 1)
    assert new.heard(sound, whole(sound)) == {}
    assert torch.equal(new.state_dict()["voice.weight"], model.conditioner.state_dict()["voice.weight"])
