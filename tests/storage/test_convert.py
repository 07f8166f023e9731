"""`multigen convert`: pickles become safetensors, and never code."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from multigen.cli.main import main

WEIGHTS = {"a.weight": torch.arange(6.0).view(2, 3), "b": torch.ones(2, dtype=torch.float16)}


def same(path: Path) -> bool:
    found = load_file(path)
    return found.keys() == WEIGHTS.keys() and all(torch.equal(found[k], v) for k, v in WEIGHTS.items())


def test_tensors_come_through(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(WEIGHTS, tmp_path / "w.pt")
    assert main(["convert", str(tmp_path / "w.pt"), str(tmp_path / "w.safetensors")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'w.safetensors'}\n"
    assert same(tmp_path / "w.safetensors")


def test_one_entry_of_a_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With what trainers put beside it; shared memory is no hindrance."""
    shared = torch.zeros(4)
    torch.save(
        {"state_dict": WEIGHTS, "epoch": 3, "opt": {"m": shared, "n": shared[:2]}}, tmp_path / "w.ckpt"
    )
    where = str(tmp_path / "w.ckpt")
    assert main(["convert", where, str(tmp_path / "x.safetensors")]) == 2
    assert "with --key: state_dict (2 tensors), opt (2 tensors)" in capsys.readouterr().err
    assert main(["convert", where, str(tmp_path / "x.safetensors"), "--key", "state_dict"]) == 0
    assert same(tmp_path / "x.safetensors")
    assert main(["convert", where, str(tmp_path / "o.safetensors"), "--key", "opt"]) == 0
    assert load_file(tmp_path / "o.safetensors")["n"].shape == (2,)


class Evil:
    """Unpickled carelessly, it makes a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (self.path, "w")


@pytest.mark.parametrize("torch_format", [True, False])
def test_code_is_refused_and_not_run(
    tmp_path: Path, torch_format: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    data, path = {"w": WEIGHTS["b"], "x": Evil(str(tmp_path / "owned"))}, tmp_path / "w.ckpt"
    torch.save(data, path) if torch_format else path.write_bytes(pickle.dumps(data))
    assert main(["convert", str(path), str(tmp_path / "w.safetensors")]) == 2
    assert ": refused, " in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["w.ckpt"]


def test_wrong_inputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, out = tmp_path / "w.pt", str(tmp_path / "w.safetensors")
    torch.save(WEIGHTS, good)
    (tmp_path / "torn.pt").write_bytes(good.read_bytes()[:300])
    (tmp_path / "text.pt").write_text("hello")
    torch.save({"epoch": 3}, tmp_path / "none.pt")
    (tmp_path / "there.safetensors").write_bytes(b"mine")
    for argv, says in (
        ([str(tmp_path / "missing.pt"), out], "no such file"),
        ([str(tmp_path / "torn.pt"), out], "torn.pt: "),
        ([str(tmp_path / "text.pt"), out], "text.pt: "),
        ([str(tmp_path / "none.pt"), out], "no tensors"),
        ([str(good), str(tmp_path / "w.bin")], "saved as .safetensors"),
        ([str(good), str(tmp_path / "there.safetensors")], "already exists"),
        ([str(good), out, "--key", "ema"], "--key"),
    ):
        assert main(["convert", *argv]) == 2, argv
        assert says in capsys.readouterr().err
    assert (tmp_path / "there.safetensors").read_bytes() == b"mine"
    assert not Path(out).exists()
