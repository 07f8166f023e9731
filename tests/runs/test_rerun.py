"""Running again where something is: the same goes on or is there, another gets a folder of its own or is refused."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

import multigen
from multigen.cli.main import main
from multigen.errors import MultigenError, RecipeError
from multigen.modalities.image import Image
from multigen.recipe.load import load_recipe
from multigen.recipe.manifest import verify
from multigen.runs import jobs as runs
from multigen.training import checkpoint as checkpoints
from multigen.training import trainer as trainers

MADE = ["sample.steps=1", "sample.n=2", "sample.prompts=['7']"]  # with the weights that the package carries
TINY = [
    "weights=null", "train.minutes=null", "train.batch=4", "train.held_out_every=0", "train.preview_every=0",
    "train.tensorboard=false", "train.warmup=0", "backbone.widths=[16,16]", "backbone.attention=[false,true]", *MADE,
]  # fmt: skip
HERE: dict[str, Any] = {"device": "cpu", "quiet": True}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="multigen")
    return caplog


def run(*overrides: str, out: str | None = None) -> Path:
    recipe = load_recipe("image_digits", [*MADE, *overrides])
    return runs.run(recipe, out=None if out is None else Path(out), **HERE)


def train(*overrides: str, out: str | None = None, command: Any = runs.train, **more: bool) -> Path:
    recipe = load_recipe("image_digits", [*TINY, *overrides])
    return command(recipe, out=None if out is None else Path(out), **HERE, **more)


def unsigned(folder: Path) -> dict[str, str]:
    """The sha256 of each medium without its signature, which differs each time."""
    return {
        one["file"]: one["unsigned_sha256"]
        for one in json.loads((folder / "manifest.json").read_text())["files"]
    }


def content(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file() and p.name != ".lock"}


def test_another_recipe_gets_the_next_free_folder_which_is_said(said: pytest.LogCaptureFixture) -> None:
    first = run()
    before = content(first)
    second = run("guide.scale=2.5")
    assert (first, second) == (Path("runs/image_digits"), Path("runs/image_digits-2"))
    assert "runs/image_digits holds another recipe (guide.scale: " in said.text
    assert "-> 2.5): this one is in runs/image_digits-2" in said.text
    assert run("guide.scale=3.5") == Path("runs/image_digits-3")
    assert content(first) == before
    # The same again: nothing is made, nothing is touched.
    before = content(second)
    said.clear()
    assert run("guide.scale=2.5") == second
    assert "all 2 media are there: runs/image_digits-2" in said.text
    assert content(second) == before
    assert not list(Path("runs").rglob("media-*"))


def test_a_folder_of_the_users_is_never_given_to_another_recipe() -> None:
    folder = run(out="mine")
    before = content(folder)
    with pytest.raises(
        RecipeError, match=r"mine holds media of another recipe \(sample\.n: 2 -> 3; seed: 0 -> 5\)"
    ):
        run("seed=5", "sample.n=3", out="mine")
    assert content(folder) == before
    assert main(["run", "mine", "sample.n=3", "--quiet"]) == 2
    assert content(folder) == before
    # What changes nothing of the media is no difference.
    assert run("evaluate.n=50", "sample.n=2", out="mine") == folder
    # A medium that is gone is made again, with its bytes.
    hashes = unsigned(folder)
    gone = next((folder / "media").glob("*.png"))
    gone.unlink()
    run(out="mine")
    assert content(folder).keys() == before.keys()
    assert unsigned(folder) == hashes and gone.is_file()


def test_more_training_goes_on_and_keeps_the_media_of_before(said: pytest.LogCaptureFixture) -> None:
    folder = train("train.steps=2", command=runs.run)
    media = content(folder / "media")
    assert train("train.steps=4", "train.log_every=1", "train.workers=0", command=runs.run) == folder
    assert checkpoints.newest(folder / "checkpoints") == folder / "checkpoints" / "step-00000004"
    assert "continuing at step 2" in said.text
    assert "the media of before are now in runs/image_digits/media-1" in said.text
    assert list(content(folder / "media-1").values())[: len(media)] != []
    assert {Path(p).name for p in media} <= {Path(p).name for p in content(folder / "media-1")}
    assert verify(folder) == verify(folder / "media-1") == []
    said.clear()
    train("train.steps=3", command=runs.run)  # it has more already
    assert "its training is complete at step 4" in said.text
    assert "all 2 media are there" in said.text
    assert not (folder / "media-2").exists()


def test_another_training_gets_the_next_free_folder(said: pytest.LogCaptureFixture) -> None:
    first = train("train.steps=2")
    before = content(first)
    second = train("train.steps=2", "train.lr=1e-3")
    assert second == Path("runs/image_digits-2")
    assert "train.lr: " in said.text
    assert content(first) == before
    with pytest.raises(
        RecipeError, match=r"holds another training of image_digits \(train\.lr: .* -> 0\.001\)"
    ):
        train("train.steps=2", "train.lr=1e-3", out=str(first))
    assert content(first) == before
    assert train("train.steps=3", "train.lr=1e-3", out=str(first), force=True) == first


def test_another_sampling_of_a_training_trains_nothing_again(said: pytest.LogCaptureFixture) -> None:
    first = train("train.steps=2", command=runs.run)
    before = content(first)
    second = train("train.steps=2", "sampler.name=ddim", command=runs.run)
    assert second == Path("runs/image_digits-2")
    assert content(first) == before
    assert not (second / "checkpoints").exists()
    made = [json.loads((f / "manifest.json").read_text())["files"][0] for f in (first, second)]
    assert made[0]["weights_hash"] == made[1]["weights_hash"]
    assert (made[0]["sampler"]["name"], made[1]["sampler"]["name"]) == ("heun", "ddim")
    assert train("train.steps=2", "sampler.name=ddim", command=runs.run) == second


def test_a_recipe_written_by_hand_is_kept() -> None:
    folder = Path("mine")
    folder.mkdir()
    text = "# my notes\ndefaults: [image_digits]\nname: mine\n"
    (folder / "recipe.yaml").write_text(text)
    assert main(["run", "mine", "--quiet", *MADE]) == 0
    assert (folder / "recipe-1.yaml").read_text() == text
    assert load_recipe(str(folder)).name == "mine"
    assert main(["run", "mine", "--quiet"]) == 0
    assert not (folder / "recipe-2.yaml").exists()


def test_samples_replace_nothing_that_is_not_theirs(capsys: pytest.CaptureFixture[str]) -> None:
    Path("pictures/media").mkdir(parents=True)
    Path("pictures/media/holiday.jpg").write_bytes(b"mine")
    Path("pictures/preview.png").write_bytes(b"mine")
    before = content(Path("pictures"))
    argv = [
        "sample",
        "image_digits",
        "--prompt",
        "7",
        "-n",
        "1",
        "--steps",
        "1",
        "--quiet",
        "--out",
        "pictures",
    ]
    assert main(argv) == 2
    assert "media is not from multigen; preview.png is not from multigen" in capsys.readouterr().err
    assert content(Path("pictures")) == before
    Path("beside").mkdir()
    Path("beside/notes.txt").write_bytes(b"mine")
    assert main([*argv[:-1], "beside"]) == 0
    assert Path("beside/notes.txt").read_bytes() == b"mine"


def test_a_refused_or_broken_training_leaves_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Any, batch: Any) -> dict[str, float]:
        raise ZeroDivisionError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(trainers.Trainer, "_update", broken)
        with pytest.raises(ZeroDivisionError):
            train("train.steps=2")
    assert not Path("runs").exists()
    with pytest.raises(MultigenError):
        run("sample.prompts=[elephant]")
    assert (
        main(["sample", "image_digits", "--prompt", "7", "--size", "100000", "--sliding-window", "--quiet"])
        == 2
    )
    assert main(["sample", "image_digits", "--prompt", "elephant", "--out", "deep/er", "--quiet"]) == 2
    assert not Path("runs").exists() and not Path("deep").exists()
    # A folder of the user's stays, even if it is empty.
    Path("mine").mkdir()
    assert main(["sample", "image_digits", "--prompt", "elephant", "--out", "mine", "--quiet"]) == 2
    assert Path("mine").is_dir() and not list(Path("mine").iterdir())


@pytest.mark.slow
def test_an_evaluation_is_not_made_twice_and_replaces_none(said: pytest.LogCaptureFixture) -> None:
    folder = train("train.steps=1")
    few = ["evaluate.n=8", "evaluate.metrics=[]", "evaluate.bank=8", "sample.steps=1"]
    first = multigen.evaluate(folder, *few, **HERE)
    before = (folder / "evaluation.json").read_bytes()
    again = multigen.evaluate(folder, *few, **HERE)
    assert again.facts["asked"] == first.facts["asked"]
    assert (folder / "evaluation.json").read_bytes() == before
    assert "the same evaluation is there" in said.text
    multigen.evaluate(folder, *few, "seed=3", **HERE)
    assert (folder / "evaluation-1" / "evaluation.json").read_bytes() == before
    assert "another evaluation was there (seed: 0 -> 3): it is now in" in said.text
    multigen.evaluate(folder, *few, out="own", **HERE)
    kept = content(Path("own"))
    with pytest.raises(MultigenError, match=r"own: it holds another evaluation \(seed: 0 -> 4\)"):
        multigen.evaluate(folder, *few, "seed=4", out="own", **HERE)
    assert content(Path("own")) == kept


def test_a_pack_of_other_media_replaces_none(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "other"):
        pictures(here / name)
    assert main(["pack", "one", "--out", "shards", "--quiet"]) == 0
    before = content(Path("shards"))
    assert main(["pack", "one", "--out", "shards", "--quiet"]) == 0
    assert content(Path("shards")) == before
    capsys.readouterr()
    assert main(["pack", "other", "--out", "shards", "--quiet"]) == 2
    assert "--out shards: holds shards of other media" in capsys.readouterr().err
    assert content(Path("shards")) == before
    assert str(here) not in Path("shards/index.json").read_text()


@pytest.mark.slow
def test_a_sweep_again_with_other_settings_replaces_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    sweep = [
        "run",
        "image_digits",
        "-m",
        "guide.scale=1,2",
        "sample.steps=1",
        "sample.prompts=['7']",
        "--quiet",
    ]
    assert main([*sweep, "sample.n=1"]) == 0
    before = content(Path("runs"))
    assert main([*sweep, "sample.n=1"]) == 0  # all is there
    assert content(Path("runs")) == before
    capsys.readouterr()
    assert main([*sweep, "sample.n=2"]) == 0
    assert "runs/image_digits-sweep-2" in capsys.readouterr().out
    assert {k: v for k, v in content(Path("runs")).items() if "sweep-2" not in k} == before
    assert main([*sweep, "sample.n=3", "--out", "runs/image_digits-sweep"]) == 2
    assert "sample.n: 1 -> 3" in capsys.readouterr().err


# --- paths -------------------------------------------------------------------------------------------------------


def pictures(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for k in range(4):
        Image(size=28, channels=3).write(torch.full((3, 40, 40), k / 4 - 0.5), folder / f"{k}.png")
    return folder


@pytest.mark.parametrize(
    "name",
    ["my photos (2024), [best] {x} a=b", "Фото 写真 café", "it's 100% #1", "trailing space ", "-dash", "a,b"],
)
def test_folders_with_any_name_are_trained_on(here: Path, name: str) -> None:
    """As a shell hands them over, without Hydra's quotes (case 08)."""
    folder = pictures(here / "paths" / name)
    own = [
        "backbone.attention=[false,false]",
        "conditioner.name=none",
        "sample.prompts=['']",
        "modality.size=8",
    ]
    own += ["train.steps=1", "sample.n=1", *(o for o in TINY if o.startswith(("train.", "backbone.widths")))]
    argv = ["train", "image_folder", f"data.path={folder}", *own, "--quiet", "--device", "cpu", "--out", "r"]
    assert main(argv) == 0
    assert load_recipe("r").data.args["path"] == str(folder.resolve())
    relative = ["train", "image_folder", f"data.path=paths/{name}", *own, "--quiet", "--device", "cpu"]
    assert main([*relative, "--out", "r2"]) == 0


