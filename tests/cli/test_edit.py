"""`multigen edit` on files: masks, spans, extensions, and ten wrong inputs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from multigen.cli.main import main
from multigen.errors import MultigenError
from multigen.generation.spans import amounts
from multigen.modalities.audio import Audio
from multigen.modalities.image import Image
from multigen.model.model import Model
from tests.model.test_model import SMALL, small

FAST = ["--steps", "2", "--quiet", "--device", "cpu"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a picture, masks and a sound, and an untrained model of music."""
    monkeypatch.chdir(tmp_path)
    picture = torch.rand(1, 28, 28, generator=torch.Generator().manual_seed(0)) * 2 - 1
    Image(size=28, channels=1).write(picture, Path("digit.png"))
    white = torch.full((1, 28, 28), -1.0)
    white[:, :, 14:] = 1.0
    Path("lines.txt").write_text('3\n{"prompt": "8"}\n', encoding="utf-8")
    Image(size=28, channels=1).write(white, Path("mask.png"))
    Image(size=28, channels=1).write(white[:, :20], Path("small.png"))
    sound = 0.1 * torch.randn(1, 33075, generator=torch.Generator().manual_seed(1))
    Audio(rate=22050).write(sound, Path("sound.wav"))
    model: Model = small("audio_music", [*SMALL["audio_music"], "sample.prompts=['']"])
    model.save("music.safetensors")
    return tmp_path


def only(folder: str, suffix: str) -> Path:
    (found,) = Path(folder, "media").glob(f"*{suffix}")
    return found


def assert_shows_the_source(name: str, element: str) -> None:
    """The report shows, or plays, the source of an edit beside it."""
    _, _, found = Path("out/report.html").read_text().partition('<figure class="source">')
    shown, _, _ = found.partition("</figure>")
    assert element in shown and f"source: {name}" in shown and "missing" not in shown


