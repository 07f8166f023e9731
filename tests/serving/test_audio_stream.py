"""Sounds that are sent while they are made: window by window, in every format."""

from __future__ import annotations

import base64
import io
import itertools
import json
import time
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

from multigen import registry
from multigen.serving.api import audio_windows
from multigen.serving.api.work import submit
from tests.serving.servers import Running

LONG: dict[str, Any] = {"model": "music", "prompt": "flute", "seconds": 3.2, "steps": 2, "seed": 4}


def made(served: Running, **more: Any) -> httpx.Response:
    answer = httpx.post(f"{served.url}/v1/audio/generations", json={**LONG, **more}, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer


def own_length(served: Running) -> int:
    """Samples of the model's own length."""
    part = served.server.models.served["music"].recipe.modality
    return registry.build("modality", part, where="modality").shape()[1]


def samples(content: bytes) -> np.ndarray:
    return soundfile.read(io.BytesIO(content), dtype="float64")[0]


def test_the_first_window_is_there_before_the_others_are_made(served: Running) -> None:
    begun, times, sizes = time.monotonic(), [], []
    body = {**LONG, "seconds": 6.0, "steps": 12, "stream": True, "response_format": "pcm"}
    with httpx.stream("POST", f"{served.url}/v1/audio/generations", json=body, timeout=60) as answer:
        for part in answer.iter_raw():
            times.append(time.monotonic() - begun)
            sizes.append(len(part))
    assert sum(sizes) == 2 * 6 * 22050
    assert answer.headers["content-type"] == "audio/pcm;rate=22050;channels=1"
    assert times[0] < 0.6 * times[-1]  # not all at the end


def test_a_deadline_is_that_of_the_whole_sound(served: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    deadlines: list[float] = []

    async def seen(server: Any, caller: Any, one: Any, given: Any, request: Any, n: int) -> Any:
        deadlines.append(given.deadline)
        return await submit(server, caller, one, given, request, n)

    monkeypatch.setattr(audio_windows, "submit", seen)
    made(served, window_by_window=True, deadline=60)
    assert deadlines[0] == 60 and len(deadlines) > 1
    assert all(0 < b < a for a, b in itertools.pairwise(deadlines))


def test_streamed_or_not_the_sound_is_the_same_and_has_its_length(served: Running) -> None:
    streamed = made(served, stream=True)
    whole = made(served, window_by_window=True)
    assert streamed.content == whole.content
    assert streamed.headers["x-seed"] == "4"
    sound = samples(whole.content)
    assert len(sound) == round(3.2 * 22050) and np.abs(sound).max() <= 1
    other = samples(made(served, window_by_window=True, seed=5).content)
    assert np.abs(sound - other).max() > 0.01


def test_windows_go_on_without_a_jump(served: Running) -> None:
    """At the borders the sound moves no faster than elsewhere, and what has been sent is not changed."""
    sound = samples(made(served, window_by_window=True).content)
    own = own_length(served)
    first = samples(made(served, seconds=own / 22050, window_by_window=True).content)
    assert own - 512 < len(first) <= own  # whole frames of the codec
    same = len(first) - round(0.05 * 22050)
    assert np.abs(sound[:same] - first[:same]).max() < 2e-4
    steps = np.abs(np.diff(sound))
    for at in (len(first), len(first) + own // 2, len(first) + own):
        assert steps[at - 1200 : at + 1200].max() <= 1.5 * steps.max()


@pytest.mark.parametrize("kind", ["mp3", "flac", "opus", "aac", "wav"])
def test_every_format_decodes_to_the_same_sound(served: Running, kind: str) -> None:
    import av

    expected = np.frombuffer(made(served, stream=True, response_format="pcm").content, "<i2") / 32767
    content = made(served, stream=True, response_format=kind).content
    with av.open(io.BytesIO(content)) as file:
        rate = file.streams.audio[0].codec_context.sample_rate
        frames = [frame.to_ndarray() for frame in file.decode(audio=0)]
    seconds = sum(frame.shape[-1] for frame in frames) / rate
    assert abs(seconds - len(expected) / 22050) < 0.12
    if kind in ("wav", "flac"):
        assert np.abs(samples(content) - expected).max() < 1e-4


def test_events_of_a_long_sound(served: Running) -> None:
    text = made(served, stream=True, stream_format="sse", response_format="pcm").text
    events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]
    assert [one["type"] for one in events[-2:]] == ["audio.delta", "audio.done"]
    content = b"".join(base64.b64decode(one["audio"]) for one in events[:-1])
    assert content == made(served, stream=True, response_format="pcm").content
    assert events[-1]["seconds"] == 3.2


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"n": 2, "window_by_window": True}, "n"),
        ({"sliding_window": True, "window_by_window": True}, "sliding_window"),
        ({"stream_format": "sse"}, "stream_format"),
    ],
)
def test_what_does_not_go_with_it(served: Running, more: dict[str, Any], param: str) -> None:
    answer = httpx.post(f"{served.url}/v1/audio/generations", json={**LONG, **more})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_a_client_that_goes_away_ends_it(served: Running) -> None:
    body = {**LONG, "seconds": 25.0, "steps": 30, "stream": True}
    with httpx.stream("POST", f"{served.url}/v1/audio/generations", json=body, timeout=60) as answer:
        next(answer.iter_raw())
    end = time.monotonic() + 10
    while served.places and time.monotonic() < end:
        time.sleep(0.05)
    assert served.places == 0
    time.sleep(0.3)
    assert served.places == 0
