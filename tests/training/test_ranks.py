"""Ranks: several processes learn what one learns, by torchrun's own engine, faults injected for real."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from multigen.errors import RecipeError
from multigen.recipe.load import load_recipe
from multigen.recipe.rules import check_world
from multigen.recipe.schema import Train
from multigen.runs import jobs as runs
from multigen.storage import lora
from multigen.training import checkpoint as checkpoints
from multigen.training import log as training_log
from multigen.training import ranks
from multigen.training.ranks import collectives
from tests.runs.test_resume import small

from . import rank_job

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
# Without it torchrun's ranks may meet what those before a restart left in its store.
ENVIRONMENT = {**os.environ, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "OMP_NUM_THREADS": "1"}


def job(folder: Path, world: int, fault: dict[str, Any] | None = None, **settings: Any) -> dict[str, Any]:
    """Train the toy in that many ranks; what rank 0 reports."""
    folder.mkdir()
    if world == 1:
        assert rank_job.main(folder, settings, fault or {}) == 0
        return report(folder, 0)
    torchrun = [
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={world}",
        "--max-restarts=2",
        "-m",
    ]
    program = ["tests.training.rank_job", str(folder), json.dumps(settings), json.dumps(fault or {})]
    done = subprocess.run(
        [sys.executable, "-m", *torchrun, *program],
        cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return report(folder, 0)


def losses(folder: Path) -> list[float]:
    return [row["loss"] for row in training_log.read(folder) if "loss" in row]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training in two ranks."""
    folder = tmp_path_factory.mktemp("ranks") / "two"
    job(folder, 2, accumulate=2)
    return folder


def report(folder: Path, rank: int) -> dict[str, Any]:
    return json.loads((folder / f"rank-{rank}.json").read_text())


def test_two_ranks_learn_what_one_learns(tmp_path: Path, two: Path) -> None:
    one, mine, other = job(tmp_path / "one", 1), report(two, 0), report(two, 1)
    assert [a + b for a, b in zip(mine["ids"], other["ids"], strict=True)] == one["ids"]
    assert losses(two) == pytest.approx(losses(tmp_path / "one"), rel=1e-5)
    assert len(losses(two)) == 20
    assert mine["hash"] == other["hash"]  # the same bits in all ranks


def test_a_killed_rank_changes_nothing(tmp_path: Path, two: Path) -> None:
    mended = job(tmp_path / "mended", 2, {"rank": 1, "step": 12, "how": "SIGKILL"}, accumulate=2)
    assert (tmp_path / "mended" / "fault").exists()
    assert len(mended["ids"]) == 10  # gone on with from the checkpoint at step 10
    assert mended["hash"] == report(two, 0)["hash"]


def test_averages_and_patience_are_those_of_one_process(tmp_path: Path) -> None:
    """Only rank 0 measures: what it finds ends both, at the same step; averages are the same bits in both."""
    settings = {"ema_decay": 0.8, "post_hoc": {"every": 4}, "patience": 2, "held_out_every": 2}
    found = [3.0, 2.0, 2.5, 1.0, 1.5, 1.0, 0.0]  # 1.0 at step 8; the next two are no better
    folders = [tmp_path / "one", tmp_path / "two"]
    for world, folder in enumerate(folders, 1):
        assert job(folder, world, held_out=found, checkpoint_every=20, **settings)["step"] == 12
        best = checkpoints.best(folder / "checkpoints")
        assert best is not None and best.name == "step-00000008"
    assert report(folders[1], 0)["hash"] == report(folders[1], 1)["hash"]
    for place in ("checkpoints/step-00000012", "snapshots/step-00000008", "snapshots/step-00000012"):
        one, two = (checkpoints.load(folder / place).tensors for folder in folders)
        assert one.keys() == two.keys()
        for file in one.keys() - {"optimizer"}:
            for name, value in one[file].items():
                torch.testing.assert_close(two[file][name], value, rtol=1e-3, atol=1e-4)