def test_the_home_folder_is_meant_wherever_a_path_is(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = here / "home"
    pictures(home / "pictures")
    monkeypatch.setenv("HOME", str(home))
    Image(size=28, channels=1).write(torch.zeros(1, 28, 28), home / "digit.png")
    (home / "prompts.txt").write_text("7\n")
    fast = ["-n", "1", "--steps", "1", "--quiet", "--device", "cpu"]
    assert main(["sample", "image_digits", "--prompts=~/prompts.txt", *fast, "--out=~/made"]) == 0
    assert capsys.readouterr().out == f"{home / 'made'}\n"
    assert (
        main(["edit", "image_digits", "--input", "~/digit.png", "--mask", "~/digit.png", *fast, "--out=~/e"])
        == 0
    )
    assert main(["run", "image_digits", *MADE, "--quiet", "--out", "~/run"]) == 0
    assert main(["export", "image_digits", "~/digits.safetensors"]) == 0
    assert main(["sample", "~/digits.safetensors", "--prompt", "7", *fast, "--out=~/again"]) == 0
    assert main(["sample", "~/run", "--prompt", "7", *fast]) == 0
    assert (home / "run" / "samples-1" / "media").is_dir()
    assert main(["verify", "~/made"]) == 0
    assert main(["pack", "~/pictures", "--out", "~/shards", "--quiet"]) == 0
    recipe = load_recipe("image_folder", ["data.path=~/pictures", "train.init=~/digits.safetensors"])
    assert recipe.data.args["path"] == str(home / "pictures")
    assert recipe.train.init == str(home / "digits.safetensors")
    assert multigen.train("image_digits", *TINY, "train.steps=1", out="~/trained", **HERE).recipe.name
    assert (home / "trained" / "weights.safetensors").is_file()
    assert not (here / "~").exists()
    with pytest.raises(MultigenError, match="no home folder of 'nobody-of-that-name'"):
        load_recipe("image_folder", ["data.path=~nobody-of-that-name/x"])
    capsys.readouterr()


# --- prompts from files (case 09) ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "made"),
    [
        (b"\xef\xbb\xbf3\r\n8\r\n", [("3", 0), ("8", 1)]),
        (b'\xef\xbb\xbf{"prompt": "3", "seed": 7}\r\n{"prompt": "8"}\r\n', [("3", 7), ("8", 1)]),
        (b"3\r8\r", [("3", 0), ("8", 1)]),
        ("3\r\n8\r\n".encode("utf-16"), [("3", 0), ("8", 1)]),
        (b' {"prompt": "3"}\n', [("3", 0)]),
    ],
)
def test_prompts_of_any_editor(raw: bytes, made: list[tuple[str, int]]) -> None:
    Path("p.txt").write_bytes(raw)
    argv = [
        "sample",
        "image_digits",
        "--prompts",
        "p.txt",
        "-n",
        "1",
        "--steps",
        "1",
        "--quiet",
        "--out",
        "o",
    ]
    assert main(argv) == 0
    files = json.loads(Path("o/manifest.json").read_text())["files"]
    assert [(f["prompt"], f["seed"]) for f in files] == made


def test_prompts_in_another_encoding_are_refused_with_their_line(capsys: pytest.CaptureFixture[str]) -> None:
    Path("p.txt").write_bytes("3\n\ngrüner Apfel\n".encode("cp1252"))
    assert main(["sample", "image_digits", "--prompts", "p.txt"]) == 2
    assert "--prompts p.txt: line 3 is not UTF-8 text; save the file as UTF-8" in capsys.readouterr().err


def test_a_mark_of_byte_order_changes_no_picture() -> None:
    made = []
    for name, mark in (("plain", b""), ("marked", b"\xef\xbb\xbf")):
        Path(f"{name}.txt").write_bytes(mark + b"7\n")
        argv = ["sample", "image_digits", "--prompts", f"{name}.txt", "-n", "1", "--steps", "1", "--quiet"]
        assert main([*argv, "--out", name]) == 0
        made += unsigned(Path(name)).values()
    assert len(made) == 2 and made[0] == made[1]
