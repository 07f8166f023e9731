"""Weights in the layout in which a CPU multiplies them: the same answers, whatever happens to the weights."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from multigen.backbones.packed import PackedWeights, available

pytestmark = pytest.mark.skipif(not available(), reason="this torch has no oneDNN")


class Net(nn.Module):
    """Convolutions of every kind, and linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = nn.Conv2d(64, 128, 3, padding=1)
        self.strided = nn.Conv2d(128, 128, 3, stride=2, padding=(0, 1), bias=False)
        self.grouped = nn.Conv2d(128, 256, 3, padding="same", groups=2)
        self.dilated = nn.Conv2d(256, 64, 3, padding=2, dilation=2)
        self.linear = nn.Linear(64, 1024)
        self.last = nn.Linear(1024, 64, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.dilated(self.grouped(self.strided(self.plain(x).relu()).relu()))
        return self.last(self.linear(x.flatten(2).transpose(1, 2)).relu())


class Inside(nn.Module):
    """A network that packs."""

    def __init__(self, net: nn.Module, packed: PackedWeights) -> None:
        super().__init__()
        self.net, self.packed = net.requires_grad_(requires_grad=False), packed

    def forward(self, x: Tensor) -> Tensor:
        return call(self.net, self.packed, x)


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net().eval()


def call(net: nn.Module, packed: PackedWeights, x: Tensor) -> Tensor:
    with torch.no_grad(), packed.used(x):
        return net(x)


def same(net: nn.Module, packed: PackedWeights, x: Tensor) -> None:
    with torch.no_grad():
        torch.testing.assert_close(call(net, packed, x), net(x), rtol=1e-4, atol=1e-4)


def held(packed: PackedWeights) -> int:
    return len(packed._held)


def test_the_answers_are_the_same_at_any_size(net: Net) -> None:
    packed = PackedWeights()
    for shape in ((2, 64, 12, 12), (1, 64, 5, 9), (7, 64, 16, 4)):
        same(net, packed, torch.randn(shape))
    assert held(packed) == 5  # all but the grouped one
    same(net, packed, torch.randn(2, 64, 12, 12).to(memory_format=torch.channels_last))


def test_changed_weights_are_packed_again(net: Net) -> None:
    packed, x = PackedWeights(), torch.randn(2, 64, 16, 16)
    before = call(net, packed, x)
    with torch.no_grad():
        net.plain.weight.add_(0.1)  # as a LoRA that is merged
    same(net, packed, x)
    net.last.weight.data = 0.03 * torch.randn(64, 1024)  # as weights that are loaded
    same(net, packed, x)
    net.linear.weight = nn.Parameter(0.1 * torch.randn(1024, 64))
    same(net, packed, x)
    assert not torch.allclose(before, call(net, packed, x))


def test_gradients_and_other_precisions_take_the_plain_way(net: Net) -> None:
    packed, x = PackedWeights(), torch.randn(2, 64, 16, 16)
    with packed.used(x):
        net(x).sum().backward()
    assert net.plain.weight.grad is not None
    assert not held(packed)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16), packed.used(x):
        assert net(x).dtype == torch.bfloat16
    half = copy.deepcopy(net).bfloat16()
    assert call(half, packed, x.bfloat16()).dtype == torch.bfloat16
    traced: Any = torch.jit.trace(Inside(net, packed), x, check_trace=False)
    assert not held(packed)
    same(net, PackedWeights(), x)
    torch.testing.assert_close(traced(x), net(x))
    with torch.inference_mode():
        other = Net().eval()
        with packed.used(x):
            other(x)


def test_a_copy_has_none(net: Net) -> None:
    packed = PackedWeights()
    call(net, packed, torch.randn(1, 64, 16, 16))
    assert held(packed) == 5
    assert not held(copy.deepcopy(packed))
    packed.clear()
    assert not held(packed)


LOADED = """
import sys, torch
from safetensors import safe_open
from multigen.backbones.packed import PackedWeights
weights = safe_open(sys.argv[1], "pt")
x, packed = torch.randn(32, 2048), PackedWeights()
total = 0

def of_files():
    row = next(line for line in open("/proc/self/status") if line.startswith("RssFile"))
    return int(row.split()[1])

torch.nn.functional.linear(x, torch.zeros(2048, 2048))
before = of_files()  # what torch's own files take differs from build to build
with torch.no_grad():
    for name in weights.keys():
        weight = weights.get_tensor(name)
        with packed.used(x):
            total += float(torch.nn.functional.linear(x, weight).sum())
        held = packed._held[id(weight)]
assert len(packed._held) == 8
print(of_files() - before)
for name, held in zip(weights.keys(), packed._held.values()):
    assert float(held.made_of.weight[0, 0]) == int(name)  # it is read again
"""


@pytest.mark.skipif(sys.platform != "linux", reason="where the system takes back memory of files")
def test_memory_of_a_file_goes(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    save_file({str(k): torch.full((2048, 2048), float(k)) for k in range(8)}, file)  # 16 MiB each
    done = subprocess.run(
        [sys.executable, "-c", LOADED, str(file)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 8 * 16 * 1024 // 2  # in KiB; all weights are twice that