def test_what_any_rank_cannot_read_is_named(tmp_path: Path) -> None:
    fault = {"how": "unreadable"}
    one, two = (job(tmp_path / str(n), n, fault, bad_media=0.5) for n in (1, 2))
    assert one["bad"] == two["bad"] and len(one["bad"]) > 1


def test_a_vocoder_and_its_critic_learn_in_two_ranks(tmp_path: Path) -> None:
    # The spectral losses are steep: rounding is 7e-7 in two steps, 6e-5 in the third, 7e-4 in the fourth; of the critic
    # 1e-7 and 8e-7. Ranks that kept their own gradients are 2e-2 off from the second step on, their critics 2e-5.
    one, two = (job(tmp_path / str(n), n, vocoder=True, steps=3, batch=4) for n in (1, 2))
    rows = [training_log.read(tmp_path / str(n)) for n in (1, 2)]
    for key, limits in (("loss", (1e-5, 1e-5, 1e-3)), ("critic_loss", (2e-6, 2e-6, 1e-5))):
        for limit, a, b in zip(limits, *rows, strict=True):
            assert b[key] == pytest.approx(a[key], rel=limit)
    assert two["hash"] == report(tmp_path / "2", 1)["hash"]
    assert len(one["ids"]) == 3


@pytest.mark.parametrize("name", ["audio_folder", "video_moving_emoji"])
def test_a_lora_learns_in_two_ranks_what_it_learns_in_one(name: str, tmp_path: Path) -> None:
    """On media of several sizes, which all ranks draw alike."""
    quick = ["train.held_out_every=0", "train.preview_every=0", "train.log_every=1", "train.ema_decay=0"]
    base = runs.train(
        small(name, tmp_path, *quick, "train.steps=1"), out=tmp_path / "base", device="cpu", quiet=True
    )
    tuning = [
        f"train.init={base}",
        "train.adapter={name: lora, rank: 2, targets: [convolutions]}",
        "train.steps=4",
    ]
    learned = []
    for world in (1, 2):
        ranked = [] if world == 1 else ["launch=torchrun", f"launch.nproc={world}"]
        recipe = small(name, tmp_path, *quick, *tuning, *ranked, "train.lr=1e-3")
        assert recipe.train.durations
        runs.train(recipe, out=tmp_path / str(world), device="cpu", quiet=True)
        ups = {k: v for k, v in load_file(tmp_path / str(world) / lora.FILE).items() if "lora_B" in k}
        learned.append(torch.cat([ups[k].flatten() for k in sorted(ups)]))
    assert losses(tmp_path / "2") == pytest.approx(losses(tmp_path / "1"), rel=1e-5)
    assert len(losses(tmp_path / "2")) == 4
    assert learned[0].abs().max() > 1e-4
    # Adam takes the sign of a gradient that is all rounding: not each number is the same.
    assert (learned[1] - learned[0]).norm() < 0.02 * learned[0].norm()


@pytest.mark.parametrize(
    ("batch", "accumulate", "size", "text"),
    [
        (8, 1, 3, r"launch.nproc: 3 is not allowed. Allowed: a divisor of train.batch, 8: 1, 2, 4, 8\."),
        (8, 2, 8, r"a divisor of train.batch / train.accumulate, 4: 1, 2, 4\."),
    ],
)
def test_ranks_that_cannot_share_a_batch_are_refused(
    batch: int, accumulate: int, size: int, text: str
) -> None:
    with pytest.raises(RecipeError, match=text):
        check_world(Train(batch=batch, accumulate=accumulate), size, "launch.nproc")
    overrides = ["launch=torchrun", f"launch.nproc={size}", f"train.batch={batch}"]
    with pytest.raises(RecipeError, match=text):
        load_recipe("image_digits", [*overrides, f"train.accumulate={accumulate}"])


