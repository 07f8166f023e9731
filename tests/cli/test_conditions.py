"""Media as conditions: on the command line, in lines of JSON, in Python; what is wrong is said early."""

from __future__ import annotations

import json
from pathlib import Path

import av
import pytest
import torch

from multigen.cli.main import main
from multigen.errors import MultigenError
from multigen.modalities.audio import Audio
from multigen.modalities.media import Media
from multigen.modalities.video import Video
from multigen.model.model import Model
from multigen.recipe.load import load_recipe
from multigen.recipe.manifest import read

SMALL = ["weights=null", "backbone.widths=[16,32]", "backbone.attention=[false,true]", "codec.iterations=2"]
CLIP = Video(size=32, frames=16, fps=8.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("conditions")
    model = Model(load_recipe("audio_for_video", SMALL), device="cpu")
    with torch.no_grad():
        for k, p in enumerate(model.denoiser.parameters()):
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(k)))
    rng = torch.Generator().manual_seed(0)
    model.codec.fit([0.3 * torch.randn(model.modality.shape(), generator=rng) for _ in range(2)])
    model.save(place / "model.safetensors")
    for name, frames in (("a", 16), ("b", 24)):
        clip = torch.ones(3, frames, 32, 32)
        for k in range(frames):
            clip[:, k, k % 24 : k % 24 + 8, 4:12] = -1.0
        CLIP.write(clip, place / f"{name}.mp4")
    Audio(rate=16000).write(torch.zeros(1, 16000), place / "silence.wav")
    return place


def test_lines_and_options_make_a_sound_as_long_as_its_clip(folder: Path, tmp_path: Path) -> None:
    source = str(folder / "model.safetensors")
    a, b = (str(folder / f"{name}.mp4") for name in "ab")
    (tmp_path / "lines.jsonl").write_text(
        json.dumps({"condition": a}) + "\n" + json.dumps({"condition": b}) + "\n"
    )
    lines = ["--prompts", str(tmp_path / "lines.jsonl")]
    common = ["--steps", "2", "--seed", "1", "--quiet"]
    assert main(["sample", source, *lines, *common, "--out", str(tmp_path / "lines")]) == 0
    assert main(["sample", source, "--condition", a, *common, "--out", str(tmp_path / "one")]) == 0
    many, one = (read(tmp_path / name) for name in ("lines", "one"))
    assert many is not None and one is not None
    assert [Path(f["options"]["condition"]).name for f in many["files"]] == ["a.mp4", "b.mp4"]
    assert many["files"][0]["unsigned_sha256"] == one["files"][0]["unsigned_sha256"]
    assert one["asked"]["condition"].startswith("a.mp4 (sha256 ")
    lengths = [Audio(rate=16000).read(tmp_path / "lines" / f["file"]).shape[1] for f in many["files"]]
    assert [round(n / 16000, 1) for n in lengths] == [2.0, 3.0]
    with av.open(str(tmp_path / "lines" / many["files"][1]["file"])) as container:
        assert {s.type for s in container.streams} == {"audio", "video"}


def test_the_condition_changes_what_is_made(folder: Path) -> None:
    model = Model.of(
        __import__("multigen").model.source.find(str(folder / "model.safetensors")), device="cpu"
    )
    a, none = (
        model.generate(steps=2, seed=1, options=o)[0].tensor
        for o in ({"condition": str(folder / "a.mp4")}, {})
    )
    assert a.shape == none.shape and not torch.equal(a, none)
    same = model.generate(steps=2, seed=1, options={"condition": Media(CLIP.read(folder / "a.mp4"), CLIP)})
    assert torch.equal(same[0].tensor, a)
    for wrong in (3, Media(torch.zeros(1, 10), model.modality)):
        with pytest.raises(MultigenError, match="condition: "):
            model.generate(options={"condition": wrong})


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("nothing.mp4", "nothing.mp4: no such file"),
        ("silence.wav", "there is no video in it"),
        (".", "is a folder"),
    ],
)
def test_a_wrong_condition_is_refused_early(
    value: str, said: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, path = str(folder / "model.safetensors"), str(folder / value)
    assert main(["sample", source, "--condition", path, "--out", str(tmp_path / "x")]) == 2
    error = capsys.readouterr().err
    assert said in error and "condition" in error
    (tmp_path / "lines").write_text(json.dumps({"condition": path}))
    assert main(["sample", source, "--prompts", str(tmp_path / "lines"), "--out", str(tmp_path / "x")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
