"""The official client, unmodified: each of its calls is met, or refused by the name of the member."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
import openai
import pytest
from PIL import Image

from tests.serving.servers import Running

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
Q = {"steps": 2, "seed": 3}
WAIT = {"timeout": 60}


def picture(size: tuple[int, int] = (28, 28), mode: str = "L", file_format: str = "PNG") -> bytes:
    values = np.random.default_rng(1).integers(0, 256, (*size[::-1], 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(values).convert(mode).save(file, format=file_format)
    return file.getvalue()


def hole(size: tuple[int, int] = (28, 28)) -> bytes:
    """A mask whose lower half is transparent."""
    mask = Image.new("RGBA", size, (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (0, size[1] // 2, *size))
    file = io.BytesIO()
    mask.save(file, format="PNG")
    return file.getvalue()


PNG, MASK = picture(), hole()
Client = Any  # openai.OpenAI or openai.AsyncOpenAI: they have the same methods
Check = Callable[[Any], object]


@dataclass(frozen=True)
class Call:
    """A call of the client, and what is true of its answer; or the class and the parameter of its error."""

    name: str
    send: Callable[[Client], Any]
    check: Check = bool
    error: type[openai.APIStatusError] | None = None
    param: str | None = None


def first(made: Any) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(made.data[0].b64_json)))


def generate(name: str, check: Check, **given: Any) -> Call:
    extra = {**Q, **given.pop("extra_body", {})}
    return Call(name, lambda c: c.images.generate(prompt="7", extra_body=extra, **given), check)


def edit(name: str, check: Check, **given: Any) -> Call:
    given = {"image": PNG, **given}
    extra = {**Q, **given.pop("extra_body", {})}
    return Call(name, lambda c: c.images.edit(prompt="3", extra_body=extra, **given), check)


def refused(
    name: str, param: str | None, send: Callable[[Client], Any], error: Any = openai.BadRequestError
) -> Call:
    return Call(name, send, error=error, param=param)


def sound(name: str, check: Check, **given: Any) -> Call:
    body = {"model": "music", "prompt": "flute", "seconds": 0.4, "steps": 1, "seed": 1, **given}
    kind = openai._legacy_response.HttpxBinaryResponseContent
    return Call(name, lambda c: c.post("/audio/generations", body=body, cast_to=kind), check)


PICTURES = [
    generate("plain", lambda r: first(r).size == (28, 28) and r.created > 0),
    generate("n", lambda r: [row.model_extra["seed"] for row in r.data] == [3, 4, 5], n=3),
    generate("size", lambda r: (first(r).size, r.size) == ((20, 16), "20x16"), size="20x16"),
    generate("size auto", lambda r: r.size == "28x28", size="auto"),
    generate("jpeg", lambda r: first(r).format == "JPEG" and r.output_format == "jpeg", output_format="jpeg"),
    generate("webp", lambda r: first(r).format == "WEBP", output_format="webp", output_compression=30),
    generate("jpeg at 5", lambda r: first(r).format == "JPEG", output_format="jpeg", output_compression=5),
    generate("address", lambda r: r.data[0].url and not r.data[0].b64_json, response_format="url"),
    generate("b64_json", lambda r: r.data[0].b64_json and not r.data[0].url, response_format="b64_json"),
    generate("opaque", lambda r: r.background == "opaque", background="opaque"),
    generate("background auto", lambda r: r.background == "opaque", background="auto"),
    generate("quality auto", lambda r: r.quality == "auto", quality="auto", moderation="auto"),
    generate("model", lambda r: r.usage.output_tokens > 0, model="digits", user="ana"),
    generate("safety identifier", bool, safety_identifier="ana"),
    generate("sampler", bool, extra_body={"sampler": "ddim", "guidance_scale": 1.5}),
    generate("sampler with arguments", bool, extra_body={"sampler": {"name": "ddim", "eta": 0.5}}),
    generate("guide", bool, extra_body={"guide": {"name": "apg", "scale": 2.0}}),
    generate("negative prompt", bool, extra_body={"negative_prompt": "3", "guidance_scale": 2.0}),
    generate("sliding window", lambda r: r.size == "40x28", size="40x28", extra_body={"sliding_window": True}),
    generate("tile", bool, size="56x28", extra_body={"sliding_window": True, "tile": True}),
    generate("priority", bool, extra_body={"priority": 5, "deadline": 60}),
    edit("variation", lambda r: first(r).size == (28, 28)),
    edit("n of an edit", lambda r: len(r.data) == 2, n=2),
    edit("several", lambda r: len(r.data) == 2, image=[PNG, picture(mode="RGB", file_format="JPEG")]),
    edit("mask", bool, mask=MASK),
    edit("mask of another size", bool, mask=hole((56, 56))),
    edit("what the mask means", bool, mask=MASK, extra_body={"mask_is": "opaque"}),
    edit("strength", bool, extra_body={"strength": 0.3}),
    edit("outpaint", lambda r: r.size == "32x30", extra_body={"extend": "2,1,2,1"}),
    edit("outpaint all round", lambda r: r.size == "32x32", extra_body={"extend": 2}),
    edit("brought to a size", lambda r: r.size == "40x36", size="40x36"),
    edit("another size", lambda r: r.size == "56x42", image=picture((56, 42)), extra_body={"fit": "crop"}),
    edit("a name and a type", bool, image=("../../etc/passwd.png", PNG, "image/png")),
    edit("jpeg of an edit", lambda r: first(r).format == "JPEG", output_format="jpeg", response_format=None),
    edit("restyle", bool, extra_body={"invert": "7"}),
    edit("restore", bool, extra_body={"restore": {"name": "blur", "sigma": 1.2}, "noise": 0.05}),
    edit("repaint", bool, mask=MASK, extra_body={"resample": 2, "feather": 0}),
]  # fmt: skip
SOUNDS = [
    *(sound(kind, lambda r, begin=begin: r.content.startswith(begin), response_format=kind) for kind, begin in {
        "wav": b"RIFF", "mp3": b"ID3", "flac": b"ID3", "opus": b"OggS", "aac": b"ID3", "pcm": b""}.items()),
    sound("stream", lambda r: r.content.startswith(b"RIFF"), stream=True),
    sound("long stream", lambda r: 0 <= len(r.content) - 44 - 2 * 2 * 22050 < 4096, stream=True, seconds=2),
    sound("stream of events", lambda r: b"audio.done" in r.content, stream=True, stream_format="sse"),
    sound("n sounds", lambda r: r.content.count(b"b64_json") == 2, n=2),
    sound("loudness", bool, options={"lufs": -20}),
    refused("speech", "model", lambda c: c.audio.speech.create(model="tts-1", voice="alloy", input="hello")),
]  # fmt: skip
REFUSED = [
    refused("member", "stepps", lambda c: c.images.generate(prompt="7", extra_body={"stepps": 1})),
    refused("style", "style", lambda c: c.images.generate(prompt="7", style="vivid")),
    refused("quality", "quality", lambda c: c.images.generate(prompt="7", quality="high")),
    refused("n of 0", "n", lambda c: c.images.generate(prompt="7", n=0)),
    refused("n of 11", "n", lambda c: c.images.generate(prompt="7", n=11)),
    refused("n as text", "n", lambda c: c.images.generate(prompt="7", extra_body={"n": "2"})),
    refused("no size", "size", lambda c: c.images.generate(prompt="7", size="big")),
    refused("large size", "size", lambda c: c.images.generate(prompt="7", size="9000x9000")),
    refused("alpha", "background", lambda c: c.images.generate(prompt="7", background="transparent")),
    refused("label", "prompt", lambda c: c.images.generate(prompt="elephant")),
    refused("previews", "partial_images", lambda c: c.images.generate(prompt="7", partial_images=1)),
    refused("lora", "mine", lambda c: c.images.generate(prompt="7", extra_body={"loras": [{"name": "mine"}]})),
    refused("no model", "model", lambda c: c.images.generate(prompt="7", model="dall-e-3"), openai.NotFoundError),
    refused("of another kind", "model", lambda c: c.images.generate(prompt="7", model="music"), openai.NotFoundError),
    refused("unknown model", "model", lambda c: c.models.retrieve("digit"), openai.NotFoundError),
    refused("no picture", "image", lambda c: c.images.edit(image=b"text", prompt="3"), openai.APIStatusError),
    refused("half a picture", "image", lambda c: c.images.edit(image=PNG[:60], prompt="3")),
    refused("no mask", "mask_is", lambda c: c.images.edit(image=PNG, prompt="3", extra_body={"mask_is": "white"})),
    refused("keep", "keep", lambda c: c.images.edit(image=PNG, prompt="3", extra_body={"keep": "0:1s"})),
    refused("no video", "video_id", lambda c: c.videos.retrieve("video_none"), openai.NotFoundError),
    refused("no video to delete", "video_id", lambda c: c.videos.delete("video_none"), openai.NotFoundError),
    refused("no content", "video_id", lambda c: c.videos.download_content("video_none"), openai.NotFoundError),
    refused("no remix", "video_id", lambda c: c.videos.remix("video_none", prompt="fish"), openai.NotFoundError),
    refused("seconds", "duration", lambda c: c.videos.create(prompt="panda", seconds="900")),
    refused("after", "after", lambda c: c.get("/videos?after=video_none", cast_to=object)),
    refused("variations", None, lambda c: c.images.create_variation(image=PNG), openai.NotFoundError),
]  # fmt: skip
CALLS = [*PICTURES, *SOUNDS, *REFUSED]


def test_there_are_sixty_calls() -> None:
    assert len(CALLS) >= 60
    assert len({call.name for call in CALLS}) == len(CALLS)


def judge(call: Call, answer: Any) -> None:
    """Check what a call comes to. A refusal names its member, and is in OpenAI's shape."""
    if call.error is None:
        if isinstance(answer, BaseException):
            raise answer
        assert call.check(answer), call.name
        return
    assert isinstance(answer, call.error), (call.name, answer)
    assert 400 <= answer.status_code < 500
    assert answer.param == call.param and (answer.type or "").endswith("_error"), call.name
    assert answer.request_id, "x-request-id"


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
def test_a_call(client: openai.OpenAI, call: Call) -> None:
    try:
        answer = call.send(client)
    except openai.APIError as error:
        answer = error
    judge(call, answer)