def test_launch_is_a_small_part_of_the_recipe() -> None:
    launch = load_recipe("image_digits", ["launch=torchrun", "launch.nproc=2"]).launch
    assert (launch.name, launch.nproc, launch.restarts) == ("torchrun", 2, 0)
    with pytest.raises(RecipeError, match="Did you mean 'torchrun'"):
        load_recipe("image_digits", ["launch=torchrunn"])
    with pytest.raises(RecipeError, match=r"launch\.nproc: 2 is not allowed without launch=torchrun"):
        load_recipe("image_digits", ["launch.nproc=2"])


def test_gradients_travel_whole_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collectives, "_BUCKET", 10)
    grads = [torch.zeros(n) for n in (4, 6, 1, 30, 2)] + [torch.zeros(2, dtype=torch.bfloat16)]
    buckets = list(collectives._buckets(grads))
    assert [len(b) for b in buckets] == [2, 1, 1, 1, 1]
    assert all(a is b for a, b in zip([g for b in buckets for g in b], grads, strict=True))


def test_one_process_talks_to_nobody() -> None:
    parameter = nn.Parameter(torch.ones(2))
    assert ranks.summed(1.5, [parameter]) == 1.5 and parameter.grad is None
    assert ranks.rows(8) == range(8) and ranks.first() and ranks.leads()
    assert ranks.largest(1.0, 2.0) == [1.0, 2.0]


# --- the command -------------------------------------------------------------------------------------------------

RECIPE = """\
name: tiny
modality: {name: image, size: 8, channels: 1}
data: {name: digits}
codec: {name: pixels}
backbone: {name: unet, widths: [8], blocks: 1, attention: [false]}
train: {batch: 4, held_out_every: 0, preview_every: 0, tensorboard: false, checkpoint_every: 5}
sample: {n: 1, steps: 2}
"""


def command(tmp_path: Path, *overrides: str) -> list[str]:
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    given = ["launch=torchrun", "launch.nproc=2", *overrides]
    return [sys.executable, "-m", "multigen", "train", "tiny.yaml", "--device", "cpu", *given]


def test_one_override_trains_in_two_ranks(tmp_path: Path) -> None:
    environment = {**ENVIRONMENT, "PYTHONPATH": str(ROOT)}

    def run(*overrides: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(tmp_path, *overrides),
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    done = run("train.steps=6")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["runs/tiny"]
    assert (tmp_path / "runs/tiny/weights.safetensors").is_file()
    assert (tmp_path / "runs/tiny/report.html").is_file()
    assert done.stderr.count("training on cpu") == 1
    bad = run(
        "--out", "runs/tiny", "train.steps=9", "train.lr=1e30"
    )  # another training: every rank refuses it, one says so
    assert bad.returncode == 2 and bad.stderr.count("error") == 1, bad.stderr
    on = run("launch.nproc=1", "train.steps=8")  # how many ranks there are may change
    assert on.returncode == 0 and "continuing at step 6" in on.stderr, on.stderr


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (None, 1)])
def test_signals_and_faults_end_the_whole_job(
    tmp_path: Path, signum: signal.Signals | None, code: int
) -> None:
    overrides = ["train.steps=100000", "train.log_every=1"] + (
        [] if signum else ["train.lr=1e30", "train.warmup=0", "train.skip=0"]
    )
    environment = {**ENVIRONMENT, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command(tmp_path, *overrides, "--quiet"),
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        path = tmp_path / "runs/tiny/log.jsonl"
        until = time.monotonic() + 100
        while signum and time.monotonic() < until and not (path.is_file() and path.read_text()):
            time.sleep(0.05)
        if signum:
            process.send_signal(signum)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == code, errors
    assert errors.count("multigen:") == 1 and "Traceback" not in errors, errors
    if signum:
        step = int(errors.partition("at step ")[2].partition(";")[0])
        assert (tmp_path / f"runs/tiny/checkpoints/step-{step:08d}").is_dir()
    else:
        assert "nothing was updated" in errors
