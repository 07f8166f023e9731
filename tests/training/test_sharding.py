"""`launch.fsdp`: ranks that share the network learn what one process learns, and leave the same files."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, multiprocessing, nn

from multigen.backbones.winograd import Conv
from multigen.core.copies import copied_bytes
from multigen.errors import RecipeError
from multigen.recipe.load import load_recipe
from multigen.runs import jobs as runs
from multigen.storage import lora
from multigen.training import checkpoint as checkpoints
from multigen.training import log as training_log
from multigen.training.sharding import Layout, check_sharding, clip_gradients, part, shard
from tests.runs.test_resume import small

ROOT = Path(__file__).parents[2]
QUICK = ["train.preview_every=0", "train.log_every=1", "train.post_hoc.every=4", "train.checkpoint_every=3"]
QUICK += ["train.precision=fp32"]
SHARED = ["launch=torchrun", "launch.nproc=2", "launch.fsdp=true"]


def losses(folder: Path) -> list[float]:
    return [row["loss"] for row in training_log.read(folder) if "loss" in row]


def trained(folder: Path, *overrides: str) -> Path:
    """A training of 7 steps on digits of several sizes."""
    recipe = small("image_digits", folder.parent, *QUICK, *overrides)
    return runs.train(recipe, out=folder, device="cpu", quiet=True)


@pytest.mark.slow
def test_ranks_that_share_a_network_learn_what_one_learns_and_their_files_are_the_same(
    tmp_path: Path,
) -> None:
    one, two = trained(tmp_path / "one"), trained(tmp_path / "two", *SHARED)
    assert losses(two) == pytest.approx(losses(one), rel=1e-5) and len(losses(one)) == 7
    names = ["weights.safetensors", "checkpoints/step-00000007", "snapshots/step-00000004"]
    for name in names:
        a, b = one / name, two / name
        found = [{"": load_file(p)} if p.is_file() else dict(checkpoints.load(p).tensors) for p in (a, b)]
        assert found[0].keys() == found[1].keys()
        for file in found[0]:
            assert found[0][file].keys() == found[1][file].keys()
            for key, value in found[0][file].items():
                other = found[1][file][key]  # Adam takes the sign of a gradient that is all rounding
                assert other.shape == value.shape and other.dtype == value.dtype
                assert (other.float() - value.float()).norm() <= 0.02 * value.float().norm() + 1e-4, (
                    file,
                    key,
                )


@pytest.mark.slow
def test_a_killed_training_goes_on_bit_for_bit_and_with_or_without_sharing(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(
        "name: tiny\nmodality: {name: image, size: 8, channels: 1}\ndata: {name: digits}\ncodec: {name: pixels}\n"
        "backbone: {name: unet, widths: [8, 12], blocks: 1, attention: [false, true]}\nsample: {n: 1, steps: 2}\n"
        "train: {batch: 4, steps: 60, held_out_every: 0, preview_every: 0, tensorboard: false, checkpoint_every: 10, "
        "keep: 9, warmup: 2}\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}

    def start(out: str, *overrides: str) -> subprocess.Popen[str]:
        words = ["train", "tiny.yaml", "--device", "cpu", "--quiet", "--out", out, *overrides]
        return subprocess.Popen(
            [sys.executable, "-m", "multigen", *words],
            cwd=tmp_path, env=environment, text=True, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip

    def end(process: subprocess.Popen[str]) -> None:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors

    end(start("whole", *SHARED))
    killed = start("killed", *SHARED)
    until = time.monotonic() + 100
    while time.monotonic() < until and not checkpoints.found(tmp_path / "killed/checkpoints"):
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert not (tmp_path / "killed/weights.safetensors").is_file()
    end(start("killed", *SHARED))
    whole = load_file(tmp_path / "whole/weights.safetensors")
    mended = load_file(tmp_path / "killed/weights.safetensors")
    assert all(torch.equal(mended[name], value) for name, value in whole.items())
    # From one checkpoint under sharing: on without it, and back.
    for step in range(20, 61, 10):
        checkpoints.set_aside([tmp_path / f"killed/checkpoints/step-{step:08d}"])
    (tmp_path / "killed/weights.safetensors").unlink()
    end(start("killed", "train.steps=30"))
    end(start("killed", *SHARED, "train.steps=60"))
    again = load_file(tmp_path / "killed/weights.safetensors")
    assert max(float((again[name] - value).abs().amax()) for name, value in whole.items()) < 0.02


@pytest.mark.slow
def test_a_lora_learns_beside_a_shared_network(tmp_path: Path) -> None:
    base = trained(tmp_path / "base", "train.steps=1", "train.post_hoc.every=0")
    tuning = [f"train.init={base}", "train.adapter={name: lora, rank: 2}", "train.post_hoc.every=0"]
    one, two = trained(tmp_path / "one", *tuning), trained(tmp_path / "two", *tuning, *SHARED)
    assert losses(two) == pytest.approx(losses(one), rel=1e-5)
    ups = [load_file(folder / lora.FILE) for folder in (one, two)]
    assert ups[0].keys() == ups[1].keys()
    for name, value in ups[0].items():
        torch.testing.assert_close(ups[1][name], value, rtol=2e-2, atol=2e-4)


class Wide(nn.Module):
    """A block of a width at which sampling keeps a transformed kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Conv(96, 96, (3, 3)), Conv(96, 96, (3, 3))])

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


