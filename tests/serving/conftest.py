"""A server that the hostile tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.hosted import Hosted, hosted, weights


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights file."""
    return weights(tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="session")
def served(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosted]:
    """A server without keys."""
    with hosted(digits, tmp_path_factory.mktemp("store"), max_queue=64) as one:
        yield one
