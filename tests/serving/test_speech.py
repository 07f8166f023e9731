"""/v1/audio/speech, with a toy part in place of a model of speech, and with a small one."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from unittest import mock

import openai
import pytest
import soundfile
import torch

from multigen import registry
from multigen.modalities.audio import Audio
from multigen.model.model import Model
from multigen.options import Option
from multigen.recipe.load import load_recipe
from tests.conditioners.test_speech import TINY
from tests.model.test_model import SMALL, small
from tests.serving.servers import Running, running


class Toy(Audio):
    """Sounds that are called speech."""

    name = "speech"
    options = (
        Option("voice", str, None, "who speaks", choices=("ana", "ben"), metavar="NAME"),
        Option("speed", float, None, "how fast", low=0.25, high=4.0, metavar="X"),
    )

    def finish(self, media: object, options: object) -> object:  # type: ignore[override]
        return media


@pytest.fixture(scope="module")
def speaking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("speech")
    with mock.patch.dict(registry._registered):
        registry.register("modality", "speech")(Toy)
        names = "[hello, goodbye]"
        overrides = [one for one in SMALL["audio_music"] if not one.startswith("conditioner")]
        overrides += [f"conditioner={{name: label, classes: {names}}}", f"sample.prompts={names}"]
        overrides += ["codec.vocoder=griffin_lim", "codec.iterations=2", "modality.name=speech"]
        toy = small("audio_music", overrides).save(folder / "toy.safetensors")
        with running({"toy": str(toy), "digits": "image_digits"}, folder / "store") as one:
            yield one


@pytest.fixture
def speaker(speaking: Running) -> Iterator[openai.OpenAI]:
    with speaking.client() as one:
        yield one


SEED = {"seed": 1, "steps": 1}


def test_a_model_of_speech_speaks(speaker: openai.OpenAI) -> None:
    said = {"model": "toy", "voice": "ana", "input": "hello", "extra_body": SEED}
    assert speaker.audio.speech.create(**said).content.startswith(b"ID3")
    for kind, begin in (
        ("wav", b"RIFF"),
        ("flac", b"ID3"),
        ("opus", b"OggS"),
        ("aac", b"ID3"),
        ("pcm", b""),
    ):
        made = speaker.audio.speech.create(**said, response_format=kind, speed=1.0)
        assert made.content.startswith(begin) and made.response.headers["x-seed"] == "1"
    with speaker.audio.speech.with_streaming_response.create(**said, response_format="wav") as answer:
        assert b"".join(answer.iter_bytes()).startswith(b"RIFF")


def test_speech_as_events(speaker: openai.OpenAI) -> None:
    made = speaker.audio.speech.create(
        model="toy", voice="ben", input="hello", stream_format="sse", response_format="pcm", extra_body=SEED
    )
    events = [json.loads(line[6:]) for line in made.text.splitlines() if line.startswith("data: ")]
    assert {one["type"] for one in events[:-1]} == {"speech.audio.delta"}
    assert events[-1]["type"] == "speech.audio.done" and events[-1]["usage"]["total_tokens"] > 0
    assert len(b"".join(base64.b64decode(one["audio"]) for one in events[:-1])) > 10_000


def test_what_it_does_not_have_is_refused_by_name(speaker: openai.OpenAI) -> None:
    for param, said, more in (
        ("instructions", "does not take", {"instructions": "whisper"}),
        ("model", "Models of speech: toy", {"model": "tts-1"}),
        ("model", "Models of speech: toy", {"model": "digits"}),
        ("speed", "4", {"speed": 9.0}),
        ("response_format", "wav", {"response_format": "exe"}),
    ):
        with pytest.raises(openai.BadRequestError, match=said) as caught:
            speaker.audio.speech.create(**{"model": "toy", "voice": "ana", "input": "hello", **more})  # type: ignore[arg-type]
        assert caught.value.param == param
    with pytest.raises(openai.BadRequestError, match="alloy"):
        speaker.audio.speech.create(model="toy", voice="alloy", input="hello")


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A small untrained model of the recipe audio_speech."""
    folder = tmp_path_factory.mktemp("sentences")
    model = Model(load_recipe("audio_speech", TINY), device="cpu")
    noise = torch.Generator().manual_seed(0)
    model.codec.fit([0.1 * torch.randn(model.modality.shape(), generator=noise) for _ in range(4)])
    saved = model.save(folder / "speech.safetensors")
    with running({"speech": str(saved)}, folder / "store") as one:
        yield one


def test_voice_and_speed_of_the_recipe_are_those_of_the_client(sentences: Running) -> None:
    def seconds(client: openai.OpenAI, **more: object) -> float:
        said = {"voice": "slt", "input": "Good morning to you all.", **more}
        made = client.audio.speech.create(model="speech", response_format="wav", extra_body=SEED, **said)  # type: ignore[arg-type]
        data, rate = soundfile.read(io.BytesIO(made.content))
        assert rate == 16000
        return len(data) / rate

    with sentences.client() as client:
        usual = seconds(client)
        assert 0.8 < usual < 4
        assert seconds(client, speed=2.0) < 0.8 * usual < usual < seconds(client, speed=0.5)
        assert seconds(client, voice="default") == usual
        with pytest.raises(openai.BadRequestError, match="slt, rms, awb") as caught:
            seconds(client, voice="alloy")
        assert caught.value.param == "voice"
        with pytest.raises(openai.BadRequestError, match="cannot be spoken"):
            seconds(client, input="Привет")
        with pytest.raises(openai.BadRequestError, match="at most 30 s"):
            seconds(client, input="9" * 500, speed=0.25)
