"""The benchmarks run with and without the peers that they compare with."""

from __future__ import annotations

import importlib.util
import json
import sys
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from benchmarks import families, filling, latents, networks, peers
from benchmarks.__main__ import main
from benchmarks.family_folders import write
from multigen.core.noise import normal


@pytest.fixture
def without_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    find, absent = importlib.util.find_spec, ("k_diffusion", "ema_pytorch")
    monkeypatch.setattr(peers, "find_spec", lambda name: None if name in absent else find(name))


@pytest.mark.usefixtures("without_peers")
def test_without_peers_their_rows_are_left_out_and_one_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def beside(pair: peers.Pair, batch: int) -> list[dict[str, Any]]:
        return [{"what": pair.name}]

    monkeypatch.setattr(networks, "diffusers_pair", lambda: SimpleNamespace(name="diffusers UNet2DModel"))
    monkeypatch.setattr(networks, "beside", beside)
    monkeypatch.setattr(networks, "own", list)
    assert main(["--only", "networks", "--out", str(tmp_path / "b.md")]) == 0
    said = capsys.readouterr()
    assert "diffusers UNet2DModel" in said.out
    assert "denoising" not in said.out
    lines = [line for line in said.err.splitlines() if "left out" in line]
    assert lines == [
        "not installed, and left out: k-diffusion, denoising-diffusion-pytorch. "
        "Install with: python -m pip install --no-deps -r benchmarks/peers.txt"
    ]
    assert peers.k_sampling() is None


def test_every_module_that_a_peer_takes_is_in_the_list_to_install() -> None:
    """But those that come with multigen[bench]."""
    text = (Path(peers.__file__).parent / "peers.txt").read_text()
    listed = {line.partition("==")[0].replace("-", "_") for line in text.splitlines() if "==" in line}
    assert {name for modules in peers.MODULES.values() for name in modules} - listed == {"scipy"}


def test_peers_leave_nothing_in_torchvisions_place() -> None:
    before = {name: module for name, module in sys.modules.items() if name.startswith("torchvision")}
    pair, k = peers.lucidrains_pair(), peers.k_sampling()
    if pair is None or k is None:
        pytest.skip(peers.note())
    after = {name: module for name, module in sys.modules.items() if name.startswith("torchvision")}
    assert after == before
    assert k.get_sigmas_karras(3, 0.1, 1.0).shape == (4,)
    x = normal((1, 3, 8, 8), 0, "x")
    assert pair.call_peer(x, torch.zeros(1)).shape == pair.call_multigen(x, torch.zeros(1)).shape == x.shape


@pytest.mark.parametrize("name", families.MADE)
def test_families_are_timed_beside_their_pipelines(name: str, tmp_path: Path) -> None:
    """On networks of the same form and few weights."""
    folder = write(name, tmp_path / name, small=True)
    for side in ("ours", "theirs"):
        found = families.TASKS[side](Namespace(folder=folder, repeats=1, size=16, task=side))
        assert found["whole"] > found["step"] > 0
        assert 0.1 < found["peak"] < 30


def test_errors_of_a_fill_are_of_the_hidden_part_and_of_its_seam() -> None:
    true = torch.zeros(2, 1, 28, 28)
    right, lower, middle = filling._masks((28, 28))
    assert [int((~keep).sum()) for keep in (right, lower, middle)] == [392, 392, 196]
    made = true.clone()
    made[0, :, :, 14:16] = 0.5  # at the seam alone
    made[1, :, :, :14] = 9.0  # what is kept does not count
    whole, seam = filling._errors(made, true, right)
    torch.testing.assert_close(seam, torch.tensor([0.25, 0.0]))
    torch.testing.assert_close(whole, torch.tensor([0.25 * (2 / 14) ** 0.5, 0.0]))


def test_the_progress_of_a_vae_is_read_from_its_log(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("defaults: [vae_folder]\nname: vae\ntrain: {batch: 4}\n")
    rows = [
        {"step": 10, "loss": 1.0, "items_per_s": 2.0},
        {"step": 20, "loss": 0.5, "items_per_s": 1.0},
        {"step": 20, "held_out": {"psnr": 21.51234, "ssim": 0.5, "mean": 0.4, "seen": 0.3}},
    ]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    wanted = {"step": 20, "minutes": 1.0, "psnr": 21.5123, "ssim": 0.5, "mean": 0.4, "seen": 0.3}
    assert latents.progress(tmp_path) == [wanted]
