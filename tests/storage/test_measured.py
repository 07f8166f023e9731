"""What was measured of weights is read back for these weights alone."""

from __future__ import annotations

from pathlib import Path

import pytest

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


@pytest.mark.parametrize("text", ["{", "[1]", "[" * 100_000, "\xff", "{" + " " * (1 << 20) + "}"])
def test_a_damaged_file_is_warned_of_and_blocks_nothing(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"one")
    (tmp_path / FILE).write_text(text, encoding="latin-1")
    assert read_measured(weights) == {}
    (record,) = caplog.records
    assert FILE in record.getMessage() and "ignored" in record.getMessage()
    write_measured(tmp_path, weights, "cache", {"name": "off"})
    assert read_measured(weights) == {"cache": {"name": "off"}}


def test_a_file_that_may_not_be_read_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"one")
    write_measured(tmp_path, weights, "cache", {"name": "off"})

    def refused(self: Path, *args: object, **more: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refused)  # root may read whatever the mode says
    assert read_measured(weights) == {}
    assert [FILE in record.getMessage() for record in caplog.records] == [True]
