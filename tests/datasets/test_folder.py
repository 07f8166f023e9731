"""The user's own files: real files of many kinds in a folder, and what can be wrong with it."""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from torch import Tensor

from multigen import registry
from multigen.core.noise import stream
from multigen.datasets import scan
from multigen.datasets.captions import from_name
from multigen.datasets.folder import Folder
from multigen.errors import MediaError, RecipeError
from multigen.modalities import Info, guard
from multigen.modalities.audio import Audio
from multigen.modalities.image import Image
from multigen.modalities.video import Video
from multigen.model.build import build_dataset, resolve
from multigen.recipe.load import load_recipe
from multigen.registry import Part


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTIGEN_CACHE", str(tmp_path_factory.mktemp("cache")))


def paint(path: Path, colour: tuple[int, ...] = (255, 0, 0), size: tuple[int, int] = (40, 30)) -> Path:
    """A picture of one colour, size (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[len(colour)]
    PillowImage.new(mode, size, colour[0] if len(colour) == 1 else colour).save(path)
    return path


def play(path: Path, seconds: float, rate: int = 22050, hertz: float = 440.0, channels: int = 1) -> Path:
    """A sine at half of full scale."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = 0.5 * torch.sin(2 * math.pi * hertz * torch.arange(round(seconds * rate)) / rate)
    Audio(rate=rate, channels=channels).write(wave.expand(channels, -1), path)
    return path


def ramp(path: Path, seconds: float, rate: int = 8000) -> Path:
    """A sound whose level tells its time: 0 to 0.8 over the whole."""
    Audio(rate=rate).write(torch.linspace(0, 0.8, round(seconds * rate))[None], path)
    return path


def film(path: Path, frames: int, fps: float = 8.0, size: tuple[int, int] = (48, 64)) -> Path:
    """Grey frames, each lighter than the one before: -0.9 to 0.9."""
    levels = torch.linspace(-0.9, 0.9, frames)[None, :, None, None].expand(3, frames, *size)
    Video(size=size, frames=frames, fps=fps).write(levels, path)
    return path


def lines(path: Path, *rows: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows), encoding="utf-8"
    )


def load(modality: Any, path: Path, **settings: Any) -> Folder:
    return Folder(modality=modality, path=str(path), **settings)


def pictures(path: Path, **settings: Any) -> Folder:
    return load(Image(size=16), path, **settings)


# --- pictures -------------------------------------------------------------------------------------------------


def test_pictures_of_any_format_size_and_mode_become_items(tmp_path: Path) -> None:
    paint(tmp_path / "a.png", (255, 0, 0), (100, 30))
    paint(tmp_path / "deep" / "er" / "b.JPG", (0, 255, 0), (16, 16))
    paint(tmp_path / "c.webp", (0, 0, 255), (7, 90))
    paint(tmp_path / "d.png", (255,), (3, 3))
    paint(tmp_path / "e.png", (0, 0, 0, 0))  # transparent: the background shows
    paint(tmp_path / ".hidden.png")
    paint(tmp_path / ".folder" / "f.png")
    (tmp_path / "notes.md").write_text("no media")
    data = pictures(tmp_path)
    assert [data[i]["id"] for i in range(len(data))] == ["a.png", "c.webp", "d.png", "deep/er/b.JPG", "e.png"]
    assert data.bad == {}
    expected = [(1, -1, -1), (-1, -1, 1), (1, 1, 1), (-1, 1, -1), (1, 1, 1)]
    for i, colour in enumerate(expected):
        media = data[i]["media"]
        assert media.shape == (3, 16, 16)
        torch.testing.assert_close(media.mean((1, 2)), torch.tensor(colour).float(), atol=0.06, rtol=0)
        assert data[i].get("text") == ""
        assert "label" not in data[i]


