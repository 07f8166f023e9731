"""Servers that the tests share: one for the official client, one for hostile requests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tests.serving.hosted import Hosted, hosted, weights
from tests.serving.servers import Running, running, small_models


# Of a module each: no server lives on beside the tests that come after these.
@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Digits as shipped, music and moving emoji small and untrained."""
    sources = small_models(tmp_path_factory.mktemp("models"))
    with running(sources, tmp_path_factory.mktemp("store")) as one:
        yield one


@pytest.fixture
def client(served: Running) -> Iterator[openai.OpenAI]:
    with served.client() as one:
        yield one


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights file."""
    return weights(tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="module")
def guarded(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosted]:
    """A server without keys."""
    with hosted(digits, tmp_path_factory.mktemp("store"), max_queue=64) as one:
        yield one
