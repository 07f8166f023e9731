"""The command line: light, exact about results and exit codes, silent about tracebacks; sweeps by Hydra."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path
from typing import Any

import pytest

import multigen
from multigen import registry
from multigen.cli.main import main
from multigen.cli.parts import parts
from multigen.errors import Interrupted, MediaError, TrainingError
from multigen.generation.request import Request
from multigen.recipe.dump import to_yaml
from multigen.recipe.load import load_recipe
from multigen.registry import KINDS, Part
from multigen.runs.sweep import job_name

RECIPE = """\
name: tiny
modality: {name: image, size: 8, channels: 1}
data: {name: digits}
codec: {name: pixels}
backbone: {name: unet, widths: [8, 16]}
sampler: {name: ddim, eta: 0.5}
train: {steps: 10, batch: 4}
"""


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """A pipeline that notes what it is asked for, and the working folder with tiny.yaml in it."""
    noted: list[tuple[str, Any, dict[str, Any]]] = []

    def job(name: str):
        def work(source: Any, *rest: Any, **options: Any) -> Path:
            noted.append((name, (source, *rest) if rest else source, options))
            folder = options["out"] or Path("runs") / getattr(source, "name", "sampled")
            Path(folder).mkdir(parents=True, exist_ok=True)
            return folder

        return work

    monkeypatch.setattr("multigen.runs.jobs.run", job("run"))
    monkeypatch.setattr("multigen.runs.jobs.train", job("train"))
    monkeypatch.setattr("multigen.runs.sample.sample", job("sample"))
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(RECIPE)
    return noted


def fails(capsys, *argv: str) -> str:
    """The one line on stderr of a command that ends with exit code 2."""
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert err.startswith("multigen: error: ")
    return err


# --- light ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "argv",
    [[], ["--help"], ["--version"], ["recipes"], ["run", "--help"], ["sample", "--help"], ["edit", "--help"]],
)
def test_light_commands_import_nothing_heavy(argv, tmp_path):
    code = f"""
        import sys
        from multigen.cli.main import main
        try:
            assert main({argv!r}) == 0
        except SystemExit as end:
            assert end.code == 0
        heavy = {{"torch", "hydra", "omegaconf", "pydantic", "numpy", "av", "PIL"}} & set(sys.modules)
        assert not heavy, heavy
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert ("image_digits" if argv[:1] in ([], ["--help"], ["recipes"]) else "multigen") in done.stdout


def test_the_module_runs_as_the_command(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "multigen", "--version"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
    )
    assert done.stdout == f"multigen {multigen.__version__}\n"


def test_the_package_is_lazy_and_offers_its_api():
    assert multigen.register is registry.register
    assert dir(multigen) == [
        "EditRequest", "Media", "Model", "MultigenError", "Part", "Recipe", "Request", "__version__", "core",
        "evaluate", "explain", "export", "load", "load_recipe", "register", "train",
    ]  # fmt: skip
    for name in dir(multigen):
        assert getattr(multigen, name) is not None
    assert multigen.core.__name__ == "multigen.core"
    assert (Path(multigen.__file__).parent / "py.typed").is_file()
    with pytest.raises(AttributeError, match="nothing_here"):
        multigen.nothing_here  # noqa: B018


# --- jobs -------------------------------------------------------------------------------------------------------


def test_run_hands_over_the_recipe_and_prints_the_folder(calls, capsys):
    assert (
        main(
            [
                "run",
                "--out",
                "there",
                "tiny.yaml",
                "--quiet",
                "train.steps=3",
                "--seed",
                "5",
                "--device",
                "cpu",
            ]
        )
        == 0
    )
    (name, recipe, options) = calls[0]
    assert name == "run"
    assert (recipe.train.steps, recipe.seed, recipe.sampler) == (3, 5, Part("ddim", {"eta": 0.5}))
    assert options == {"out": Path("there"), "device": "cpu", "quiet": True, "force": False, "resume": False}
    assert capsys.readouterr().out == "there\n"


def test_train_forwards_force_and_a_deletion(calls, capsys):
    assert main(["train", "tiny.yaml", "--force", "~train.batch", "+train.keep=1"]) == 0
    name, recipe, options = calls[0]
    assert name == "train"
    assert (recipe.train.batch, recipe.train.keep, options["force"]) == (32, 1, True)