def test_item_is_the_centre_and_draw_comes_from_the_generator_alone(tmp_path: Path) -> None:
    levels = np.zeros((30, 90, 3), np.uint8)
    levels[:, 30:60] = 255  # white in the middle third
    PillowImage.fromarray(levels).save(tmp_path / "a.png")
    data = pictures(tmp_path, crop=0.5, flip=True, brightness=0.1)
    assert data[0]["media"][:, :, 2:-2].min() > 0.95
    assert torch.equal(data[0]["media"], data[0]["media"])
    one, same, other = (data.draw(0, stream(k))["media"] for k in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    # The same with a fresh dataset that has read nothing yet, and with one that keeps nothing.
    for memory in (1.0, 0.0):
        fresh = pictures(tmp_path, crop=0.5, flip=True, brightness=0.1, memory=memory)
        assert torch.equal(fresh.draw(0, stream(1))["media"], one)


def test_large_pictures_are_decoded_once_and_reduced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paint(tmp_path / "a.png", (10, 200, 90), (400, 200))
    reads: list[Path] = []
    read = Image.read

    def counted(self: Image, path: Path, **span: Any) -> Tensor:
        reads.append(path)
        return read(self, path, **span)

    monkeypatch.setattr(guard, "AVAILABLE", False)  # count in this process
    monkeypatch.setattr(Image, "read", counted)
    data = pictures(tmp_path, crop=0.25)
    for k in range(5):
        assert data.draw(0, stream(k))["media"].shape == (3, 16, 16)
    assert len(reads) == 1
    (kept,) = data._pictures.values()
    assert kept.shape == (3, 32, 64)  # a quarter of its area still has 16 rows
    without = pictures(tmp_path, memory=0.0)
    reads.clear()
    assert torch.equal(without[0]["media"], without[0]["media"])
    assert len(reads) == 2


def test_crop_takes_parts_of_the_share_asked_for(tmp_path: Path) -> None:
    row = np.linspace(0, 255, 64).round().astype(np.uint8)
    PillowImage.fromarray(np.broadcast_to(row, (64, 64)).copy()).save(tmp_path / "a.png")
    data = load(Image(size=32, channels=1), tmp_path, crop=0.25)
    widths = []
    for k in range(200):
        media = data.draw(0, stream(k))["media"][0, 16]
        widths.append((media[-1] - media[0]).item() / 2)  # share of the width that is seen
    assert 0.45 < min(widths) < 0.6
    assert max(widths) > 0.9


# --- captions -------------------------------------------------------------------------------------------------


def test_captions_from_side_texts_with_alternatives(tmp_path: Path) -> None:
    paint(tmp_path / "a.png")
    paint(tmp_path / "b.png")
    paint(tmp_path / "c.png")
    (tmp_path / "a.txt").write_text("\ufeffein Apfel \n\n  a   red apple\n", encoding="utf-8")
    (tmp_path / "b.txt").write_text("", encoding="utf-8")
    data = pictures(tmp_path)
    assert [data[i].get("text") for i in range(3)] == ["ein Apfel", "", ""]
    drawn = [data.draw(0, stream(k)).get("text") for k in range(100)]
    assert set(drawn) == {"ein Apfel", "a red apple"}
    assert 25 < drawn.count("ein Apfel") < 75
    assert [pictures(tmp_path, captions="none")[i].get("text") for i in range(3)] == ["", "", ""]


def test_captions_from_metadata_win_over_texts(tmp_path: Path) -> None:
    paint(tmp_path / "a.png")
    paint(tmp_path / "sub" / "b.png")
    paint(tmp_path / "c.png")
    (tmp_path / "a.txt").write_text("from txt")
    (tmp_path / "c.txt").write_text("c from txt")
    first = {"file_name": "a.png", "text": "from\u2028metadata", "score": 3}
    lines(tmp_path / scan.METADATA, first, "", {"file_name": "a.png", "text": ["another"]})
    lines(tmp_path / "sub" / scan.METADATA, {"file_name": "b.png", "text": "relative to its own folder"})
    data = pictures(tmp_path)
    assert [data[i].get("text") for i in range(3)] == [
        "from metadata",
        "c from txt",
        "relative to its own folder",
    ]
    assert {data.draw(0, stream(k)).get("text") for k in range(30)} == {"from metadata", "another"}
    assert [pictures(tmp_path, captions="txt")[i].get("text") for i in range(3)] == [
        "from txt",
        "c from txt",
        "",
    ]
    only = pictures(tmp_path, captions="metadata")
    assert [only[i].get("text") for i in range(3)] == ["from metadata", "", "relative to its own folder"]


def test_captions_from_names_only_where_asked_for(tmp_path: Path) -> None:
    paint(tmp_path / "red_apple-02.png")
    assert pictures(tmp_path)[0].get("text") == ""
    assert pictures(tmp_path, captions="name")[0].get("text") == "red apple"
    names = {
        "IMG_2041.jpg": "IMG",
        "a  tree (3).png": "a tree",
        "007.png": "",
        "v2.png": "v2",
        "blue.sky.png": "blue sky",
    }
    assert {name: from_name(Path(name)) for name in names} == names


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ('{"file_name": "a.png", "text": ', "line 2: not valid JSON"),
        ({"text": "no file"}, "line 2: no \"file_name\" with the name of a file. Found: 'text'"),
        (["a.png"], 'line 2: no "file_name"'),
        ({"file_name": 3}, 'line 2: no "file_name"'),
        ({"file_name": "../a.png"}, "line 2: file_name '../a.png' is not allowed"),
        ({"file_name": "b/../../a.png"}, "without '..'"),
        ({"file_name": "/etc/passwd"}, "line 2: file_name '/etc/passwd' is not allowed"),
        ({"file_name": "C:\\a.png"}, "is not allowed"),
        ({"file_name": "..\\a.png"}, "is not allowed"),
        ({"file_name": "a.png\0"}, "is not allowed"),
        ({"file_name": "a.png", "text": 7}, "line 2: text 7 is not allowed"),
        ({"file_name": "a.png", "text": "\ud800"}, "line 2: text is not valid Unicode"),
        ({"file_name": "a.png", "label": 1.5}, "line 2: label 1.5 is not allowed"),
        ("[" * 100_000, "line 2: not valid JSON"),
    ],
)
def test_broken_metadata_is_refused_with_its_line(tmp_path: Path, row: object, text: str) -> None:
    paint(tmp_path / "a.png")
    paint(tmp_path.parent / "a.png")
    lines(tmp_path / scan.METADATA, {"file_name": "a.png", "text": "fine"}, row)
    with pytest.raises(RecipeError) as caught:
        pictures(tmp_path)
    assert text in str(caught.value)
    assert scan.METADATA in str(caught.value)


