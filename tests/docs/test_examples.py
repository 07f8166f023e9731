"""The programs of examples/ do what they say, with few steps; each is short."""

from __future__ import annotations

import csv
import importlib
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

from multigen import registry
from multigen.core import Noise
from multigen.core.samplers import ddim
from multigen.core.schedules import cosine
from multigen.errors import MediaError
from multigen.evaluation.metrics import Target
from tests.docs.blocks import ROOT

EXAMPLES = ROOT / "examples"
TEXT = EXAMPLES / "multigen-text"
SERIES = EXAMPLES / "multigen-series"
FILES = sorted(p for p in EXAMPLES.glob("*.py"))


def example(name: str) -> ModuleType:
    return importlib.import_module(f"examples.{name}")


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_an_example_has_under_60_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < 60


@pytest.mark.parametrize(("package", "most"), [(TEXT, 400), (SERIES, 600)], ids=["text", "series"])
def test_a_package_of_a_modality_is_small(package: Path, most: int) -> None:
    files = [p for p in package.rglob("*") if p.suffix in (".py", ".yaml")]
    assert sum(len(p.read_text(encoding="utf-8").splitlines()) for p in files) <= most


def test_every_example_is_tested() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    for path in EXAMPLES.glob("*.py"):
        assert f'example("{path.stem}")' in source


def test_the_toy_uses_the_core_alone() -> None:
    code = "import sys, examples.toy; print([m for m in sys.modules if m.startswith('multigen.')])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    rooms = {name.split(".")[1] for name in eval(done.stdout)}
    assert rooms <= {"core", "version"}


def test_the_toy_finds_the_ring() -> None:
    before, after = example("toy").main(steps=1, n=200), example("toy").main(steps=800, n=200)
    assert (after - 1).abs().mean() < 0.5 * (before - 1).abs().mean() and abs(after.mean() - 1) < 0.15


def test_the_sampler_is_of_second_order() -> None:
    """On normal data, whose perfect denoiser and solution are known."""
    with mock.patch.dict(registry._registered):
        midpoint = example("custom_sampler").midpoint

    def error(sampler: object, steps: int) -> float:
        schedule, ts = cosine(), torch.linspace(0.9, 0.1, steps + 1, dtype=torch.float64)
        trajectory = sampler(schedule, torch.ones(1, 1, dtype=torch.float64), ts, Noise([0], [1]))  # type: ignore[operator]
        query = next(trajectory)
        try:
            while True:
                alpha, sigma = schedule(query.t)
                query = trajectory.send(alpha * 0.25 / (alpha**2 * 0.25 + sigma**2) * query.x)
        except StopIteration as stop:
            alpha, sigma = schedule(ts[[0, -1]])
            variance = alpha**2 * 0.25 + sigma**2
            return abs(float(stop.value - (variance[1] / variance[0]).sqrt()))

    assert 3.3 < error(midpoint, 20) / error(midpoint, 40) < 4.7
    assert 1.7 < error(ddim, 20) / error(ddim, 40) < 2.3


def test_the_sampler_runs_by_its_name() -> None:
    with mock.patch.dict(registry._registered):
        registry.register("sampler", "midpoint")(example("custom_sampler").midpoint)
        distance = example("custom_sampler").main(n=2, steps=8, reference_steps=16)
    assert distance["midpoint"] > 0 and distance["ddim"] < 0.5


def test_the_guide_runs_by_its_name_and_changes_the_picture() -> None:
    with mock.patch.dict(registry._registered):
        registry.register("guide", "rising")(example("custom_guide").rising)
        made = example("custom_guide").main(n=1, steps=3)
    assert made[0].tensor.shape == (3, 64, 64) and made[0].prompt == "red apple"


@pytest.mark.slow
def test_the_training_loop_learns() -> None:
    loop = example("training_loop")
    before, after = (loop.main(steps=steps, n=4) for steps in (1, 60))
    # Discs have about 64 white pixels of 256, and black around them.
    assert ((after > 0).float().sum((1, 2, 3)).mean() - 64).abs() < 30
    assert ((before > 0).float().sum((1, 2, 3)).mean() - 64).abs() > 30


