"""What was measured of weights is read back for these weights alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from multigen.errors import MultigenError
from multigen.storage.measured import FILE, read_measured, write_measured


def test_stages_keep_each_other_and_other_weights_outdate_both(tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"one")
    assert read_measured(weights) == {}
    write_measured(tmp_path, weights, "cache", {"name": "deep", "every": 3})
    write_measured(tmp_path, weights, "timesteps", [1.0, 0.5])
    assert read_measured(weights) == {"cache": {"name": "deep", "every": 3}, "timesteps": [1.0, 0.5]}
    weights.write_bytes(b"two")
    assert read_measured(weights) == {}
    write_measured(tmp_path, weights, "cache", {"name": "off"})
    assert read_measured(weights) == {"cache": {"name": "off"}}


@pytest.mark.parametrize("text", ["{", "[1]"])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "weights.safetensors").write_bytes(b"one")
    (tmp_path / FILE).write_text(text)
    with pytest.raises(MultigenError, match=FILE):
        read_measured(tmp_path / "weights.safetensors")
