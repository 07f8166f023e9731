"""Servers that the tests share: one for the official client, one for hostile requests."""

from __future__ import annotations

import functools
import ssl
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import openai
import pytest

from multigen.serving import process
from multigen.serving.engine import models
from tests.serving.hosted import Hosted, hosted, weights
from tests.serving.servers import Running, running, small_models


@pytest.fixture(autouse=True, scope="package")
def _each_start_is_quick() -> Iterator[None]:
    """What takes long at the start of each client and server, and says nothing here, is not done again and again.

    A client of httpx reads all certificates of the machine; these servers speak plain HTTP. A server looks at all
    objects of its process once more, which here are those of all tests: see tests/serving/test_run.py for why.
    """
    none = SimpleNamespace(**dict.fromkeys(("collect", "freeze", "unfreeze", "disable", "enable"), lambda: 0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl, "create_default_context", functools.cache(ssl.create_default_context))
        patch.setattr(process, "gc", none)
        patch.setattr(models, "gc", none)
        yield


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