def test_all_calls_at_once_by_the_async_client(served: Running) -> None:
    async def run() -> list[Any]:
        async with served.aclient() as client:
            return await asyncio.gather(*(call.send(client) for call in CALLS), return_exceptions=True)

    for call, answer in zip(CALLS, asyncio.run(run()), strict=True):
        judge(call, answer)


@pytest.mark.parametrize("kind", ["generation", "edit"])
@pytest.mark.parametrize("count", [0, 3])
def test_streams(served: Running, client: openai.OpenAI, kind: str, count: int) -> None:
    """Types and indices as the client's own types have them; the last has usage and the whole picture."""
    more = {"stream": True, "partial_images": count, "extra_body": {**Q, "steps": 8}}

    async def events() -> list[Any]:
        async with served.aclient() as one:
            if kind == "edit":
                found = await one.images.edit(image=PNG, prompt="7", **more)
            else:
                found = await one.images.generate(prompt="7", **more)
            return [event async for event in found]

    call = client.images.generate if kind == "generation" else client.images.edit
    sync = list(call(prompt="7", **more, **({} if kind == "generation" else {"image": PNG})))
    name = f"image_{kind}"
    for found in (sync, asyncio.run(events())):
        assert [event.type for event in found] == [f"{name}.partial_image"] * count + [f"{name}.completed"]
        assert [event.partial_image_index for event in found[:-1]] == list(range(count))
        assert found[-1].usage.total_tokens > 0 and found[-1].output_format == "png"
        for event in found:
            assert Image.open(io.BytesIO(base64.b64decode(event.b64_json))).size == (28, 28)
    last = [Image.open(io.BytesIO(base64.b64decode(events[-1].b64_json))) for events in (sync, found)]
    assert last[0].tobytes() == last[1].tobytes()  # signatures differ each time


