"""The conditioner that follows media: what is where and when, what is asked for, and what is not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from multigen import registry
from multigen.conditioners import Conditioner, Extent
from multigen.errors import MultigenError, RecipeError
from multigen.modalities import Modality
from multigen.modalities.audio import Audio
from multigen.modalities.image import Image
from multigen.modalities.media import Media
from multigen.modalities.video import Video
from multigen.registry import Part

SOUND = Audio(rate=16000, seconds=2.0)
CLIP = {"name": "video", "size": 32, "frames": 16, "fps": 8.0}
THING = [{"name": "thing"}]


def conditioner(modality: Modality, name: str = "media", **args: Any) -> Conditioner:
    return registry.build("conditioner", Part(name, args), given={"modality": modality})


def falling(frames: int = 16, fps: float = 8.0, size: int = 32) -> Media:
    """A square that falls by a pixel a frame of 16."""
    video = torch.ones(3, frames, size, size)
    for k in range(frames):
        y = int(k * 16 / frames)
        video[:, k, y : y + size // 4, : size // 4] = -1.0
    return Media(video, Video(size=size, frames=frames, fps=fps))


def grid(
    one: Conditioner, conditions: list[Media | None], media: tuple[int, ...], size: tuple[int, ...]
) -> Tensor:
    found = one.along({"condition": conditions, "text": [""] * len(conditions)}, media, size)
    assert found is not None and found.shape[1] == one.spec.grid
    return found


def test_a_height_runs_along_the_sound_by_seconds() -> None:
    one = conditioner(SOUND, source=CLIP, extract=THING)
    found = grid(one, [falling(), None], (1, 32000), (128,))
    assert found[0, 0].tolist() == [1.0] * 128
    height = found[0, 2]
    assert bool((height.diff() <= 1e-6).all()) and float(height[0] - height[-1]) > 0.9
    assert found[1].abs().max() == 0
    # Of a sound of twice the length the clip is the first half.
    longer = grid(one, [falling()], (1, 64000), (256,))
    torch.testing.assert_close(longer[0, :, :126], found[0, :, :126], atol=1e-5, rtol=0)
    assert longer[0, :, 128:].abs().max() == 0


def test_a_clip_of_another_rate_and_size_says_the_same() -> None:
    one = conditioner(SOUND, source=CLIP, extract=THING)
    same = grid(one, [falling(), falling(32, 16.0)], (1, 32000), (128,))
    assert float((same[0, 2] - same[1, 2]).abs().max()) < 0.07
    large = grid(one, [falling(size=64)], (1, 32000), (128,))
    assert large.shape == (1, one.spec.grid, 128)


def test_rows_do_not_depend_on_each_other() -> None:
    one = conditioner(SOUND, source=CLIP, extract=[*THING, {"name": "frames", "features": 3}])
    some = [falling(), falling(8), falling()]
    together = grid(one, [*some], (1, 32000), (128,))
    for k, condition in enumerate(some):
        torch.testing.assert_close(together[k], grid(one, [condition], (1, 32000), (128,))[0])
    assert one({"condition": some}).vector is not None


def test_pixels_of_a_sketch_lie_on_those_of_the_picture() -> None:
    one = conditioner(
        Image(size=32), source={"name": "image", "size": 32}, extract=[{"name": "picture"}], pixels=2
    )
    picture = torch.rand(3, 32, 32) * 2 - 1
    found = grid(one, [Media(picture, Image(size=32))], (3, 32, 32), (16, 16))
    assert torch.equal(found[0, 1:], torch.nn.functional.pixel_unshuffle(picture, 2))
    small = grid(one, [Media(picture[:, ::2, ::2], Image(size=16))], (3, 32, 32), (16, 16))
    assert small.shape == found.shape


def test_a_picture_is_in_every_frame() -> None:
    one = conditioner(Video(), source={"name": "image", "size": 32}, extract=[{"name": "picture"}])
    picture = torch.rand(3, 32, 32)
    found = grid(one, [Media(picture, Image(size=32))], (3, 16, 32, 32), (16, 32, 32))
    assert torch.equal(found[0, 1:, 0], picture) and torch.equal(found[0, 1:, 15], picture)


def test_without_a_condition_it_is_the_null_condition() -> None:
    one = conditioner(SOUND, source=CLIP, extract=THING)
    batch = one.from_prompts([""])
    vector, null = one(batch).vector, one.null(1).vector
    assert vector is not None and null is not None and torch.equal(vector, null)
    assert one({"condition": [falling()]}).vector[0, 0] == 1  # type: ignore[index]
    with pytest.raises(MultigenError, match="cannot follow a prompt"):
        one.from_prompts(["a dog"])


def test_a_sound_is_as_long_as_the_clip_that_it_is_for(tmp_path: Path) -> None:
    one = conditioner(SOUND, source=CLIP, extract=THING)
    long = falling(40)
    assert one.extent("", {"condition": long}) == Extent(duration=5.0)
    assert one.extent("", {"condition": falling()}) is None
    assert one.extent("", {"condition": None}) is None
    file = falling(96, 16.0).save(tmp_path / "clip.mp4")  # 6 s: it is read in pieces
    found = one.extent("", {"condition": str(file)})
    assert found is not None and found.duration == pytest.approx(6.0, abs=0.13)
    pieces = one.asked([""], {"condition": str(file)})["condition"][0].tensor
    whole = Video(fps=8.0).read(file)
    assert pieces.shape == whole.shape
    torch.testing.assert_close(pieces, whole, atol=0.02, rtol=0)


def test_what_is_no_condition_is_refused(tmp_path: Path) -> None:
    one = conditioner(SOUND, source=CLIP, extract=THING)
    (tmp_path / "a.mp4").write_bytes(b"nothing")
    for value, said in (
        (str(tmp_path / "none.mp4"), r"condition: .*none\.mp4: no such file"),
        (str(tmp_path / "a.mp4"), r"condition: .*a\.mp4"),
        (Media(torch.zeros(1, 100), SOUND), r"condition: audio is not allowed\. Allowed: video"),
    ):
        with pytest.raises(MultigenError, match=said):
            one.asked([""], {"condition": value})
    for args, said in (
        ({"source": CLIP, "extract": [{"name": "onsets"}]}, r"onsets takes media of time"),
        ({"source": {"size": 3}, "extract": THING}, r"conditioner\.source: .*name"),
        ({"source": {"name": "vidio"}, "extract": THING}, r"conditioner\.source\.name: 'vidio'.*video"),
        ({"source": CLIP, "extract": [{"name": "thing", "x": 1}]}, r"conditioner\.extract\.0\.x"),
        ({"source": CLIP, "extract": []}, r"extract: none are named"),
    ):
        with pytest.raises(RecipeError, match=said):
            conditioner(SOUND, **args)


def test_text_and_a_medium_together() -> None:
    one = conditioner(
        Image(size=32),
        "media_text",
        source={"name": "image", "size": 32},
        extract=[{"name": "edges"}],
        pooled=True,
    )
    picture = Media(torch.rand(3, 32, 32), Image(size=32))
    cond = one.beside({"text": ["apple", "pear"], "condition": [picture, None]}, (3, 32, 32), (32, 32))
    assert cond.tokens is not None and cond.vector is not None and cond.grid is not None
    assert cond.vector.shape[1] == one.spec.vector and cond.grid.shape == (2, 2, 32, 32)
    assert cond.grid[1].abs().max() == 0 and cond.vector[1, -2:].abs().max() == 0
    null = one.null(2).without_grid(cond)
    assert null.structure == cond.structure
