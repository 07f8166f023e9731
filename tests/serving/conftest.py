"""One server for all conformance tests: digits as shipped, music and moving emoji small and untrained."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

from tests.serving.servers import Running, running, saved


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("models")
    sources = {
        "digits": "image_digits",
        "music": saved("audio_music", folder),
        "moving": saved("video_moving_emoji", folder),
    }
    with running(sources, tmp_path_factory.mktemp("store")) as one:
        yield one


@pytest.fixture
def client(served: Running) -> Iterator[openai.OpenAI]:
    with served.client() as one:
        yield one