def test_files_that_metadata_names_but_that_are_not_there_are_listed(tmp_path: Path) -> None:
    paint(tmp_path / "a.png")
    (tmp_path / "b.xyz").write_text("b")
    rows = [{"file_name": name, "text": name} for name in ("a.png", "gone.png", "b.xyz")]
    lines(tmp_path / scan.METADATA, *rows)
    data = pictures(tmp_path)
    assert len(data) == 1
    assert set(data.bad) == {str(tmp_path / "gone.png"), str(tmp_path / "b.xyz")}
    assert "no such file" in data.bad[str(tmp_path / "gone.png")]
    assert "line 2" in data.bad[str(tmp_path / "gone.png")]
    assert "not a file of this kind" in data.bad[str(tmp_path / "b.xyz")]


def test_captions_asked_for_that_are_not_there_are_refused(tmp_path: Path) -> None:
    paint(tmp_path / "a.png")
    with pytest.raises(RecipeError, match=r"data.captions: txt, but no file"):
        pictures(tmp_path, captions="txt")
    with pytest.raises(RecipeError, match=r"data.captions: metadata, but no metadata.jsonl"):
        pictures(tmp_path, captions="metadata")
    (tmp_path / "a.txt").write_bytes(b"caf\xe9")
    with pytest.raises(RecipeError, match=r"a.txt: not UTF-8 text \(byte 3\)"):
        pictures(tmp_path)
    (tmp_path / "a.txt").write_text("x" * 100_000)
    with pytest.raises(RecipeError, match="too long for a caption"):
        pictures(tmp_path)


# --- labels ---------------------------------------------------------------------------------------------------


def test_labels_from_sub_folders_and_the_class_as_caption(tmp_path: Path) -> None:
    for name in ("cat/1.png", "cat/old/2.png", "ape/1.png", "bee/x.png"):
        paint(tmp_path / name)
    (tmp_path / "bee" / "x.txt").write_text("a bee")
    (tmp_path / "bee" / "y.png").write_bytes(b"not a picture")
    data = pictures(tmp_path)
    assert data.classes == ("ape", "bee", "cat")
    found = {
        item["id"]: (item.get("label"), item.get("text")) for item in (data[i] for i in range(len(data)))
    }
    assert found == {
        "ape/1.png": (0, "ape"), "bee/x.png": (1, "a bee"), "cat/1.png": (2, "cat"), "cat/old/2.png": (2, "cat"),
    }  # fmt: skip
    assert "label" not in pictures(tmp_path, labels="none")[0]
    assert pictures(tmp_path, labels="none").classes == ()


def test_labels_auto_needs_every_file_in_one_of_several_folders(tmp_path: Path) -> None:
    paint(tmp_path / "cat" / "1.png")
    assert pictures(tmp_path).classes == ()
    assert pictures(tmp_path, labels="folders").classes == ("cat",)
    paint(tmp_path / "ape" / "1.png")
    paint(tmp_path / "loose.png")
    assert pictures(tmp_path).classes == ()
    with pytest.raises(RecipeError, match=r"1 of 3 files lie in no sub-folder of .*loose.png"):
        pictures(tmp_path, labels="folders")


