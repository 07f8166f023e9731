"""Videos that begin with a file: what it is brought to is bounded before it is."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
import torch
from PIL import Image

from multigen.modalities.media import Media
from multigen.modalities.video import Video
from tests.serving.servers import Running


@pytest.mark.parametrize("name", ["first.png", "clip.webm"])
def test_what_a_file_is_brought_to_is_bounded(served: Running, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if path.suffix == ".png":
        Image.new("RGB", (16, 16)).save(path)
    else:
        Media(torch.zeros(3, 8, 16, 16), Video(size=16, frames=8)).save(path)
    form = {"model": "moving", "prompt": "panda", "steps": "2", "size": "992x992", "seconds": "30"}
    files = {"input_reference": (name, path.read_bytes())}
    answer = httpx.post(f"{served.url}/v1/videos", data=form, files=files, timeout=60)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == "size" and "1,000,000" in answer.json()["error"]["message"]
