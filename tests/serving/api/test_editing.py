"""Edits: what they may grow to."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from multigen.modalities.media import Media
from multigen.modalities.video import Video
from multigen.serving.api.editing import PixelEditMembers, edit_of
from multigen.serving.api.errors import ApiError
from multigen.serving.api.state import Limits


@pytest.mark.parametrize(
    ("restore", "fits"),
    [
        ({"name": "frames", "every": 2}, True),
        ({"name": "frames", "every": 1_000_000}, False),
        ({"name": "downsample", "factor": 1_000}, False),
        ("frames", True),
    ],
    ids=str,
)
def test_what_a_clip_is_restored_to_is_bounded(restore: str | dict[str, Any], fits: bool) -> None:
    clip = Media(torch.zeros(3, 8, 16, 16), Video(size=16, frames=8))
    given, limits = PixelEditMembers(restore=restore), Limits()
    if fits:
        assert edit_of(given, clip, limits).restore == restore
        return
    with pytest.raises(ApiError, match="restore: it makes the medium larger or longer"):
        edit_of(given, clip, limits)