def test_cfg_prints_a_recipe_that_runs_again(calls, capsys):
    assert main(["run", "tiny.yaml", "--cfg", "job", "sampler.name=heun"]) == 0
    text = capsys.readouterr().out
    assert calls == []
    Path("again.yaml").write_text(text)
    assert load_recipe("again.yaml") == load_recipe("tiny.yaml", ["sampler.name=heun"])
    assert to_yaml(load_recipe("again.yaml")) == text


def test_sample_passes_prompts_and_settings(calls, capsys):
    Path("prompts.txt").write_bytes(b"\xef\xbb\xbfred\r\n\r\n blue \r\n")
    Path("runs/tiny").mkdir(parents=True)
    Path("runs/tiny/recipe.yaml").write_text(RECIPE)
    Path("runs/tiny/weights.safetensors").touch()
    argv = ["sample", "runs/tiny", "--prompt", "a", "--prompt", "b c", "--prompts", "prompts.txt", "-n", "2"]
    argv += [
        "--seed",
        "9",
        "--steps",
        "4",
        "--size",
        "8x16",
        "guide.name=plain",
        "--out",
        "o",
    ]
    assert main(argv) == 0
    name, (source, shared), options = calls[0]
    assert (name, source) == ("sample", "runs/tiny")
    assert shared == Request(steps=4, size=(16, 8))
    assert options == {
        "requests": [Request("a"), Request("b c"), Request("red"), Request("blue")], "n": 2, "seed": 9,
        "overrides": ["guide.name=plain"], "trajectory": False, "clip": False, "out": Path("o"), "resume": False,
        "device": None, "quiet": False, "ray": False,
    }  # fmt: skip
    assert main(["sample", "runs/tiny", "--prompt", "a"]) == 0
    assert calls[1][2]["requests"] == [Request("a")]
    assert calls[1][2]["overrides"] == []
    assert main(["sample", "runs/tiny"]) == 0
    assert calls[2][2]["requests"] is None


# --- mistakes and faults ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "fragments"),
    [
        (["smaple"], ["'smaple'", "Did you mean 'sample'?"]),
        (["run"], ["RECIPE", "multigen run --help"]),
        (["run", "tiny.yaml", "--sed", "3"], ["'--sed'", "Did you mean '--seed'?"]),
        (["run", "tiny.yaml", "--seed", "x"], ["--seed", "'x'"]),
        (["run", "tiny.yaml", "--seed", "-1"], ["seed", "-1", "2^62"]),
        (["run", "tin.yaml"], ["tin.yaml", "Did you mean 'tiny.yaml'?"]),
        (["run", "image_digit"], ["Did you mean 'image_digits'?"]),
        (["run", "tiny.yaml", "train.stepz=1"], ["command line: train.stepz", "Did you mean 'steps'?"]),
        (["run", "tiny.yaml", "timesteps.name=trailing"], ["timesteps (trailing)", "table"]),
        (["run", "tiny.yaml", "codec.unshuffle=3"], ["codec (pixels)"]),
        (["train", "tiny.yaml", "train.steps=1,2"], ["-m"]),
        (["run", "tiny.yaml", "--cfg", "hydra"], ["--cfg", "'hydra'"]),
        (["sample"], ["SOURCE"]),
        (["sample", "x", "-n", "0"], ["-n", "at least 1"]),
        (["sample", "x", "--size", "8x"], ["--size", "whole number"]),
        (["sample", "x", "--size", "axb"], ["--size", "whole number"]),
        (["sample", "x", "--duration", "nan"], ["--duration", "above 0"]),
        (["sample", "x", "--prompts", "none.txt"], ["none.txt", "cannot be read"]),
        (["parts", "samplr"], ["'samplr'", "Did you mean 'sampler'?"]),
        (["completion", "csh"], ["'csh'", "bash"]),
    ],
)
def test_mistakes_end_with_one_line_and_code_2(calls, capsys, argv, fragments):
    text = fails(capsys, *argv)
    assert calls == []
    for fragment in fragments:
        assert fragment in text


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (MediaError("x.png: empty"), 2, "multigen: error: x.png: empty"),
        (TrainingError("loss is nan"), 1, "multigen: error: loss is nan"),
        (KeyboardInterrupt(), 130, "multigen: stopped"),
        (Interrupted(signal.SIGINT, 7), 130, "multigen: stopped by SIGINT at step 7; all is saved."),
        (Interrupted(signal.SIGTERM, 7), 143, "multigen: stopped by SIGTERM at step 7; all is saved."),
    ],
)
def test_faults_have_their_exit_codes(calls, capsys, monkeypatch, error, code, line):
    def broken(*args: Any, **options: Any) -> Path:
        raise error

    monkeypatch.setattr("multigen.runs.jobs.run", broken)
    assert main(["run", "tiny.yaml"]) == code
    assert capsys.readouterr().err == f"{line}\n"


