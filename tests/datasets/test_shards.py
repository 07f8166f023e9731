"""Shards: what is packed comes back bit for bit, a stopped command goes on, and every fault is named."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from multigen.cli.main import main
from multigen.core.noise import stream
from multigen.datasets import index as shard_index
from multigen.datasets.folder import Folder
from multigen.datasets.media_files import Files
from multigen.datasets.shards import Shards
from multigen.errors import MediaError, RecipeError
from multigen.modalities import Member, member
from multigen.modalities.audio import Audio
from multigen.modalities.image import Image
from multigen.modalities.video import Video
from multigen.storage.lock import locked
from multigen.training.batch import Order
from multigen.training.loader import batches


@pytest.fixture(autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTIGEN_CACHE", str(tmp_path_factory.mktemp("cache")))


def noisy(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=stream(seed, "media")) * 2 - 1


def pictures(folder: Path, n: int = 12) -> Path:
    """Noise, as pictures of two classes; names with dots, spaces, colons and letters of other scripts."""
    for k in range(n):
        path = folder / ("cats" if k % 2 else "dogs & co") / f"a.{k} ü.{'PNG' if k % 3 else 'png'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        levels = ((noisy(k, 20 + k, 30, 3) + 1) * 127.5).to(torch.uint8).numpy()
        PillowImage.fromarray(levels).save(path, format="PNG")
        if k % 4 == 0:
            path.with_suffix(".txt").write_text(f"picture {k}\nanother of {k}\n", encoding="utf-8")
    return folder


def packed(source: Path, out: Path, *more: str, size: str = "0.004") -> Path:
    assert main(["pack", str(source), "--out", str(out), "--quiet", "--shard-size", size, *more]) == 0
    return out


def content(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


def assert_same_items(shards: Files, folder: Files) -> None:
    assert len(shards) == len(folder) > 0
    assert shards.classes == folder.classes
    assert shards.split() == folder.split()
    for k in range(len(folder)):
        for mine, theirs in (
            (shards[k], folder[k]),
            (shards.draw(k, stream(k, "x")), folder.draw(k, stream(k, "x"))),
        ):
            assert torch.equal(mine.pop("media"), theirs.pop("media"))  # type: ignore[misc]
            assert mine == theirs


def test_pictures_come_back_bit_for_bit_with_captions_and_labels(tmp_path: Path) -> None:
    source, out = pictures(tmp_path / "pics"), tmp_path / "shards"
    packed(source, out)
    assert len(list(out.glob("*.tar"))) > 2
    settings: dict[str, Any] = {"crop": 0.6, "flip": True}
    mine = Shards(modality=Image(size=16), path=str(out), **settings)
    assert_same_items(mine, Folder(modality=Image(size=16), path=str(source), **settings))
    # The same without the source: nothing of it is looked at.
    shutil.rmtree(source)
    assert torch.equal(
        mine[3]["media"], Shards(modality=Image(size=16), path=str(out), **settings)[3]["media"]
    )


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3", ".m4a"])
@pytest.mark.parametrize("whole", [True, False])
def test_sounds_are_cut_into_the_same_segments(
    tmp_path: Path, suffix: str, whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not whole:  # members that are read piece by piece
        monkeypatch.setattr(member, "WHOLE", 0)
    (tmp_path / "s").mkdir()
    for k, seconds in enumerate((0.4, 2.3)):
        Audio(rate=16000).write(0.5 * noisy(k, 1, round(seconds * 16000)), tmp_path / "s" / f"{k}{suffix}")
    out, audio = packed(tmp_path / "s", tmp_path / "out"), Audio(rate=8000, seconds=0.5)
    settings: dict[str, Any] = {"gain": 3, "held_out": 0.5}
    assert_same_items(
        Shards(modality=audio, path=str(out), **settings),
        Folder(modality=audio, path=str(tmp_path / "s"), **settings),
    )


def test_videos_and_animations(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    for suffix in (".mp4", ".mkv", ".webp", ".gif"):
        Video(size=16, frames=9).write(noisy(1, 3, 9, 16, 16), tmp_path / "s" / f"v{suffix}")
    out, video = packed(tmp_path / "s", tmp_path / "out", "--modality", "video"), Video(size=16, frames=4)
    assert_same_items(Shards(modality=video, path=str(out)), Folder(modality=video, path=str(tmp_path / "s")))


def test_a_built_in_set_keeps_its_own_split(tmp_path: Path) -> None:
    choice = [
        "data.names=[red apple,grapes,blue heart,snail,car,fish]",
        "data.categories=null",
        "modality.size=16",
    ]
    out = packed(Path("emoji"), tmp_path / "out", *choice, size="0.002")
    from multigen.datasets.emoji import Emoji

    names = ("red apple", "grapes", "blue heart", "snail", "car", "fish")
    made, mine = (
        Emoji(modality=Image(size=16), names=names, recolour=True),
        Shards(modality=Image(size=16), path=str(out)),
    )
    assert len(mine) == len(made) > 6
    assert [list(s) for s in mine.split()] == [list(s) for s in made.split()]
    assert mine.classes == made.classes
    for k in range(len(made)):
        a, b = mine[k], made[k]
        assert torch.equal(a["media"], b["media"])
        assert (a["id"], a.get("text"), a.get("label")) == (b["id"], b.get("text"), b.get("label"))


def test_webdataset_reads_what_we_pack(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    out = packed(pictures(tmp_path / "pics"), tmp_path / "out")
    tars = [str(p) for p in sorted(out.glob("*.tar"))]
    samples = list(webdataset.WebDataset(tars, shardshuffle=False, empty_check=False))
    mine = Shards(modality=Image(size=16), path=str(out))
    assert len(samples) == len(mine)
    for k, sample in enumerate(samples):
        told = mine.told(k)
        known = json.loads(sample["json"])
        assert (known["name"], known["texts"], known["label"]) == (told.name, told.texts, told.label)
        assert sample["txt"].decode().split("\n") == told.texts
        with mine.source(k).open() as file:
            assert sample["png"] == file.read()


def test_tarfile_finds_each_member_where_the_index_says(tmp_path: Path) -> None:
    out = packed(pictures(tmp_path / "pics"), tmp_path / "out")
    for path in out.glob("*.tar"):
        with tarfile.open(path) as archive:
            places = {i.name.partition(".")[2]: [] for i in archive}
            for i in archive:
                places[i.name.partition(".")[2]].append((i.offset_data, i.size))
        rows = [shard_index.parse(line, "") for line in path.with_suffix(".jsonl").read_bytes().splitlines()]
        for suffix, found in places.items():
            mine = [r.members[f".{suffix}"] for r in rows if f".{suffix}" in r.members]
            assert [(s.offset, s.size) for s in mine] == found


def test_a_killed_command_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    source = pictures(tmp_path / "pics", 16)
    whole = content(packed(source, tmp_path / "whole"))
    out = tmp_path / "parts"
    # Killed, for real, inside the third shard.
    script = (
        "import os, signal, sys\n"
        "from multigen.runs import shards\n"
        "from multigen.cli.main import main\n"
        "inner, count = shards._add, [0]\n"
        "def add(*a):\n"
        "    count[0] += 1\n"
        "    if count[0] == 5: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return inner(*a)\n"
        "shards._add = add\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    command = ["pack", str(source), "--out", str(out), "--quiet", "--shard-size", "0.004"]
    ended = subprocess.run([sys.executable, "-c", script, *command], env={**os.environ}, check=False)
    assert ended.returncode == -signal.SIGKILL
    assert any(p.name.startswith(".shard") for p in out.iterdir())  # what it was writing
    before = {p.name: p.stat().st_mtime_ns for p in out.glob("shard-*.tar")}
    assert 0 < len(before) < len(list((tmp_path / "whole").glob("*.tar")))
    with pytest.raises(RecipeError, match="packing was not finished; run the same multigen pack command"):
        Shards(modality=Image(size=16), path=str(out))
    packed(source, out)
    assert content(out) == whole
    assert all((out / name).stat().st_mtime_ns == at for name, at in before.items())  # not made again


def test_two_commands_never_pack_into_one_folder(tmp_path: Path) -> None:
    source, out = pictures(tmp_path / "pics"), tmp_path / "out"
    with locked(out):
        ended = subprocess.run(
            [sys.executable, "-m", "multigen", "pack", str(source), "--out", str(out), "--quiet"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert list(out.iterdir()) == [out / ".lock"]
    assert ended.returncode == 2, ended.stderr
    assert f"another multigen command is running in this folder (process {os.getpid()} on" in ended.stderr
    packed(source, out)  # the lock of a command that ended is free
    assert content(out)


def test_packing_again_follows_the_folder(tmp_path: Path) -> None:
    source = pictures(tmp_path / "pics")
    out = packed(source, tmp_path / "out")
    for path in sorted(source.rglob("*.*"))[:12]:
        path.unlink()
    packed(source, out)
    assert content(out) == content(packed(source, tmp_path / "new"))


def test_verify_names_the_member_that_a_flipped_bit_hit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = packed(pictures(tmp_path / "pics"), tmp_path / "out")
    assert main(["verify", str(out)]) == 0
    mine = Shards(modality=Image(size=16), path=str(out))
    hit = mine.source(2)
    flip(hit.path, hit.offset + hit.size // 2)
    capsys.readouterr()
    assert main(["verify", str(out)]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"{hit.path}/{mine.told(2).name}: its .png is damaged or truncated"
    assert len(said) == 2
    with pytest.raises(MediaError, match="damaged; its checksum is not that of the index"):
        mine.draw(2, stream(0))
    flip(hit.path, hit.offset + hit.size // 2)
    flip(hit.path, 5)  # in a header
    assert shard_index.faults(out) == [f"{hit.path}: changed outside its members"]
    flip(hit.path, 5)
    lines = next(iter(sorted(out.glob("*.jsonl"))))
    flip(lines, 30)
    assert shard_index.faults(out) == [f"{lines}: changed"]


def flip(path: Path, place: int) -> None:
    with path.open("rb+") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 16]))


def test_a_truncated_shard_loses_its_end_and_says_so(tmp_path: Path) -> None:
    out = packed(pictures(tmp_path / "pics"), tmp_path / "out", size="1")
    whole = Shards(modality=Image(size=16), path=str(out))
    cut = whole.source(7)
    with cut.path.open("rb+") as file:
        file.truncate(cut.offset + cut.size // 2)
    left = Shards(modality=Image(size=16), path=str(out))
    assert len(left) == 7
    assert [name.rpartition("out/")[2] for name in left.bad] == [
        f"shard-000000.tar/{whole.told(k).name}" for k in range(7, 12)
    ]
    assert torch.equal(left[6]["media"], whole[6]["media"])
    assert sum("damaged or truncated" in fault for fault in shard_index.faults(out)) >= 5
    # Cut while a training runs: an unreadable item, as a file would be.
    with pytest.raises(MediaError, match="truncated; the shard ends inside it"):
        whole.draw(7, stream(0))


@pytest.mark.parametrize("workers", [0, 2])
def test_damaged_members_are_replaced_and_named_while_training(tmp_path: Path, workers: int) -> None:
    out = packed(pictures(tmp_path / "pics"), tmp_path / "out")
    data = Shards(modality=Image(size=16), path=str(out))
    for k in (2, 5):
        hit = data.source(k)
        flip(hit.path, hit.offset + 40)
    read = batches(data, Order(range(12), 4, seed=0), 0, workers)
    got = [next(read) for _ in range(3)]
    read.close()
    assert {name for batch in got for name in batch.bad} == {str(data.source(k)) for k in (2, 5)}
    assert frozenset().union(*(b.bad_items for b in got)) == {2, 5}


def test_limits_are_checked_before_a_member_is_decoded(tmp_path: Path) -> None:
    out = packed(pictures(tmp_path / "pics"), tmp_path / "out")
    with pytest.raises(MediaError, match="the limit max_bytes is 100"):
        Shards(modality=Image(size=16, max_bytes=100), path=str(out))[0]
    with pytest.raises(MediaError, match="the limit max_pixels is 50"):
        Shards(modality=Image(size=16, max_pixels=50), path=str(out))[0]


def test_names_of_strangers_are_never_places(tmp_path: Path) -> None:
    """An index that leads out of its folder is refused; a member's name is only shown."""
    out = packed(pictures(tmp_path / "pics"), tmp_path / "out", size="1")
    value = json.loads((out / "index.json").read_text())
    del value["sha256"]
    value["shards"][0]["file"] = "../../shard-000000.tar"
    value["sha256"] = shard_index._digest(value)
    (out / "index.json").write_text(json.dumps(value))
    with pytest.raises(RecipeError, match="is not the name of a shard"):
        Shards(modality=Image(size=16), path=str(out))
    odd = Member(Path("shard.tar"), "../etc/\x1b[31m\nred.png", 0, 1, 0)
    assert str(odd) == "shard.tar/../etc/\\x1b[31m\\nred.png"