def test_a_file_that_goes_bad_does_not_renumber_the_classes(tmp_path: Path) -> None:
    for name in ("ape/1.png", "bee/1.png", "cat/1.png"):
        paint(tmp_path / name)
    (tmp_path / "ape" / "1.png").write_bytes(b"")
    data = pictures(tmp_path)
    assert data.classes == ("ape", "bee", "cat")
    assert [data[i].get("label") for i in range(len(data))] == [1, 2]


def test_labels_from_metadata(tmp_path: Path) -> None:
    paint(tmp_path / "x" / "a.png")
    paint(tmp_path / "y" / "b.png")
    rows: list[dict[str, object]] = [
        {"file_name": "x/a.png", "label": "zebra"},
        {"file_name": "y/b.png", "label": "cow"},
    ]
    lines(tmp_path / scan.METADATA, *rows)
    data = pictures(tmp_path)
    assert data.classes == ("cow", "zebra")
    assert [data[i].get("label") for i in range(2)] == [1, 0]
    assert pictures(tmp_path, labels="folders").classes == ("x", "y")
    lines(tmp_path / scan.METADATA, {**rows[0], "label": 4}, {**rows[1], "label": 0})
    assert pictures(tmp_path).classes == ("0", "1", "2", "3", "4")
    for bad, text in [
        (rows[:1], "gives a label to 1 of 2 files, none to y/b.png"),
        ([rows[0], {**rows[1], "label": 0}], "mixes names and numbers"),
        ([{**rows[0], "label": -1}, {**rows[1], "label": 0}], "labels from -1 to 0"),
        (
            [*rows, {**rows[0], "label": "ox"}],
            "line 3: label 'ox', but an earlier line gives",
        ),
    ]:
        lines(tmp_path / scan.METADATA, *bad)
        with pytest.raises(RecipeError, match=text):
            pictures(tmp_path)


# --- sound ----------------------------------------------------------------------------------------------------


def test_sounds_of_any_rate_format_and_channels(tmp_path: Path) -> None:
    play(tmp_path / "a.wav", 1.2, 8000, 440)
    play(tmp_path / "b.mp3", 1.2, 44100, 440, channels=2)
    play(tmp_path / "c.flac", 1.2, 96000, 440)
    play(tmp_path / "d.ogg", 1.2, 48000, 440, channels=2)
    play(tmp_path / "short.wav", 0.01)
    data = load(Audio(rate=16000, seconds=1.0), tmp_path)
    assert len(data) == 5
    for i in range(4):
        media = data[i]["media"]
        assert media.shape == (1, 16000)
        spectrum = torch.fft.rfft(media[0] * torch.hann_window(16000)).abs()
        assert int(spectrum.argmax()) == 440
        # Encoders keep the level to 3%; channels summed or halved on the way to one are 30% off or more.
        assert media[0, 4000:12000].square().mean().sqrt().item() == pytest.approx(0.5 / 2**0.5, rel=0.1)
    assert data[4]["media"].shape == (1, 16000)
    assert data[4]["media"][0, 400:].abs().max() == 0  # silence after its 10 ms


def test_a_long_sound_gives_a_segment_for_each_duration(tmp_path: Path) -> None:
    ramp(tmp_path / "long.wav", 10.5)
    ramp(tmp_path / "short.wav", 0.5)
    data = load(Audio(rate=8000, seconds=2.0), tmp_path)
    assert [data[i]["id"] for i in range(len(data))] == [
        "long.wav@0s", "long.wav@2s", "long.wav@4s", "long.wav@6s", "long.wav@8s", "short.wav",
    ]  # fmt: skip
    per_second = 0.8 / 10.5
    for k in range(5):
        media = data[k]["media"][0]
        assert media[0].item() == pytest.approx(2 * k * per_second, abs=2e-3)
        assert media[-1].item() == pytest.approx((2 * k + 2) * per_second, abs=2e-3)
    # Drawn spans begin anywhere in their segment, and the last ones reach the very end.
    begins = torch.tensor(
        [[data.draw(k, stream(s))["media"][0, 0].item() / per_second for s in range(60)] for k in (1, 4)]
    )
    assert begins[0].min() == pytest.approx(2, abs=0.15)
    assert begins[0].max() == pytest.approx(4, abs=0.15)
    assert begins[1].min() == pytest.approx(8, abs=0.05)
    assert begins[1].max() == pytest.approx(8.5, abs=0.05)


