"""A small share of `python -m benchmarks --only fuzz`: a mutated file is read, or refused by name."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import fuzz


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_mutated_files_are_read_or_refused(tmp_path: Path) -> None:
    row = fuzz.fuzz(600, 1, tmp_path, warm=200)
    assert row["kinds"] >= 45
    assert row["read"] + row["refused"] == row["files"] == 600
    assert row["read"] > 100 and row["refused"] > 100
    assert row["died"] == row["unnamed"] == row["slow"] == 0
    assert row["growth_mb"] < 200
    # Every kind is damaged, and every kind is sometimes read: the mutations are neither harmless nor hopeless.
    assert sum("refused" in counts for counts in row["by_suffix"].values()) > 25


def test_the_originals_are_read(tmp_path: Path) -> None:
    made = fuzz.originals(tmp_path)
    assert {path.name: fuzz.read(fuzz.MODALITIES[kind], path) for kind, path in made} == {
        path.name: "read" for _, path in made
    }


def test_mutations_are_keyed_and_differ() -> None:
    content, other = bytes(range(256)) * 8, b"x" * 999
    runs = [
        [fuzz.mutated(content, other, np.random.default_rng([0, k])) for k in range(50)] for _ in range(2)
    ]
    assert runs[0] == runs[1]
    assert sum(one != content for one in runs[0]) > 40
    assert len(set(runs[0])) > 40