def test_a_piece_of_a_file_reads_as_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(member, "WHOLE", 0)
    whole = np.random.default_rng(0).bytes(1_000_000)
    (tmp_path / "big").write_bytes(whole)
    with Member(tmp_path / "big", "x", 123, 900_000, 0).open() as file:
        assert file.seek(0, os.SEEK_END) == 900_000
        assert file.seek(899_990) == 899_990
        assert file.read(100) == whole[123 + 899_990 : 123 + 900_000]
        file.seek(0)
        assert file.read() == whole[123:900_123]
    descriptors = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with Member(tmp_path / "big", "x", 123, 900_000, 0).open() as file:
            file.read(10)
    assert len(os.listdir("/proc/self/fd")) == descriptors


FAULTS = {
    "into a foreign folder": (["pack", "pics", "--out", "foreign"], "foreign: holds other files"),
    "into a file": (["pack", "pics", "--out", "foreign/mine.txt"], "is a file; give a folder"),
    "nothing to pack": (["pack", "empty", "--out", "x"], "it holds no pictures, sounds or videos"),
    "several kinds": (["pack", "mixed", "--out", "x"], "choose one with --modality"),
    "no such source": (["pack", "emojy", "--out", "x"], "Did you mean 'emoji'"),
    "shard size 0": (["pack", "pics", "--out", "x", "--shard-size", "0"], "give a number above 0"),
    "no --out": (["pack", "pics"], "--out"),
    "shards again": (
        ["pack", "image_folder", "data.name=shards", "data.path=packed", "--out", "x"],
        "is already packed; copy its folder",
    ),
    "unknown key": (["pack", "pics", "--out", "x", "data.caption=name"], "Did you mean 'captions'"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_bad_input_is_one_line_with_its_cure(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    packed(pictures(tmp_path / "pics"), tmp_path / "packed")
    for path in ("foreign/mine.txt", "empty/notes.md", "mixed/a.wav"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text("mine")
    shutil.copy(next((tmp_path / "pics").rglob("*.png")), tmp_path / "mixed" / "b.png")
    arguments, said = FAULTS[name]
    capsys.readouterr()
    assert main(arguments) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1 and said in error[0], error
    assert (tmp_path / "foreign" / "mine.txt").read_text() == "mine"
    assert not (tmp_path / "x").exists()


def break_index(out: Path, how: str) -> None:
    path = out / "index.json"
    value = json.loads(path.read_text())
    if how == "missing":
        path.unlink()
        return
    if how == "version":
        value["version"] = 9
    if how == "changed":
        value["shards"][0]["size"] += 1
    path.write_text("{" if how == "no json" else json.dumps(value))


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("missing", "there is no index.json in it; make shards with: multigen pack"),
        ("no json", "cannot be read"),
        ("version", "version 9; this multigen reads version 1"),
        ("changed", "damaged; its checksum"),
    ],
)
def test_an_index_that_cannot_be_trusted_is_refused(tmp_path: Path, how: str, said: str) -> None:
    out = packed(pictures(tmp_path / "pics", 2), tmp_path / "out")
    break_index(out, how)
    with pytest.raises(RecipeError, match=said):
        Shards(modality=Image(size=16), path=str(out))


def test_other_faults_of_the_folder(tmp_path: Path) -> None:
    out = packed(pictures(tmp_path / "pics"), tmp_path / "out")
    with pytest.raises(RecipeError, match="It holds image, not audio"):
        Shards(modality=Audio(), path=str(out))
    first = next(iter(sorted(out.glob("*.jsonl"))))
    kept = first.read_text()
    first.write_text(kept.replace('"size":', '"size":-', 1))
    with pytest.raises(RecipeError, match=r"shard-000000.jsonl, line 1: damaged \(members"):
        Shards(modality=Image(size=16), path=str(out))
    first.write_text(kept)
    next(iter(sorted(out.glob("*.tar")))).unlink()
    with pytest.raises(RecipeError, match=r"shard-000000.tar: missing; it held \d+ of the media"):
        Shards(modality=Image(size=16), path=str(out))