@pytest.mark.parametrize(
    ("seconds", "segment", "count"),
    [
        (1.0, None, 1),
        (2.0, None, 1),
        (3.99, None, 2),
        (4.0, None, 2),
        (5.9, None, 2),
        (10.0, 1.0, 9),
        (30.0, 10.0, 3),
    ],
)
def test_segment_counts(tmp_path: Path, seconds: float, segment: float | None, count: int) -> None:
    ramp(tmp_path / "a.wav", seconds, 1000)
    data = load(Audio(rate=1000, seconds=2.0), tmp_path, segment=segment)
    assert len(data) == count
    for i in range(count):
        assert data[i]["media"].shape == data.draw(i, stream(i))["media"].shape == (1, 2000)


def test_stretched_and_shifted_sounds_keep_their_shape(tmp_path: Path) -> None:
    play(tmp_path / "a.wav", 6.0, 16000, 1000)
    modality = Audio(rate=16000, seconds=2.0)
    data = load(modality, tmp_path, time_stretch=0.25, pitch=3, gain=6)
    peaks, levels = [], []
    for k in range(24):
        media = data.draw(k % len(data), stream(k))["media"]
        assert media.shape == (1, 32000)
        assert media.abs().max() <= 1
        assert media[0, -800:].abs().max() > 0.1  # stretched from a longer span, not padded
        spectrum = torch.fft.rfft(media[0] * torch.hann_window(32000)).abs()
        peaks.append(12 * math.log2(int(spectrum.argmax()) / 2 / 1000))
        levels.append(20 * math.log10(media[0, 8000:24000].square().mean().sqrt().item() / (0.5 / 2**0.5)))
    assert -3.05 <= min(peaks) < -1.5
    assert 1.5 < max(peaks) <= 3.05
    assert -6.1 <= min(levels) < -2
    assert 2 < max(levels) <= 6.1


# --- video ----------------------------------------------------------------------------------------------------


def test_videos_of_any_rate_become_clips_at_the_modality_rate(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", 40, fps=8)  # 5 s
    film(tmp_path / "b.mp4", 75, fps=25, size=(64, 48))  # 3 s
    film(tmp_path / "one.mp4", 1)
    data = load(Video(size=16, frames=16, fps=8), tmp_path, flip=True, hue=20)
    assert [data[i]["id"] for i in range(len(data))] == ["a.mp4@0s", "a.mp4@2s", "b.mp4", "one.mp4"]
    for i in range(4):
        assert data[i]["media"].shape == data.draw(i, stream(i))["media"].shape == (3, 16, 16, 16)
    second = data[1]["media"].mean((0, 2, 3))
    expected = torch.linspace(-0.9, 0.9, 40)[16:32]
    torch.testing.assert_close(second, expected, atol=0.03, rtol=0)
    ratio = data[2]["media"].mean((0, 2, 3))  # frames at 0, 1/8, ... s of 25 fps
    shown = torch.linspace(-0.9, 0.9, 75)[(torch.arange(16) / 8 * 25 + 1e-6).long()]
    torch.testing.assert_close(ratio, shown, atol=0.04, rtol=0)
    still = data[3]["media"]
    assert torch.equal(still, still[:, :1].expand_as(still))


# --- splits ---------------------------------------------------------------------------------------------------


def test_split_keeps_files_whole_and_stays_as_files_are_added(tmp_path: Path) -> None:
    modality = Audio(rate=1000, seconds=1.0)
    source = ramp(tmp_path / "source.wav", 3.0, 1000)
    folder = tmp_path / "songs"
    folder.mkdir()

    def sides(count: int) -> tuple[set[str], set[str]]:
        for k in range(count):
            if not (folder / f"{k:03}.wav").exists():
                shutil.copy(source, folder / f"{k:03}.wav")
        data = load(modality, folder, held_out=0.2)
        train, out = ({data[i]["id"] for i in side} for side in data.split())
        assert len(train) + len(out) == len(data) == 3 * count
        return train, out

    train, out = sides(40)
    assert not {i.partition("@")[0] for i in train} & {i.partition("@")[0] for i in out}
    assert 6 <= len(out) <= 48
    more_train, more_out = sides(60)
    assert train <= more_train
    assert out <= more_out
    moved = tmp_path / "elsewhere"
    shutil.move(folder, moved)
    data = load(modality, moved, held_out=0.2)
    assert {data[i]["id"] for i in data.split()[1]} == more_out
    nothing = load(modality, moved, held_out=0.0)
    assert list(nothing.split()[1]) == []


# --- bad files ------------------------------------------------------------------------------------------------


def test_bad_files_are_left_out_and_named_once(tmp_path: Path) -> None:
    for k in range(97):
        paint(tmp_path / f"{k:02}.png", (k, k, k), (20, 20))
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("this is no picture")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "folder.png").mkdir()
    data = pictures(tmp_path)
    assert len(data) == 97
    assert sorted(Path(p).name for p in data.bad) == ["empty.png", "gone.png", "text.jpg"]
    assert "the file is empty" in data.bad[str(tmp_path / "empty.png")]
    assert "not a picture" in data.bad[str(tmp_path / "text.jpg")]
    assert "No such file" in data.bad[str(tmp_path / "gone.png")]
    assert all(why.startswith(path) for path, why in data.bad.items())


