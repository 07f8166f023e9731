"""What every test relies on."""

from __future__ import annotations

import atexit
import gc
import logging
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from typing import Any

import pytest

# Nothing downloads at run time, in tests least of all. Set before anything imports a hub client.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
# One thread for each test process: several pools on the same cores wait for each other more than they compute.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The keys that sign media in tests are not the user's. One folder serves all processes of a test run.
if "MULTIGEN_CONFIG" not in os.environ:
    os.environ["MULTIGEN_CONFIG"] = tempfile.mkdtemp(prefix="multigen-config-")
    atexit.register(shutil.rmtree, os.environ["MULTIGEN_CONFIG"], ignore_errors=True)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported and collected stays until the end: Python need not search it for garbage again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


@pytest.fixture(autouse=True, scope="module")
def _leaves_nothing() -> Iterator[None]:
    """The tests of a file leave nothing behind that a file after them, in the same process, would see."""
    before, level = _shared(), logging.getLogger("multigen").level
    yield
    logging.getLogger("multigen").setLevel(level)  # which every command sets
    after = _shared()
    left = {name: (value, after[name]) for name, value in before.items() if after[name] != value}
    assert not left, f"this file leaves changed what other files rely on (before, after): {left}"


def _shared() -> dict[str, Any]:
    """What all tests of a process share. Names that a file registers when it is imported: see tests/test_house.py."""
    import torch

    from multigen import registry

    return {
        "parts": dict(registry._registered),
        "working folder": os.getcwd(),
        "environment": {
            k: v for k, v in os.environ.items() if k in ("HOME", "PATH") or k.startswith("MULTIGEN_")
        },
        "torch": (torch.get_default_dtype(), torch.is_grad_enabled()),
    }