def test_inpainting_keeps_the_upper_half() -> None:
    source, made = example("inpaint").main(n=1, steps=3)
    kept = slice(0, 28)  # above the feather
    assert torch.equal(made[0].tensor[:, kept], source.tensor[:, kept])
    assert not torch.equal(made[0].tensor[:, 36:], source.tensor[:, 36:])


@pytest.mark.slow
def test_a_lora_is_trained_and_changes_the_picture(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    import multigen

    medium = example("lora").main(tmp_path / "ink", tmp_path / "run", steps=2, train_steps=4)
    (plain,) = multigen.load("image_emoji").generate("purple tomato", seed=0, steps=2)
    assert medium.tensor.shape == plain.tensor.shape and not torch.equal(medium.tensor, plain.tensor)
    assert (tmp_path / "run" / "pytorch_lora_weights.safetensors").is_file()


@pytest.mark.slow
def test_numpy_and_onnxruntime_sample_an_exported_model(tmp_path: Path) -> None:
    """The same samples as DDIM with guidance here; and neither torch nor multigen is imported."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    import multigen
    from multigen.core.drive import solve
    from multigen.core.guides import cfg

    file = multigen.export("image_digits", tmp_path / "digits.onnx", to="onnx")
    code = f"import sys, numpy; sys.path.insert(0, {str(EXAMPLES)!r}); import onnx_sampling; "
    code += f"numpy.save({str(tmp_path / 'made.npy')!r}, onnx_sampling.main({str(file)!r}, '7', n=2)); "
    code += "print([m for m in ('torch', 'multigen') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    made = torch.from_numpy(np.load(tmp_path / "made.npy"))
    model = multigen.load("image_digits", device="cpu")
    ts = model.batcher("7").jobs[0].plan.ts
    start = torch.from_numpy(np.random.default_rng(0).standard_normal((2, 4, 14, 14), np.float32))
    guide = cfg(model.encode("7"), model.conditioner.null(1), scale=2.0)
    x = solve(ddim(model.denoiser.schedule, start, ts, lambda *_: start), guide, model.denoiser)
    assert torch.allclose(made, x, atol=2e-3)
    assert example("onnx_sampling").main(str(file), "3").shape == (1, 4, 14, 14)


# --- a modality as a package --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the packages of examples are installed, as pip would: their files and their entry points."""
    target = tmp_path_factory.mktemp("site")
    for name in ("series", "text"):
        source = EXAMPLES / f"multigen-{name}"
        project = tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        (target / f"multigen_{name}").symlink_to(source / f"multigen_{name}")
        info = target / f"multigen_{name}-{project['version']}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        )
        groups = [
            f"[{group}]\n" + "".join(f"{name} = {where}\n" for name, where in entries.items())
            for group, entries in project["entry-points"].items()
        ]
        (info / "entry_points.txt").write_text("\n".join(groups))
    return target


def command(installed: Path, folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(installed), str(ROOT)])}
    done = subprocess.run(
        [sys.executable, "-m", "multigen", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_package_of_a_modality_trains_and_samples_through_the_commands(
    installed: Path, tmp_path: Path
) -> None:
    assert "series" in command(installed, tmp_path, "parts", "modality")
    recipe = installed / "multigen_series" / "series.yaml"
    steps = ["train.steps=120", "train.checkpoint_every=120"]
    command(installed, tmp_path, "train", str(recipe), *steps, "--quiet", "--out", "run")
    prompts = ["--prompt", "quiet", "--prompt", "loud", "-n", "4"]
    command(installed, tmp_path, "sample", "run", *prompts, "--quiet", "--out", "made")
    files = sorted((tmp_path / "made" / "media").glob("*.csv"))
    rows = torch.stack([torch.tensor([float(r["value"]) for r in csv.DictReader(f.open())]) for f in files])
    assert rows.shape == (8, 32)
    quiet, loud = rows.std(1).view(2, 4).mean(1).sort().values
    assert quiet < 0.4 * loud  # of sines with amplitudes 0.2 and 0.9


def test_the_package_of_texts_trains_samples_infills_and_measures(installed: Path, tmp_path: Path) -> None:
    rows = [
        f"fruit\t{a} {b}\ntool\t{a} saw {b}\n" for a in ("red", "old", "big") for b in ("fig", "pear", "kiwi")
    ]
    (tmp_path / "lines.txt").write_text("".join(rows), encoding="utf-8")
    (tmp_path / "line.txt").write_text("red car\n", encoding="utf-8")
    recipe = str(installed / "multigen_text" / "names.yaml")
    small = [
        "modality.length=16",
        "data.path=lines.txt",
        "data.held_out=0.3",
        "sample.steps=4",
        "sample.prompts=[fruit]",
    ]
    small += [
        "backbone={name: unet, widths: [8, 8], blocks: 1, attention: [false, true]}",
        "train.batch=2",
        "train.steps=2",
    ]
    command(installed, tmp_path, "train", recipe, *small, "train.held_out_every=0", "--quiet", "--out", "run")
    command(installed, tmp_path, "sample", "run", "--prompt", "tool", "-n", "2", "--quiet", "--out", "made")
    made = sorted((tmp_path / "made" / "media").glob("*.txt"))
    assert len(made) == 2
    assert all(len(f.read_text(encoding="utf-8")) <= 17 for f in made)
    keep = ["--input", "line.txt", "--keep", "0:3f", "--prompt", "fruit", "--quiet", "--out", "edited"]
    command(installed, tmp_path, "edit", "run", *keep)
    (edited,) = (tmp_path / "edited" / "media").glob("*.txt")
    assert edited.read_text(encoding="utf-8").startswith("red")
    command(installed, tmp_path, "evaluate", "run", "evaluate.n=8", "--quiet")
    measured = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert {"words", "distinct", "ngrams", "copied"} <= set(json.dumps(measured).split('"'))


@pytest.fixture
def texts(installed: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(installed))
    parts = {
        name: importlib.import_module(f"multigen_text.{name}") for name in ("modality", "codec", "dataset")
    }
    return SimpleNamespace(**parts, metrics=importlib.import_module("multigen_text.metrics"))


def test_texts_go_through_bits_and_files_as_they_are(texts: Any, tmp_path: Path) -> None:
    modality = texts.modality.Text(length=20)
    codec = texts.codec.AnalogBits(modality=modality)
    whole = modality.tensor(modality.alphabet)
    assert codec.shape(tuple(whole.shape)) == (6, 64)
    x = codec.encode(whole[None])
    assert set(x.unique().tolist()) == {-1.0, 1.0}
    assert modality.text(codec.decode(x + 0.9 * torch.rand_like(x) - 0.45)[0]) == modality.alphabet
    few = texts.modality.Text(alphabet=" abcd")
    assert (
        few.text(texts.codec.AnalogBits(modality=few).decode(torch.ones(1, 3, 2))[0]) == ""
    )  # no such character
    modality.write(modality.fit(modality.tensor("Red apple, 2"[:11]), (1, 20)), tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_text() == "Red apple,\n"
    assert modality.text(modality.read(tmp_path / "a.txt")) == "Red apple,"
    assert modality.text(modality.read(tmp_path / "a.txt", start=4, duration=3)) == "app"
    for content, part in (("a\nb\n", "several lines"), ("naïve\n", "'ï'")):
        (tmp_path / "b.txt").write_text(content, encoding="utf-8")
        with pytest.raises(MediaError, match=part):
            modality.read(tmp_path / "b.txt")
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(MediaError, match="UTF-8"):
        modality.read(tmp_path / "b.txt")


def test_metrics_of_texts(texts: Any, tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text(
        "".join(f"fruit\t{a} {b}\n" for a in ("red", "big") for b in ("pear", "fig"))
    )
    modality = texts.modality.Text(length=12)
    data = texts.dataset.Lines(modality=modality, path=str(tmp_path / "lines.txt"), held_out=0.3)
    train, out = ([data.lines[k][0] for k in part] for part in data.split())
    assert train
    assert out

    def score(name: str, lines: list[str]) -> float:
        metric = getattr(texts.metrics, name)(modality=modality, dataset=data)
        return metric([modality.tensor(line) for line in lines], [Target("")] * len(lines)).value

    assert score("Words", ["red fig", "red xxx", "  "]) == pytest.approx((1 + 0.5 + 0) / 3)
    assert score("Distinct", ["a", "b", "a", "a"]) == 0.5
    assert score("Copied", [train[0], out[0]]) == 0.5
    assert score("NGrams", out) == pytest.approx(0)
    assert score("NGrams", ["qqqq"]) == pytest.approx(1)