def test_an_error_within_a_stream_is_raised(client: openai.OpenAI) -> None:
    more = {"steps": 100, "n": 8, "deadline": 0.05}
    with pytest.raises(openai.APIError, match="deadline"):
        list(client.images.generate(prompt="7", stream=True, extra_body=more))


def test_videos_of_the_async_client(served: Running) -> None:
    """Created with a picture, polled, listed, fetched, remixed, deleted; edited as a clip, with a mask."""

    async def run() -> None:
        async with served.aclient() as client:
            more = {"steps": 1, "seed": 3}
            made = await client.videos.create_and_poll(prompt="panda", input_reference=PNG, extra_body=more)
            assert (made.status, made.progress) == ("completed", 100)
            content = (await client.videos.download_content(made.id)).content
            edited = await client.videos.create_and_poll(
                prompt="fish",
                input_reference=content,
                extra_body={**more, "strength": 0.5, "output_format": "webm"},
            )
            assert edited.status == "completed" and edited.size == made.size
            masked = await client.post(
                "/videos",
                cast_to=object,
                body={"prompt": "fish", **more},
                files=[("input_reference", content), ("mask", hole((16, 16)))],
                options={"headers": {"Content-Type": "multipart/form-data"}},
            )
            assert (await client.videos.poll(masked["id"])).status == "completed"  # type: ignore[index]
            remix = await client.videos.remix(made.id, prompt="fish")
            assert (await client.videos.poll(remix.id)).remixed_from_video_id == made.id
            listed = [one.id async for one in client.videos.list(limit=1)]
            assert {made.id, edited.id, remix.id} <= set(listed)
            for name in listed:
                assert (await client.videos.delete(name)).deleted
            assert [one.id async for one in client.videos.list()] == []

    asyncio.run(run())