def test_files_damaged_behind_their_header_raise_when_drawn(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    PillowImage.fromarray(noise).save(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(content[: len(content) // 2])
    paint(tmp_path / "later.png")
    data = pictures(tmp_path)
    assert len(data) == 3
    for read in (lambda: data[1], lambda: data.draw(1, stream(0))):
        with pytest.raises(MediaError, match=r"cut.jpg"):
            read()
    (tmp_path / "later.png").unlink()
    with pytest.raises(MediaError, match="no such file"):
        data.draw(2, stream(0))


def test_damaged_sounds_and_videos(tmp_path: Path) -> None:
    good = play(tmp_path / "good.wav", 2.0)
    (tmp_path / "cut.wav").write_bytes(good.read_bytes()[:30])
    (tmp_path / "fake.mp3").write_text("#EXTM3U\n/etc/passwd\n")
    data = load(Audio(seconds=1.0), tmp_path)
    assert {data[i]["id"].partition("@")[0] for i in range(len(data))} == {"good.wav"}
    assert {Path(p).name for p in data.bad} == {"cut.wav", "fake.mp3"}
    clip = film(tmp_path / "good.mp4", 16)
    (tmp_path / "cut.mp4").write_bytes(clip.read_bytes()[:400])
    clips = load(Video(size=16), tmp_path)
    assert [clips[i]["id"] for i in range(len(clips))] == ["good.mp4"]
    assert [Path(p).name for p in clips.bad] == ["cut.mp4"]


def test_over_the_limits_is_left_out(tmp_path: Path) -> None:
    paint(tmp_path / "a.png")
    paint(tmp_path / "big.png", size=(200, 200))
    data = load(Image(size=16, max_pixels=10_000), tmp_path)
    assert len(data) == 1
    assert "max_pixels" in data.bad[str(tmp_path / "big.png")]


def test_what_is_no_panorama_is_not_turned(tmp_path: Path) -> None:
    """As wide as the shape within 2%; a picture that lies on its side by its EXIF is looked at upright."""
    small = Image(size=(16, 32))
    paint(tmp_path / "a.png", size=(100, 50))
    paint(tmp_path / "b.png", size=(101, 50))
    paint(tmp_path / "c.png", size=(60, 40))
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    PillowImage.new("RGB", (50, 100)).save(tmp_path / "d.jpg", exif=exif)
    data = load(small, tmp_path, turn=True)
    assert data._names == ["a.png", "b.png", "d.jpg"]
    assert "c.png: 60 x 40 is not allowed with turn" in data.bad[str(tmp_path / "c.png")]
    assert "c.png" in data.summary() and len(load(small, tmp_path)) == 4
    paint(tmp_path / "b.png", size=(50, 50))  # after its header was read
    with pytest.raises(MediaError, match=r"b\.png: 50 x 50 is not allowed with turn.* as 32 x 16"):
        data.draw(1, stream(0))


@pytest.mark.parametrize("size", [(201, 100), (1290, 640), (128, 64)])
def test_a_panorama_that_is_not_quite_twice_as_wide_stays_whole(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    """One smooth period from side to side: its step across the seam is that of all other columns."""
    wave = np.sin(2 * np.pi * np.arange(size[0]) / size[0]) * 100 + 127
    levels = np.broadcast_to(wave.round().astype(np.uint8)[None, :, None], (size[1], size[0], 3))
    PillowImage.fromarray(np.ascontiguousarray(levels)).save(tmp_path / "a.png")
    for item in (data := load(Image(size=(32, 64)), tmp_path, turn=True))[0], data.draw(0, stream(1)):
        row = item["media"][0, 16]
        steps = (row - row.roll(1)).abs()
        turned = 2 * np.pi / 64 * 100 / 127.5  # the steepest
        assert steps.max() < turned + 2 / 127.5  # both levels are rounded
        assert float((torch.fft.rfft(row).abs()[2:] ** 2).sum() / torch.fft.rfft(row)[1].abs() ** 2) < 1e-3


def test_a_clip_that_is_no_panorama_is_not_turned(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", 8, size=(32, 64))
    film(tmp_path / "b.mp4", 8, size=(48, 64))
    data = load(Video(size=(16, 32), frames=4, fps=8), tmp_path, turn=True)
    assert data.draw(0, stream(0))["media"].shape == (3, 4, 16, 32)
    with pytest.raises(MediaError, match=r"b\.mp4: 64 x 48 is not allowed with turn"):
        data.draw(len(data) - 1, stream(0))


def test_all_bad_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(
        RecipeError, match=r"none of the 1 image files in .* can be read. The first: .*a.png: the file is"
    ):
        pictures(tmp_path)


# --- finding the folder ---------------------------------------------------------------------------------------


def test_path_must_be_given() -> None:
    with pytest.raises(RecipeError) as caught:
        registry.build("dataset", Part("folder"), where="data", given={"modality": Image()})
    expected = "data.path: say where your files are, e.g. multigen run image_folder data.path=./my_files"
    assert str(caught.value) == expected


def test_path_is_relative_to_here_and_tilde_is_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paint(tmp_path / "mine" / "a.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for path in ("mine", "./mine", "~/mine", "mine/"):
        assert len(load(Image(size=16), Path(path))) == 1


def test_missing_folders_name_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "my_pictures").mkdir()
    with pytest.raises(RecipeError, match=r"no folder .*my_pictrues. Did you mean '.*/my_pictures'\?"):
        pictures(tmp_path / "my_pictrues")
    with pytest.raises(RecipeError, match=r"Did you mean '.*/my_pictures'\?"):
        pictures(tmp_path / "my_picture" / "deeper")
    with pytest.raises(RecipeError, match=r"no folder .*quite_other. .* exists."):
        pictures(tmp_path / "quite_other")
    paint(tmp_path / "a.png")
    with pytest.raises(RecipeError, match=r"a.png is a file; give the folder that holds it"):
        pictures(tmp_path / "a.png")


def test_empty_folders_say_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(
        RecipeError, match=r"no audio files in .* Looked for: .wav .flac .mp3 .*Found: nothing\."
    ):
        load(Audio(), tmp_path)
    paint(tmp_path / "a.png")
    paint(tmp_path / "b.png")
    (tmp_path / "c.txt").write_text("c")
    with pytest.raises(RecipeError, match=r"Found: 2 .png, 1 .txt"):
        load(Audio(), tmp_path)


def test_links_are_followed_once(tmp_path: Path) -> None:
    paint(tmp_path / "real" / "a.png")
    (tmp_path / "real" / "loop").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "up").symlink_to(tmp_path)
    paint(tmp_path / "other" / "b.png")
    (tmp_path / "real" / "more").symlink_to(tmp_path / "other")
    data = pictures(tmp_path / "real", labels="none")
    assert [data[i]["id"] for i in range(len(data))] == ["a.png", "more/b.png"]


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
def test_names_that_are_not_unicode_do_no_harm(tmp_path: Path) -> None:
    paint(tmp_path / "ä é 🍎.png")
    raw = os.fsencode(tmp_path) + b"/caf\xe9.png"
    shutil.copy(tmp_path / "ä é 🍎.png", os.fsdecode(raw))
    for _ in range(2):  # the second time from what was remembered
        data = pictures(tmp_path)
        assert sorted(data[i]["id"] for i in range(2)) == ["caf\\xe9.png", "ä é 🍎.png"]
        assert sum(map(len, data.split())) == 2


# --- settings and start-up ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "args", "text"),
    [
        ("image", {"pitch": 2.0}, "data (folder): pitch: does not apply to image. Allowed: flip, crop"),
        ("image", {"segment": 2.0}, "segment: 2.0 does not apply to image"),
        (
            "audio",
            {"flip": True},
            "data (folder): flip: does not apply to audio. Allowed: time_stretch, pitch, gain",
        ),
        ("video", {"gain": 3.0}, "gain: does not apply to video"),
        ("audio", {"segment": 0.0}, "segment: 0.0 is not allowed"),
        ("image", {"held_out": 1.0}, "held_out: 1.0 is not allowed"),
        ("image", {"memory": -1.0}, "memory: -1.0 is not allowed"),
        ("image", {"crop": 1.5}, "crop: 1.5 is not allowed"),
        ("image", {"labels": "folder"}, "data.labels: 'folder' is not allowed"),
        ("image", {"flip": 1}, "data.flip: 1 is not allowed"),
        ("image", {"flp": True}, "'flp' is not allowed"),
    ],
)
def test_bad_settings_name_themselves(tmp_path: Path, kind: str, args: dict[str, Any], text: str) -> None:
    paint(tmp_path / "a.png")
    play(tmp_path / "a.wav", 0.1)
    film(tmp_path / "a.mp4", 1)
    modality = registry.build("modality", Part(kind))
    with pytest.raises(RecipeError) as caught:
        registry.build(
            "dataset",
            Part("folder", {"path": str(tmp_path), **args}),
            where="data",
            given={"modality": modality},
        )
    assert text in str(caught.value)


def test_headers_are_remembered_until_a_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for k in range(20):
        paint(tmp_path / f"{k:02}.png")
    (tmp_path / "bad.png").write_bytes(b"x")
    opened: list[str] = []
    info = Image.info

    def counted(self: Image, path: Path) -> Any:
        opened.append(path.name)
        return info(self, path)

    monkeypatch.setattr(guard, "AVAILABLE", False)  # count in this process
    monkeypatch.setattr(Image, "info", counted)
    first = pictures(tmp_path)
    assert len(opened) == 21
    opened.clear()
    second = pictures(tmp_path)
    assert opened == ["bad.png"]  # a bad file may have been mended
    assert second.bad == first.bad
    opened.clear()
    paint(tmp_path / "03.png", size=(64, 64))
    paint(tmp_path / "new.png")
    assert len(pictures(tmp_path)) == 21
    assert sorted(opened) == ["03.png", "bad.png", "new.png"]
    (store,) = (Path(os.environ["MULTIGEN_CACHE"]) / "headers").iterdir()
    store.write_text("{ this is no JSON")
    assert len(pictures(tmp_path)) == 21


class Series:
    """A modality that knows nothing of time or pixels: CSV columns of 4 numbers, [1, 4]."""

    name = "series"
    suffixes = (".csv",)

    def shape(self, size: Any = None, duration: float | None = None) -> tuple[int, ...]:
        if size is not None or duration is not None:
            raise ValueError("a series has one length")
        return (1, 4)

    def info(self, path: Path) -> Any:
        return Info()

    def read(self, path: Path, *, start: float = 0.0, duration: float | None = None) -> Tensor:
        return torch.tensor([[float(v) for v in path.read_text().split(",")]])

    def fit(self, media: Tensor, shape: tuple[int, ...], rng: torch.Generator | None = None) -> Tensor:
        return media[:, : shape[1]]


def test_a_modality_from_outside_is_served_too(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("0.1,0.2,0.3,0.4,0.5")
    modality: Any = Series()
    data = load(modality, tmp_path)
    torch.testing.assert_close(data.draw(0, stream(0))["media"], torch.tensor([[0.1, 0.2, 0.3, 0.4]]))
    with pytest.raises(ValueError, match="gain: does not apply to series"):
        load(modality, tmp_path, gain=3.0)


# --- the shipped recipes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["image", "audio", "video"])
def test_folder_recipes_ask_for_a_path_and_serve_it(tmp_path: Path, kind: str) -> None:
    source = str(Path(__file__).parents[2] / "recipes" / f"{kind}_folder.yaml")
    with pytest.raises(
        RecipeError, match=rf"^data.path: say where .* multigen run {kind}_folder data.path=./my_files$"
    ):
        build_dataset(load_recipe(source))
    for name in ("ape", "bee"):
        {
            "image": lambda path: paint(path.with_suffix(".png")),
            "audio": lambda path: play(path.with_suffix(".wav"), 1.0),
            "video": lambda path: film(path.with_suffix(".mp4"), 8),
        }[kind](tmp_path / name / "1")
    recipe = load_recipe(source, [f"data.path={tmp_path}", "conditioner.name=label"])
    data = build_dataset(recipe)
    assert resolve(recipe, data).conditioner.args["classes"] == ["ape", "bee"]
    modality: Any = registry.build("modality", recipe.modality)
    assert [tuple(data.draw(i, stream(i))["media"].shape) for i in range(2)] == [modality.shape()] * 2
    assert [data[i].get("text") for i in range(2)] == ["ape", "bee"]
