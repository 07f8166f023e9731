"""Media as conditions: on the command line, in lines of JSON, in Python; what is wrong is said early."""

from __future__ import annotations

import json
from pathlib import Path

import av
import pytest
import torch

from multigen.cli.main import main
from multigen.conditioners.shown import Shown
from multigen.errors import MultigenError
from multigen.generation.request import Request
from multigen.modalities.audio import Audio
from multigen.modalities.image import Image
from multigen.modalities.media import Media
from multigen.modalities.video import Video
from multigen.model.build import build_dataset
from multigen.model.model import Model
from multigen.model.source import find
from multigen.recipe.load import load_recipe
from multigen.recipe.manifest import read
from multigen.runs.reconstructions import followed

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
    CLIP.write(clip, place / "vp9.webm")
    Image().write(clip[:, 0], place / "still.png")
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
    for row in many["files"]:  # what each was made for stays with it, whatever becomes of the user's files
        kept = row["media"]["condition"]
        assert kept["source_file"] == f"sources/{kept['source']}"
        assert (tmp_path / "lines" / kept["source_file"]).read_bytes() == (
            folder / kept["source"]
        ).read_bytes()
    assert "sources/a.mp4" in (tmp_path / "lines" / "report.html").read_text()
    with av.open(str(tmp_path / "lines" / many["files"][1]["file"])) as container:
        assert {s.type for s in container.streams} == {"audio", "video"}


def load(folder: Path) -> Model:
    return Model.of(find(str(folder / "model.safetensors")), device="cpu")


def test_the_condition_changes_what_is_made(folder: Path) -> None:
    model = load(folder)
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
        ("still.png", "condition: "),
        ("vp9.webm", "cannot be copied into an MP4"),
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


@pytest.mark.parametrize("way", [["--blend", "3", "--to-seed", "5"], ["--ray"]])
def test_blends_and_workers_refuse_what_no_file_takes_as_early(
    way: list[str], folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = ["--condition", str(folder / "vp9.webm"), "--out", str(tmp_path / "x"), *way]
    if "--blend" not in way:
        pytest.importorskip("ray", reason="--ray needs the extra")
    assert main(["sample", str(folder / "model.safetensors"), *told]) == 2
    error = capsys.readouterr().err
    assert "condition: " in error and "cannot be copied into an MP4" in error and "worker" not in error
    assert not (tmp_path / "x").exists()


def test_a_sound_alone_is_made_for_a_clip_that_no_file_takes(folder: Path, tmp_path: Path) -> None:
    source, out = str(folder / "model.safetensors"), tmp_path / "alone"
    told = ["--condition", str(folder / "vp9.webm"), "--format", "wav", "--steps", "1", "-n", "1", "--quiet"]
    assert main(["sample", source, *told, "--out", str(out)]) == 0
    assert len(list((out / "media").glob("*.wav"))) == 1


def test_a_file_is_read_once_for_all_media_that_name_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(folder)
    read_files: list[str] = []
    from_file = Shown._from_file

    def counted(self: Shown, path: Path) -> Media:
        read_files.append(path.name)
        return from_file(self, path)

    monkeypatch.setattr(Shown, "_from_file", counted)
    a, b = ({"condition": str(folder / f"{name}.mp4")} for name in "ab")
    asked = [Request(options=a, steps=1), Request(options=a, steps=2), Request(options=b, steps=1)]
    made = list(model.stream(asked, n=2, seed=1))
    assert read_files == ["a.mp4", "b.mp4"]
    assert [round(m.tensor.shape[1] / 16000, 1) for m in made] == [2.0, 2.0, 2.0, 2.0, 3.0, 3.0]
    made[0].save(tmp_path / "a.mp4")  # the pictures are those of the file, not what the network saw of them
    with av.open(str(tmp_path / "a.mp4")) as one, av.open(str(folder / "a.mp4")) as other:
        assert [bytes(p) for p in one.demux(video=0)] == [bytes(p) for p in other.demux(video=0)]


def test_two_media_in_memory_are_two_conditions(folder: Path) -> None:
    model, one = load(folder), CLIP.read(folder / "a.mp4")
    other = one.flip(3)
    together = list(
        model.stream([Request(options={"condition": c}, steps=1, seed=1) for c in (one, other, one)])
    )
    alone = model.generate(options={"condition": other}, steps=1, seed=1)[0]
    torch.testing.assert_close(together[1].tensor, alone.tensor, atol=1e-4, rtol=0)
    torch.testing.assert_close(together[0].tensor, together[2].tensor, atol=1e-4, rtol=0)
    assert not torch.allclose(together[0].tensor, together[1].tensor, atol=1e-3)


def test_a_file_that_holds_its_recipe_says_that_it_needs_the_condition(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = str(folder / "model.safetensors"), tmp_path / "told"
    told = ["--condition", str(folder / "a.mp4"), "provenance.embed_recipe=true", "--format", "wav"]
    assert main(["sample", source, *told, "--steps", "1", "-n", "1", "--quiet", "--out", str(out)]) == 0
    (file,) = (out / "media").glob("*.wav")
    assert str(folder).encode() not in file.read_bytes()  # no path of this machine
    assert main(["run", str(file), "--out", str(tmp_path / "again")]) == 2
    assert "it lacks the medium that it was made for, condition" in capsys.readouterr().err


def test_previews_of_a_training_are_made_for_conditions(tmp_path: Path) -> None:
    data = (
        '{name: conditioned, of: {name: emoji, names: ["red apple", "green apple", "lemon"], held_out: 0.3}}'
    )
    recipe = load_recipe(
        "image_control",
        [
            *("weights=null", "backbone.widths=[16,32]", "backbone.attention=[false,true]", f"data={data}"),
            *("modality.size=32", "conditioner.source.size=32", "train.init=null", "sample.steps=1"),
            *("train.steps=1", "train.batch=2", "sample.polish.passes=0"),
        ],
    )
    model = Model(recipe, device="cpu")
    dataset = build_dataset(recipe, model.modality)
    made = list(followed(model, dataset, 2, 0))
    assert [m.prompt.rpartition(", ")[2] for m in made][:2] == ["original", "for the same condition"]
    _, held = dataset.split()
    assert torch.equal(made[0].tensor, dataset[held[0]]["media"]) and made[1].tensor.shape == (3, 32, 32)
    assert (
        list(followed(Model(load_recipe("image_digits", ["weights=null"]), device="cpu"), dataset, 2, 0))
        == []
    )