def test_a_mask_repaints_its_white(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = [
        "edit",
        "image_digits",
        "--input",
        "digit.png",
        "--prompt",
        "3",
        "--mask",
        "mask.png",
        "--feather",
        "0",
    ]
    assert main([*argv, *FAST, "--out", "out"]) == 0
    assert capsys.readouterr().out == "out\n"
    image = Image(size=28, channels=1)
    before, after = image.read(Path("digit.png")), image.read(only("out", ".png"))
    assert torch.equal(before[:, :, :14], after[:, :, :14])
    assert (before[:, :, 14:] - after[:, :, 14:]).abs().mean() > 0.1
    (entry,) = json.loads(Path("out/manifest.json").read_text())["files"]
    assert entry["edit"]["source"] == "digit.png"
    assert Path("out", entry["edit"]["source_file"]).read_bytes() == Path("digit.png").read_bytes()
    assert_shows_the_source("digit.png", "<img")
    assert main(["verify", "out"]) == 0


def test_spans_of_a_sound_are_kept_to_the_sample(here: Path) -> None:
    argv = [
        "edit",
        "music.safetensors",
        "--input",
        "sound.wav",
        "--keep",
        "0:0.5s,1s:1.2s",
        "--feather",
        "0.01",
    ]
    assert main([*argv, *FAST, "--out", "out"]) == 0
    assert_shows_the_source("sound.wav", "<audio")
    audio = Audio(rate=22050)
    before, after = audio.read(Path("sound.wav")), audio.read(only("out", ".wav"))
    n, feather = 22050 // 2, 221
    assert torch.equal(before[:, : n - feather], after[:, : n - feather])
    assert torch.equal(
        before[:, 22050 + feather : 26460 - feather], after[:, 22050 + feather : 26460 - feather]
    )
    assert (before[:, n:22050] - after[:, n:22050]).abs().mean() > 1e-3


def test_a_sound_is_continued(here: Path) -> None:
    Audio(rate=22050).write(Audio(rate=22050).read(Path("sound.wav"))[:, :16384], Path("start.wav"))
    argv = ["edit", "music.safetensors", "--input", "start.wav", "--extend", "0.7s", "--feather", "0"]
    assert main([*argv, *FAST, "--out", "out"]) == 0
    audio = Audio(rate=22050)
    before, after = audio.read(Path("start.wav")), audio.read(only("out", ".wav"))
    assert after.shape[1] == 16384 + round(0.7 * 22050)
    assert torch.equal(before, after[:, :16384])


def test_amounts() -> None:
    assert amounts("8", 2, 1.0) == [8, 8, 8, 8]
    assert amounts("1,2,3,4", 2, 1.0) == [1, 3, 2, 4]
    assert amounts("3s", 1, 100.0) == [0, 300]
    assert amounts("1s,0.5", 1, 100.0) == [100, 50]
    assert amounts("4f", 3, 8.0) == [0, 0, 0, 0, 0, 4]
    for text, axes in (("3s", 2), ("1,2", 2), ("x", 1), ("1,2,3", 1), ("-1", 1)):
        with pytest.raises(MultigenError, match="extend"):
            amounts(text, axes, 100.0)


def test_inversion_reports_its_error(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = [
        "edit",
        "image_digits",
        "--input",
        "digit.png",
        "--prompt",
        "3",
        "--invert",
        "8",
        "--strength",
        "0.3",
    ]
    polish = "sample.polish.passes=2"  # never of an inversion
    assert main([*argv, "--steps", "4", "--device", "cpu", "--out", "out", polish]) == 0
    (entry,) = json.loads(Path("out/manifest.json").read_text())["files"]
    assert entry["polish"]["passes"] == 0
    assert 0 < entry["edit"]["inversion_error"] < 2
    assert f"inversion and back: {entry['edit']['inversion_error']:.3f}" in capsys.readouterr().err


def test_a_small_picture_is_restored(here: Path) -> None:
    image = Image(size=14, channels=1)
    image.write(torch.zeros(1, 14, 14), Path("low.png"))
    for number, operator in enumerate(("downsample", "{name: downsample, factor: 2}")):
        argv = ["edit", "image_digits", "--input", "low.png", "--prompt", "3", "--restore", operator]
        assert main([*argv, *FAST, "--out", f"out{number}"]) == 0
        assert image.read(only(f"out{number}", ".png")).shape == (1, 28, 28)
    (entry,) = json.loads(Path("out1/manifest.json").read_text())["files"]
    assert entry["edit"]["operator"] == {"name": "downsample", "factor": 2}


WRONG = [
    (["--input", "digit.png", "--restore", "downsampel"], "Did you mean 'downsample'?"),
    (["--input", "digit.png", "--restore", "[1]"], "restore [1]"),
    (
        ["--input", "digit.png", "--restore", "blur", "--strength", "0.5"],
        "strength: it does not go with restore",
    ),
    (
        ["--input", "digit.png", "--restore", "blur", "--strength", "1"],
        "strength: it does not go with restore",
    ),
    (["--input", "digit.png", "--restore", "blur", "--feather", "0"], "feather: it does not go with restore"),
    (["--input", "digit.png", "--fit", "zoom"], "--fit: 'zoom' is not allowed"),
    (["--input", "digit.png", "--mask-is", "white"], "mask_is: it goes with mask"),
    (["--input", "none.png"], "none.png"),
    (
        ["--input", "digit.png", "--prompts", "lines.txt"],
        "is no prompt; requests in JSON are for multigen sample",
    ),
    (["--input", "digit.png", "--mask", "digit.png", "--mask-is", "red"], "--mask-is: 'red' is not allowed"),
    (["--input", "digit.png", "--keep", "0:1s"], "a picture has no time"),
    (["--input", "digit.png", "--extend", "3s"], "extend 3s"),
    (["--input", "digit.png", "--strength", "0"], "strength: 0.0"),
    (["--input", "digit.png", "--strength", "2"], "strength: 2.0"),
    (["--input", "digit.png", "--prompt", "eleven"], "eleven"),
    (["--input", "digit.png", "sampler.name=heum"], "Did you mean 'heun'?"),
    (["--input", "digit.png", "--resample", "0"], "--resample"),
    (["--input", "digit.png", "--purify", "0"], "purify: 0.0"),
    (["--input", "digit.png", "--purify", "nan"], "purify: nan"),
    (["--input", "digit.png", "--purify", "0.3", "--restore", "blur"], "purify: it does not go with restore"),
    (["--input", "digit.png", "--mask", "mask.png", "--feather", "inf"], "feather: inf"),
    (["--input", "digit.png", "--mask", "mask.png", "--feather", "1e300"], "feather: "),
    ([], "--input"),
]


@pytest.mark.parametrize(("argv", "said"), WRONG)
def test_wrong_inputs_leave_nothing_behind(
    here: Path, capsys: pytest.CaptureFixture[str], argv: list[str], said: str
) -> None:
    prompt = [] if "--prompt" in argv else ["--prompt", "3"]
    assert main(["edit", "image_digits", *argv, *prompt, *FAST, "--out", "out"]) == 2
    assert said in capsys.readouterr().err
    assert not Path("out").exists()


def test_wrong_spans_of_a_sound(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for argv, said in (
        (["--keep", "0:9s"], "lies outside; the medium has 1.5 s"),
        (["--keep", "first"], "is no span"),
        (["--mask", "mask.png"], "no mask for a sound"),
    ):
        assert main(["edit", "music.safetensors", "--input", "sound.wav", *argv, *FAST, "--out", "out"]) == 2
        assert said in capsys.readouterr().err
