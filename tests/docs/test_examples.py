"""The programs of examples/ do what they say, with few steps; each is short."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from unittest import mock

import numpy as np
import pytest
import torch

from multigen import registry
from multigen.core import Noise
from multigen.core.samplers import ddim
from multigen.core.schedules import cosine
from tests.docs.blocks import ROOT

EXAMPLES = ROOT / "examples"
FILES = sorted(EXAMPLES.rglob("*.py"))


def example(name: str) -> ModuleType:
    return importlib.import_module(f"examples.{name}")


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_an_example_has_under_60_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < 60


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


def test_a_lora_is_trained_and_changes_the_picture(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    import multigen

    medium = example("lora").main(tmp_path / "ink", tmp_path / "run", steps=2, train_steps=4)
    (plain,) = multigen.load("image_emoji").generate("purple tomato", seed=0, steps=2)
    assert medium.tensor.shape == plain.tensor.shape and not torch.equal(medium.tensor, plain.tensor)
    assert (tmp_path / "run" / "pytorch_lora_weights.safetensors").is_file()


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
    """A folder in which the package of examples is installed, as pip would: its files and its entry points."""
    target = tmp_path_factory.mktemp("site")
    source = EXAMPLES / "multigen-series"
    project = tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (target / "multigen_series").symlink_to(source / "multigen_series")
    info = target / f"multigen_series-{project['version']}.dist-info"
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
    rows = torch.stack([torch.tensor([float(v) for v in f.read_text().split(",")]) for f in files])
    assert rows.shape == (8, 32)
    quiet, loud = rows.std(1).view(2, 4).mean(1).sort().values
    assert quiet < 0.4 * loud  # of sines with amplitudes 0.2 and 0.9
