import dataclasses
import hashlib
import json
import unicodedata
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from multigen.errors import MultigenError
from multigen.recipe import manifest
from multigen.recipe.dump import recipe_hash
from multigen.recipe.manifest import file_name, recipe_changes, verify, write_manifest
from multigen.recipe.schema import Recipe, Train
from multigen.registry import Part
from multigen.version import __version__

RECIPE = Recipe(
    name="toy",
    modality=Part("image", {"size": 8}),
    data=Part("digits"),
    codec=Part("pixels"),
    backbone=Part("unet", {"widths": [8, 16]}),
    train=Train(steps=10),
)
SETTINGS = {"sampler": "heun", "steps": 16, "guide": {"name": "cfg", "scale": 2.0}}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "media").mkdir()
    rows = []
    for k, prompt in enumerate(["red apple", "<b>&\"'", "赤い"]):
        name = file_name(k, prompt, k, ".bin")
        (tmp_path / "media" / name).write_bytes(bytes([k]) * 1000)
        rows.append({"file": f"media/{name}", "prompt": prompt, "seed": k})
    write_manifest(tmp_path, rows, recipe=RECIPE, weights_hash="abc", settings=SETTINGS)
    return tmp_path


def test_every_entry_is_whole(folder):
    entries = manifest.read(folder)["files"]
    assert [e["prompt"] for e in entries] == ["red apple", "<b>&\"'", "赤い"]
    for k, entry in enumerate(entries):
        data = bytes([k]) * 1000
        assert entry["seed"] == k
        assert entry["bytes"] == 1000
        assert entry["sha256"] == hashlib.sha256(data).hexdigest()
        assert entry["recipe"] == "toy"
        assert entry["recipe_hash"] == recipe_hash(RECIPE)
        assert entry["weights_hash"] == "abc"
        assert entry["versions"]["multigen"] == __version__
        assert set(entry["versions"]) == {"multigen", "torch", "python"}
        assert {k: entry[k] for k in SETTINGS} == SETTINGS
        created = datetime.fromisoformat(entry["created"])
        assert created.utcoffset() == timedelta(0)
        assert abs(datetime.now(UTC) - created) < timedelta(minutes=5)


def test_the_command_says_what_changed(folder, capsys):
    from multigen.cli.main import main

    assert main(["verify", str(folder)]) == 0
    assert capsys.readouterr().out.endswith("all checksums match\n")
    name = manifest.read(folder)["files"][1]["file"]
    (folder / name).write_bytes(b"x")
    assert main(["verify", str(folder)]) == 1
    out = capsys.readouterr().out
    assert name in out and "1 files are missing or changed" in out
    assert main(["verify", str(folder / "media")]) == 2


def test_versions_are_those_imported():
    import torch

    assert manifest.versions()["torch"] == torch.__version__


def test_an_untouched_folder_is_verified(folder):
    assert verify(folder) == []


def test_one_flipped_bit_is_found(folder):
    path = sorted((folder / "media").iterdir())[1]
    data = bytearray(path.read_bytes())
    data[500] ^= 1
    path.write_bytes(data)
    assert verify(folder) == [f"media/{path.name}: its content has changed (sha256 differs)"]


def test_missing_and_truncated_files_are_found(folder):
    first, _, third = sorted((folder / "media").iterdir())
    first.unlink()
    third.write_bytes(third.read_bytes()[:-1])
    faults = verify(folder)
    assert len(faults) == 2
    assert faults[0].startswith(f"media/{first.name}: cannot be read")
    assert faults[1] == f"media/{third.name}: 999 bytes, not 1,000"


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/hostname", "media/../../secret", "", "C:/x", "link/secret"]
)
def test_names_that_lead_outside_are_not_opened(folder, name):
    outside = folder.parent / "secret"
    outside.write_bytes(b"x")
    (folder / "link").symlink_to(folder.parent)
    data = manifest.read(folder)
    data["files"][0] |= {"file": name, "bytes": 1, "sha256": hashlib.sha256(b"x").hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(data))
    assert verify(folder) == [f"{name!r}: not a path inside the folder"]
    row = {"file": name, "prompt": "", "seed": 0}
    with pytest.raises(ValueError, match="not a path inside"):
        write_manifest(folder, [row], recipe=RECIPE, weights_hash="", settings={})


def test_no_manifest(tmp_path):
    assert manifest.read(tmp_path) is None
    with pytest.raises(MultigenError, match="no such file"):
        verify(tmp_path)


@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"format": 2, "files": []}', '{"format": 1}', '{"format": 1, "files": [{"file": 3}]}'],
)
def test_a_broken_manifest_is_named(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(MultigenError, match=r"manifest\.json: "):
        manifest.read(tmp_path)


def test_file_names():
    assert file_name(3, "red apple moving left", 3, ".mp4") == "003_red-apple-moving-left_seed3.mp4"
    assert file_name(0, "Äpfel & Bïrnen!", 12, ".png") == "000_apfel-birnen_seed12.png"
    assert file_name(1, "赤いりんご", 5, ".wav") == "001_赤いりんご_seed5.wav"
    assert file_name(1, "красное яблоко", 5, ".png") == "001_красное-яблоко_seed5.png"
    assert file_name(1, "เหลือง", 5, ".png") == "001_เหลือง_seed5.png"
    assert file_name(1, "🍎, 🍌", 5, ".png") == "001_red-apple-banana_seed5.png"
    assert file_name(1, "a🏽b\x01/c:d*", 5, ".png") == "001_a-b-c-d_seed5.png"
    assert all(len(file_name(999, c * 999, 2**62, ".png").encode()) < 255 for c in ("a", "я", "赤", "👩‍🌾"))
    assert file_name(1, "", 5, ".wav") == "001_seed5.wav"
    assert file_name(1, "../../etc/passwd", 5, ".wav") == "001_etc-passwd_seed5.wav"
    assert file_name(2, "x" * 1000, 1, ".wav") == f"002_{'x' * 48}_seed1.wav"


@given(st.text(), st.integers(0, 10**6), st.integers(0, 2**63))
@example("CON", 0, 0)
@example("a\x00b/..\\c:d*?\n", 0, 0)
@example("\ud800", 0, 0)
def test_any_prompt_makes_a_name_for_any_file_system(prompt, index, seed):
    name = file_name(index, prompt, seed, ".mp4")
    letters = name.removesuffix(".mp4").replace("-", "").replace("_", "")
    assert {unicodedata.category(c)[0] for c in letters} <= {"L", "M", "N"}
    assert name[0].isdigit()  # no reserved name of Windows starts with one, nor is it hidden
    assert len(name.encode()) <= 200
    assert unicodedata.normalize("NFC", name) == name


@pytest.mark.parametrize("suffix", ["", "mp4", ".MP4", "./x", ".m p", "../x"])
def test_odd_suffixes_are_refused(suffix):
    with pytest.raises(ValueError, match="suffix"):
        file_name(0, "x", 0, suffix)


def test_recipe_changes_name_the_place():
    after = dataclasses.replace(
        RECIPE,
        modality=Part("image", {"size": 16, "channels": 1}),
        backbone=Part("unet", {"widths": [8, 32]}),
        train=Train(steps=20),
    )
    assert recipe_changes(RECIPE, RECIPE) == []
    assert sorted(recipe_changes(RECIPE, after)) == [
        ("backbone.widths", [8, 16], [8, 32]),
        ("modality.channels", None, 1),
        ("modality.size", 8, 16),
        ("train.steps", 10, 20),
    ]
