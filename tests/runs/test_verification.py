"""What `multigen verify` finds out about files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from multigen.modalities.image import Image
from multigen.runs.verification import check


@pytest.mark.parametrize(
    ("key", "said"), [("x", "no key of watermarks"), ("ab" * 32, "no watermark of this key")]
)
def test_a_key_that_is_none_and_a_file_without_a_mark_alter_no_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, said: str
) -> None:
    Image(size=64).write(torch.rand(3, 64, 64) * 2 - 1, tmp_path / "a.png")
    monkeypatch.setenv("MULTIGEN_WATERMARK_KEY", key)
    rows = {row.check: row for row in check(tmp_path / "a.png")}
    assert rows["watermark"].verdict == "absent" and said in rows["watermark"].text
    assert rows["signature"].verdict == "unsigned"


def test_what_carries_no_mark_is_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTIGEN_WATERMARK_KEY", "ab" * 32)
    (tmp_path / "a.pcm").write_bytes(bytes(64))
    assert {row.verdict for row in check(tmp_path / "a.pcm")} <= {"absent", "unsigned"}