def gathers_anew(rank: int, store: str) -> None:
    """In a process of its own: DTensor's caches keep the group, whose threads no fork survives."""
    torch.manual_seed(0)
    net, x = Wide(), torch.randn(1, 96, 8, 8)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=1)
    shard(net, torch.device("cpu"))
    for _ in range(2):
        with torch.no_grad():
            found = net(x)
            assert copied_bytes(net) == 0
            for parameter in net.parameters():
                part(parameter).mul_(2)  # as an optimizer does
        weights = [part(p).detach().clone() / 2 for p in net.parameters()]
        wanted = F.conv2d(x, weights[0], weights[1], padding=1)
        wanted = F.conv2d(wanted, weights[2], weights[3], padding=1)
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    dist.destroy_process_group()


def test_a_shared_network_keeps_no_copies_of_weights_that_are_gathered_anew(tmp_path: Path) -> None:
    multiprocessing.spawn(gathers_anew, (f"{tmp_path}/store",), nprocs=1)


def test_one_process_cannot_share() -> None:
    with pytest.raises(
        RecipeError, match=r"launch\.fsdp: true is not allowed in one process.*launch\.nproc=2"
    ):
        load_recipe("image_digits", ["launch=torchrun", "launch.fsdp=true"])
    alone = load_recipe("image_digits", ["launch.fsdp=true"])  # torchrun may start it
    with pytest.raises(RecipeError, match=r"launch\.fsdp: true is not allowed in one process"):
        check_sharding(alone)
    check_sharding(load_recipe("image_digits"))


def test_what_cannot_be_shared_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("multigen.training.ranks.world", lambda: 2)
    with pytest.raises(
        RecipeError, match=r"launch\.fsdp: true is not allowed with vocoder_music, which trains a codec"
    ):
        check_sharding(load_recipe("vocoder_music", [*SHARED, "train.batch=8"]))
    with pytest.raises(RecipeError, match=r"train\.compile: true is not allowed with launch\.fsdp=true"):
        check_sharding(load_recipe("image_digits", [*SHARED, "train.compile=true"]))


def test_alone_nothing_is_cut_and_gradients_are_clipped_as_torch_does() -> None:
    net = nn.Linear(3, 2)
    parameters = dict(net.named_parameters())
    layout = Layout(parameters)
    files = {"weights": {name: p.detach() for name, p in parameters.items()}}
    assert layout.whole(files)["weights"]["weight"] is files["weights"]["weight"] and not layout.cut_at_all
    assert layout.cut(files)["weights"]["bias"] is files["weights"]["bias"]
    net(torch.ones(1, 3)).sum().backward()
    norm = clip_gradients(parameters, parameters, 0.5)
    total = torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None]).norm()
    assert norm == pytest.approx((2 * 3 + 2) ** 0.5) and total == pytest.approx(0.5, rel=1e-4)
