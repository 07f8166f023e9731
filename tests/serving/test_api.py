"""The official client, unmodified, against a server: what it sends is honoured or refused by name."""

from __future__ import annotations

import asyncio
import base64
import functools
import io
import json
import time
import urllib.request
from typing import Any

import numpy as np
import openai
import pytest
import soundfile
from openai._legacy_response import HttpxBinaryResponseContent
from PIL import Image

import multigen
from multigen.modalities.raster import to_levels
from multigen.model.model import Model
from tests.serving.servers import Running

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
QUICK = {"steps": 3, "seed": 5}


def levels(b64: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(b64)))).astype(int)


@pytest.fixture(scope="module")
def digit(served: Running) -> bytes:
    with served.client() as client:
        made = client.images.generate(prompt="7", extra_body=QUICK)
    return base64.b64decode(made.data[0].b64_json or "")


@functools.cache
def shipped() -> Model:
    return multigen.load("image_digits", device="cpu")


def alone(seed: int) -> np.ndarray:
    (medium,) = shipped().generate("7", steps=3, seed=seed)
    return to_levels(medium.tensor)[..., 0].astype(int)


def test_models(client: openai.OpenAI) -> None:
    assert [one.id for one in client.models.list()] == ["digits", "music", "moving"]
    assert client.models.retrieve("digits").object == "model"
    with pytest.raises(openai.NotFoundError, match="'digits'"):
        client.models.retrieve("digit")


def test_the_same_seed_alone_among_others_and_in_python(served: Running, client: openai.OpenAI) -> None:
    one = client.images.generate(prompt="7", extra_body=QUICK)
    expected = alone(5)
    assert np.abs(levels(one.data[0].b64_json or "") - expected).max() <= 1

    async def among() -> list[Any]:
        async with served.aclient() as client:
            calls = [
                client.images.generate(prompt=str(k % 10), extra_body={"seed": 50 + k, "steps": 2 + k % 4})
                for k in range(10)
            ]
            own = client.images.generate(prompt="7", extra_body=QUICK)
            return await asyncio.gather(*calls, own)

    found = asyncio.run(among())
    assert len({one.data[0].b64_json for one in found}) == 11
    assert np.abs(levels(found[-1].data[0].b64_json) - expected).max() <= 1


def test_n_counts_seeds_on_and_no_seed_is_by_chance(client: openai.OpenAI) -> None:
    three = client.images.generate(prompt="7", n=3, extra_body=QUICK)
    assert [row.model_extra["seed"] for row in three.data] == [5, 6, 7]
    assert np.abs(levels(three.data[2].b64_json or "") - alone(7)).max() <= 1
    a, b = (client.images.generate(prompt="7", extra_body={"steps": 1}).data[0] for _ in range(2))
    assert a.model_extra["seed"] != b.model_extra["seed"]


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        ({}, "PNG"),
        ({"output_format": "jpeg", "output_compression": 40}, "JPEG"),
        ({"output_format": "webp"}, "WEBP"),
        ({"size": "auto", "quality": "auto", "background": "auto"}, "PNG"),
        ({"size": "20x16"}, "PNG"),
        ({"n": None, "user": "someone"}, "PNG"),
    ],
)
def test_pictures(client: openai.OpenAI, more: dict[str, Any], kind: str) -> None:
    made = client.images.generate(prompt="7", extra_body=QUICK, **more)
    picture = Image.open(io.BytesIO(base64.b64decode(made.data[0].b64_json or "")))
    assert picture.format == kind
    assert (
        f"{picture.width}x{picture.height}"
        == made.size
        == ("20x16" if more.get("size") == "20x16" else "28x28")
    )


def test_a_picture_by_address(client: openai.OpenAI) -> None:
    made = client.images.generate(prompt="7", response_format="url", extra_body=QUICK)
    address = made.data[0].url or ""
    with urllib.request.urlopen(address) as answer:
        assert answer.read(4) == b"\x89PNG"
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(address[:-1] + ("0" if address[-1] != "0" else "1"))


REFUSED = [
    ({"stepps": 3}, "stepps", "'steps'"),
    ({"sampler": "dimm"}, "sampler.name", "'ddim'"),
    ({"sampler": {"name": "ddim", "eta": "../x"}}, "sampler.eta", "numbers"),
    ({"guide": {"name": "autoguidance", "weights": "/etc/passwd"}}, "guide.weights", "numbers"),
    ({"loras": [{"nam": "x"}]}, "loras.0.name", "missing"),
    ({"loras": [{"name": "x"}]}, "x", "LoRA"),
    ({"steps": 0}, "steps", "1"),
    ({"steps": 101}, "steps", "100"),
    ({"n": 11}, "n", "10"),
    ({"size": "axb"}, "size", "WIDTHxHEIGHT"),
    ({"size": "4000x4000"}, "size", "pixels"),
    ({"prompt": "elephant"}, "prompt", "elephant"),
    ({"prompt": "x" * 501}, "prompt", "500"),
    ({"quality": "hd"}, "quality", "auto"),
    ({"background": "transparent"}, "background", "opaque"),
    ({"partial_images": 2}, "partial_images", "stream"),
    ({"output_compression": 5}, "output_compression", "png"),
    ({"options": {"lufs": -14}}, "options", "lufs"),
    ({"overrides": ["weights=/etc/passwd"]}, "overrides", "overrides"),
]