def test_debug_shows_the_traceback(calls, capsys, monkeypatch):
    assert main(["run", "tiny.yaml", "train.stepz=1", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("MULTIGEN_DEBUG", "1")
    assert main(["run", "nothing"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_bug_keeps_its_traceback(calls, monkeypatch):
    def broken(*args: Any, **options: Any) -> Path:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("multigen.runs.jobs.run", broken)
    with pytest.raises(ZeroDivisionError):
        main(["run", "tiny.yaml"])


@pytest.mark.skipif(os.name != "posix", reason="pipes as POSIX has them")
def test_a_closed_pipe_is_no_error(tmp_path):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "multigen", "--help"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, cwd=tmp_path, timeout=60)
    os.close(write)
    assert done.stderr == ""
    assert done.returncode == 141


# --- sweeps -----------------------------------------------------------------------------------------------------


def test_a_sweep_runs_each_job_in_a_folder_of_its_own(calls, capsys):
    argv = ["run", "tiny.yaml", "-m", "--out", "sweep", "train.steps=1,2", "sampler.name=heun", "--seed", "3"]
    assert main([*argv, "train.lr=choice(0.1,0.2)", "--quiet"]) == 0
    here = Path.cwd() / "sweep"
    names = [f"train.steps={s},train.lr={lr}" for s in (1, 2) for lr in (0.1, 0.2)]
    assert capsys.readouterr().out.split() == [str(here / name) for name in names]
    assert [(r.train.steps, r.train.lr) for _, r, _ in calls] == [(1, 0.1), (1, 0.2), (2, 0.1), (2, 0.2)]
    for (command, recipe, options), name in zip(calls, names, strict=True):
        assert command == "run"
        assert recipe.sampler == Part("heun")  # the fixed override dropped eta
        assert recipe.seed == 3
        assert options == {"out": here / name, "device": None, "quiet": True, "force": False}
    assert sorted(p.name for p in here.iterdir()) == [".hydra", *sorted(names)]
    assert not Path("multirun").exists()
    assert not Path("outputs").exists()


def test_sweeps_over_names_ranges_and_globs(calls, capsys):
    assert main(["train", "tiny.yaml", "-m", "train.steps=range(1,4,2)", "sampler.name=glob(e*)"]) == 0
    names = [n for n in registry.names("sampler") if n.startswith("e")]
    assert len(names) > 1
    assert [(r.train.steps, r.sampler) for _, r, _ in calls] == [(s, Part(n)) for s in (1, 3) for n in names]
    assert {c for c, _, _ in calls} == {"train"}
    assert calls[0][2]["out"].parent == Path.cwd() / "runs" / "tiny-sweep"


def test_hydras_own_settings_reach_hydra_in_a_sweep(calls, capsys):
    assert main(["run", "tiny.yaml", "-m", "train.steps=1,2", "hydra.sweeper.max_batch_size=1"]) == 0
    assert len(calls) == 2
    assert main(["run", "tiny.yaml", "-m", "train.steps=1,2", "hydra/launcher=nowhere"]) == 2
    assert "nowhere" in capsys.readouterr().err
    assert len(calls) == 2


def test_a_wrong_job_is_refused_before_the_first_one_starts(calls, capsys):
    text = fails(capsys, "run", "tiny.yaml", "-m", "sampler.name=heun,ddimm")
    assert "Did you mean 'ddim'?" in text
    assert "environment" in fails(capsys, "run", "tiny.yaml", "-m", "description='${oc.env:HOME}',b")
    assert "import paths" in fails(capsys, "run", "tiny.yaml", "-m", "sampler.name=heun,os.system")
    assert "names of parts" in fails(capsys, "run", "tiny.yaml", "-m", "train.steps=glob(*)")
    assert calls == []
    assert not Path("runs").exists()


def test_the_error_of_a_job_is_the_error_of_the_command(calls, capsys, monkeypatch):
    argv_before, full_before = list(sys.argv), os.environ.get("HYDRA_FULL_ERROR")

    def broken(recipe: Any, **options: Any) -> Path:
        raise TrainingError("the loss is nan")

    monkeypatch.setattr("multigen.runs.jobs.run", broken)
    assert main(["run", "tiny.yaml", "-m", "train.steps=1,2"]) == 1
    err = capsys.readouterr().err
    assert err.splitlines()[-1] == "multigen: error: the loss is nan"
    assert "Traceback" not in err
    assert (sys.argv, os.environ.get("HYDRA_FULL_ERROR")) == (argv_before, full_before)


def test_ctrl_c_in_a_job_ends_the_sweep(calls, capsys, monkeypatch):
    begun = []

    def stopped(recipe: Any, **options: Any) -> Path:
        begun.append(recipe.train.steps)
        raise Interrupted(signal.SIGINT, 1)

    monkeypatch.setattr("multigen.runs.jobs.run", stopped)
    assert main(["run", "tiny.yaml", "-m", "train.steps=1,2"]) == 130
    assert begun == [1]


def test_job_names_are_safe_folder_names():
    assert job_name(["++train.steps=1", "a=b"]) == "train.steps=1,a=b"
    assert job_name([]) == ""
    one, other = job_name(["data.path='../x y'"]), job_name(["data.path='../x/y'"])
    assert one != other
    for name in (one, other, job_name(["a=" + "b" * 500])):
        assert len(name) <= 120
        assert "/" not in name
        assert "'" not in name


# --- lists ------------------------------------------------------------------------------------------------------


def test_recipes_are_listed_with_descriptions(capsys):
    assert main(["recipes"]) == 0
    out = capsys.readouterr().out
    assert "image_digits" in out
    assert load_recipe("image_digits").description in out


def test_parts_lists_every_name_with_arguments_and_defaults(capsys):
    assert main(["parts"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for kind in KINDS:
        for name in registry.names(kind):
            assert any(line.startswith(f"  {name}") for line in lines), (kind, name)
    text = list(parts("sampler"))
    assert text[0] == "sampler"
    assert any(line.startswith("  ddim: DDIM (Song et al. 2021") for line in text)
    ddim = next(k for k, line in enumerate(text) if line.startswith("  ddim:"))
    assert text[ddim + 1].split() == ["eta:", "float", "=", "0.0"]
    assert "      alphas_cumprod: Sequence[float] required" in list(parts("schedule"))


@pytest.mark.slow
def test_a_warning_is_one_line_and_says_no_place_in_the_code(tmp_path):
    code = "import sys; from multigen.cli.main import main; sys.exit(main(sys.argv[1:]))"
    sample = ["sample", "image_emoji", "sample.steps=1", "sample.polish.passes=0", "-n", "1"]
    more = ["--prompt", "red apple " * 60, "--out", str(tmp_path / "out"), "--quiet"]
    done = subprocess.run(
        [sys.executable, "-c", code, *sample, *more], capture_output=True, text=True, check=True
    )
    lines = done.stderr.splitlines()
    assert lines[0].startswith(
        "multigen: warning: the prompt has over 48 tokens; its end is ignored: 'red apple red"
    )
    assert len(lines[0]) < 160
    # Nor is it a prompt that the weights know.
    assert [line.startswith("multigen: warning: ") for line in lines] == [True] * len(lines)
    assert len(lines) <= 2 and ".py" not in done.stderr


def test_a_cache_that_cannot_be_made_names_its_variable(capsys, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MULTIGEN_CACHE", str(tmp_path / "file"))
    assert main(["doctor"]) == 2
    error = capsys.readouterr().err
    assert f"the cache {tmp_path / 'file'}: File exists; set $MULTIGEN_CACHE to another folder" in error


def test_doctor_says_what_is_here(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("MULTIGEN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "x").write_bytes(bytes(2_000_000))
    from multigen.cli import doctor
    from multigen.storage import packages

    known = {"demo": ("no-such-thing",), "lora": ("pytest",), "dev": ("not-for-users",)}
    monkeypatch.setattr(packages, "extras", lambda: known)
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    import torch

    for fragment in (
        f"torch {torch.__version__}", "torchaudio", "python 3.", "default: ", "h264", "flac", "for sampling",
        "2.0 MB in 1 files",
        f"no-such-thing                    missing: {packages.install('demo')}",
        f"pytest                           {pytest.__version__}",
    ):  # fmt: skip
        assert fragment in out
    assert "not-for-users" not in out
    assert doctor.codec_state("flac") == "reads and writes"
    assert doctor.codec_state("no_such_codec") == "missing"


def test_doctor_knows_every_package_of_the_extras(capsys):
    assert main(["doctor"]) == 0
    listed = capsys.readouterr().out.partition("optional packages\n")[2].split()
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    for extra in ("demo", "tensorboard", "wandb", "lora", "yamnet"):
        for line in project["optional-dependencies"][extra]:
            assert re.split(r"[^\w-]", line)[0] in listed