def test_cancelling_a_call_frees_its_place(served: Running) -> None:
    async def run() -> None:
        async with served.aclient() as client:
            calls = [
                asyncio.create_task(client.images.generate(prompt="7", n=4, extra_body={"steps": 100}))
                for _ in range(3)
            ]
            while served.places < 12:
                await asyncio.sleep(0.02)
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            for _ in range(200):
                if served.places == 0:
                    return
                await asyncio.sleep(0.05)
        raise AssertionError("places are still taken")

    asyncio.run(run())


def test_an_edit_keeps_the_form_of_its_file(client: openai.OpenAI, served: Running) -> None:
    """16 bits and alpha of a picture, rate and channels of a sound: as `multigen edit` does."""
    deep = Image.fromarray(np.random.default_rng(0).integers(0, 65536, (28, 28), np.uint16))
    file = io.BytesIO()
    deep.save(file, format="PNG")
    made = client.images.edit(image=file.getvalue(), mask=MASK, prompt="3", extra_body={**Q, "feather": 0})
    found = np.asarray(first(made))
    assert found.dtype == np.int32 or found.dtype == np.uint16
    assert np.array_equal(found[:14], np.asarray(deep)[:14])
    noise = 0.1 * np.random.default_rng(0).standard_normal((48_000, 2))
    import httpx
    import soundfile

    wav = io.BytesIO()
    soundfile.write(wav, noise, 48_000, format="WAV", subtype="PCM_24")
    answer = httpx.post(
        f"{served.url}/v1/audio/edits",
        data={"prompt": "flute", "steps": "1", "keep": "0:0.5s"},
        files={"audio": wav.getvalue()},
        timeout=60,
    )
    assert answer.status_code == 200, answer.text
    samples, rate = soundfile.read(io.BytesIO(answer.content))
    assert rate == 48_000 and samples.shape == noise.shape
    assert np.abs(samples[:20_000] - noise[:20_000]).max() < 1e-6


def test_an_edited_video_keeps_its_sound_and_rate(served: Running) -> None:
    import httpx

    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        video = out.add_stream("libx264", rate=8)
        video.width = video.height = 32
        video.pix_fmt = "yuv420p"
        audio = out.add_stream("aac", rate=22050, layout="mono")
        for k in range(8):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 20 * k, np.uint8), format="rgb24")
            out.mux(video.encode(frame))
        tone = (0.3 * np.sin(np.arange(22050) / 10)).astype(np.float32)[None]
        sound = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
        sound.sample_rate = 22050
        for piece in [*av.AudioResampler("fltp", "mono", 22050, 1024).resample(sound), None]:
            out.mux(audio.encode(piece))
        out.mux(video.encode(None))
    with served.client() as client:
        made = client.videos.create_and_poll(
            prompt="fish",
            model="moving",
            input_reference=file.getvalue(),
            extra_body={"steps": 1, "strength": 0.5},
        )
        assert (made.status, made.size, made.seconds) == ("completed", "32x32", "1")
        content = httpx.get(f"{served.url}/v1/videos/{made.id}/content").content
        with av.open(io.BytesIO(content)) as found:
            assert len(found.streams.audio) == 1 and found.streams.video[0].average_rate == 8
        client.videos.delete(made.id)