@pytest.mark.parametrize(("more", "param", "said"), REFUSED, ids=lambda v: str(v)[:40])
def test_what_cannot_be_honoured_is_refused_by_name(
    client: openai.OpenAI, more: dict[str, Any], param: str, said: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.generate(prompt="7", extra_body=more)
    assert caught.value.param == param
    assert said in caught.value.message


def test_a_model_that_is_not_served(client: openai.OpenAI) -> None:
    for name in ("digit", "music"):
        with pytest.raises(openai.NotFoundError) as caught:
            client.images.generate(prompt="7", model=name)
        assert caught.value.code == "model_not_found"


def test_a_stream_of_pictures(client: openai.OpenAI) -> None:
    found = list(client.images.generate(prompt="7", stream=True, partial_images=2, extra_body=QUICK))
    kinds = [one.type for one in found]
    assert kinds == ["image_generation.partial_image"] * 2 + ["image_generation.completed"]
    assert np.abs(levels(found[-1].b64_json) - alone(5)).max() <= 1
    assert levels(found[0].b64_json).std() > 5  # no blank


def settled(served: Running) -> bool:
    end = time.monotonic() + 5
    while served.places and time.monotonic() < end:
        time.sleep(0.02)
    return served.places == 0


def test_closing_a_stream_frees_the_places(served: Running, client: openai.OpenAI) -> None:
    long = {"steps": 100, "seed": 1}
    with client.images.generate(prompt="7", n=4, stream=True, partial_images=1, extra_body=long) as events:
        next(iter(events))
        assert served.places == 4
    assert settled(served)


def test_a_client_that_goes_away_frees_its_place(served: Running, client: openai.OpenAI) -> None:
    with pytest.raises(openai.APITimeoutError):
        client.images.generate(prompt="7", n=8, extra_body={"steps": 100}, timeout=0.2)
    assert settled(served)


@pytest.mark.parametrize(
    "more",
    [
        {"strength": 0.5},
        {"n": 2},
        {"guide": {"name": "cfg", "scale": 2}},
        {"cache": {"name": "deep", "every": 2}},
        {"sampler": "ddim", "negative_prompt": "3", "guidance_scale": 1.5},
        {"extend": "0,2,2,0", "sliding_window": True},
        {"resample": 2, "extend": 2, "sliding_window": True},
        {"invert": "7"},
        {"purify": 0.5},
        {"restore": {"name": "blur", "sigma": 1.5}},
    ],
    ids=str,
)
def test_edits(client: openai.OpenAI, digit: bytes, more: dict[str, Any]) -> None:
    more = {"steps": 2, "seed": 1, **more}
    n = more.pop("n", 1)
    made = client.images.edit(image=("any.bin", digit), prompt="3", n=n, extra_body=more)
    assert len(made.data) == n
    if "extend" in more:
        assert made.size == ("30x30" if more["extend"] != 2 else "32x32")


def test_a_mask_keeps_what_is_opaque(client: openai.OpenAI, digit: bytes) -> None:
    mask = Image.new("RGBA", (28, 28), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (0, 14, 28, 28))
    file = io.BytesIO()
    mask.save(file, format="PNG")
    made = client.images.edit(
        image=digit, mask=file.getvalue(), prompt="3", extra_body={**QUICK, "feather": 0}
    )
    new, old = levels(made.data[0].b64_json or ""), levels(base64.b64encode(digit).decode())
    assert np.array_equal(new[:14], old[:14])
    assert np.abs(new[14:] - old[14:]).max() > 50


def test_each_of_several_pictures_is_edited_as_it_is_alone(client: openai.OpenAI, digit: bytes) -> None:
    other = png(np.random.default_rng(0).integers(0, 256, (28, 28), np.uint8))
    more = {"strength": 0.5, **QUICK}
    both = client.images.edit(image=[digit, other], prompt="3", n=2, extra_body=more)
    assert [(row.model_extra["source"], row.model_extra["seed"]) for row in both.data] == [
        (0, 5),
        (0, 6),
        (1, 5),
        (1, 6),
    ]
    for source, picture in enumerate((digit, other)):
        alone = client.images.edit(image=picture, prompt="3", extra_body=more)
        found = levels(both.data[2 * source].b64_json or "")
        assert np.abs(found - levels(alone.data[0].b64_json or "")).max() <= 1
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.edit(image=[digit] * 6, prompt="3", n=2)
    assert caught.value.param == "n"


def png(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(values).save(file, format="PNG")
    return file.getvalue()


def test_edits_that_are_refused(client: openai.OpenAI, digit: bytes) -> None:
    with pytest.raises(openai.BadRequestError, match="'strength'"):
        client.images.edit(image=digit, prompt="3", extra_body={"strenght": 0.5})
    with pytest.raises(openai.APIStatusError) as caught:
        client.images.edit(image=b"GIF89b not a picture", prompt="3")
    assert caught.value.status_code == 415
    with pytest.raises(openai.APIStatusError) as caught:
        client.images.edit(image=digit[:8] + bytes((2 << 20) + 1), prompt="3")
    assert caught.value.status_code == 413
    with pytest.raises(openai.BadRequestError, match="cannot be read"):
        client.images.edit(image=digit[:60], prompt="3")


def test_an_edit_streams(client: openai.OpenAI, digit: bytes) -> None:
    found = list(client.images.edit(image=digit, prompt="3", stream=True, partial_images=1, extra_body=QUICK))
    assert [one.type for one in found] == ["image_edit.partial_image", "image_edit.completed"]


def sound(client: openai.OpenAI, **more: Any) -> HttpxBinaryResponseContent:
    body = {"prompt": "flute", "seconds": 0.4, "steps": 2, "seed": 1, **more}
    return client.post("/audio/generations", body=body, cast_to=HttpxBinaryResponseContent)


@pytest.mark.parametrize(
    ("kind", "begin"),
    [
        ("wav", b"RIFF"),
        ("mp3", b"ID3"),
        ("flac", b"ID3"),
        ("opus", b"OggS"),
        ("aac", b"ID3"),
        ("pcm", b""),
    ],
)
def test_sounds(client: openai.OpenAI, kind: str, begin: bytes) -> None:
    made = sound(client, response_format=kind)
    assert made.content.startswith(begin)
    assert made.response.headers["x-seed"] == "1"


def test_a_stream_of_sound_is_the_same_sound(client: openai.OpenAI) -> None:
    whole, streamed = (
        soundfile.read(io.BytesIO(sound(client, stream=stream).content)) for stream in (False, True)
    )
    assert streamed[1] == whole[1] and (streamed[0] == whole[0]).all()  # signatures differ each time
    text = sound(client, stream=True, stream_format="sse").content.decode()
    events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]
    content = b"".join(base64.b64decode(e["audio"]) for e in events[:-1])
    assert (soundfile.read(io.BytesIO(content))[0] == whole[0]).all()
    assert events[-1]["type"] == "audio.done"
    with pytest.raises(openai.BadRequestError, match="sse"):
        sound(client, stream=True, n=2)


def test_edits_of_sounds(client: openai.OpenAI) -> None:
    import httpx

    wav = sound(client, seconds=1.0).content
    url = str(client.base_url) + "audio/edits"
    for more, factor in (({"extend": "0.3s"}, 1.3), ({"keep": "0:0.5s"}, 1.0), ({"strength": "0.5"}, 1.0)):
        answer = httpx.post(url, data={"prompt": "organ", "steps": "2", **more}, files={"audio": wav})
        assert answer.status_code == 200, answer.text
        lengths = [len(soundfile.read(io.BytesIO(content))[0]) for content in (answer.content, wav)]
        assert abs(lengths[0] / lengths[1] - factor) < 0.06
    answer = httpx.post(url, data={"prompt": "organ"})
    assert answer.status_code == 415


def test_speech_says_which_models_speak(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="Models of speech: none"):
        client.audio.speech.create(model="tts-1", voice="alloy", input="hello")


def video(client: openai.OpenAI, **more: Any) -> Any:
    return client.videos.create_and_poll(
        prompt="panda", model="moving", extra_body={"steps": 2, "seed": 3}, **more
    )


def test_videos(client: openai.OpenAI, digit: bytes) -> None:
    one = video(client)
    assert (one.status, one.progress, one.size, one.seconds) == ("completed", 100, "16x16", "0.5")
    begin = {"video": b"ftyp", "thumbnail": b"WEBP", "spritesheet": b"\xff\xd8"}
    for variant, mark in begin.items():
        assert mark in client.videos.download_content(one.id, variant=variant).content[:12]
    assert video(client, input_reference=digit).status == "completed"
    assert video(client, seconds="0.25").seconds == "0.25"
    other = client.videos.poll(client.videos.remix(one.id, prompt="fish").id)
    assert (other.status, other.remixed_from_video_id) == ("completed", one.id)
    names = [row.id for row in client.videos.list(limit=2)]  # follows has_more
    assert names[0] == other.id and len(names) == 4
    assert client.videos.list(limit=2, order="asc").data[0].id == one.id
    assert client.videos.delete(one.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.videos.retrieve(one.id)


def test_a_video_under_way(served: Running, client: openai.OpenAI) -> None:
    raw = client.videos.with_raw_response.create(prompt="panda", model="moving", extra_body={"steps": 100})
    one = raw.parse()
    assert one.status in ("queued", "in_progress")
    assert int(raw.headers["openai-poll-after-ms"]) >= 100
    with pytest.raises(openai.ConflictError):
        client.videos.download_content(one.id)
    client.videos.delete(one.id)
    assert settled(served)
    with pytest.raises(openai.BadRequestError, match="input_reference"):
        client.videos.create(prompt="panda", model="moving", extra_body={"strength": 0.5})
