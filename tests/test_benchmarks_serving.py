"""The server's benchmarks: parts are kept and left out again, a part that fails is a verdict, requests are nasty."""

from __future__ import annotations

import importlib
import json
import random
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from benchmarks.serving import corpus, parts
from benchmarks.serving.__main__ import main
from benchmarks.serving.hostile import _is_wrong
from benchmarks.serving.servers import quartiles, row, share
from benchmarks.serving.throughput import CLIENTS, STEPS, wishes


@pytest.fixture
def part(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Parts that only say that they were measured."""
    calls: list[str] = []
    for name in parts.PARTS:
        module = types.ModuleType(name)

        def measure(folder: Path, quick: bool, *more: float, name: str = name) -> list[dict[str, Any]]:
            calls.append(f"{name} {quick}")
            if name == "loop":
                raise RuntimeError("it does not start")
            return [row(name, 1.0, "x", "<= 2", met=name != "hostile")]

        vars(module)["measure"] = measure
        monkeypatch.setitem(sys.modules, f"benchmarks.serving.{name}", module)
    return calls


def test_parts_are_kept_and_a_failure_is_a_verdict(
    part: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--quick", "--out", "s.md"]) == 1
    assert part == [f"{name} True" for name in parts.DEFAULT] and "soak" not in parts.DEFAULT
    rows = json.loads((tmp_path / "s.json").read_text())["groups"]["serving"]
    verdicts = {one["part"]: one["verdict"] for one in rows}
    assert verdicts["loop"] == "FAILED" and verdicts["hostile"] == "MISSED" and verdicts["overhead"] == "met"
    assert "it does not start" in (tmp_path / "s.md").read_text()
    assert main(["overhead", "soak", "--resume"]) == 0
    assert part[len(parts.DEFAULT) :] == ["soak False"]  # the other one is there
    assert "| overhead | overhead | 1 | x | <= 2 | met |" in capsys.readouterr().out


def test_every_part_can_be_measured() -> None:
    for name in parts.PARTS:
        assert callable(importlib.import_module(f"benchmarks.serving.{name}").measure)


def test_wishes_are_of_mixed_steps_and_their_own_seeds() -> None:
    asked = wishes(CLIENTS)
    assert len(asked) == 32 and {one["steps"] for one in asked} == set(STEPS)
    assert min(STEPS) == 10 and max(STEPS) == 30 and len({one["seed"] for one in asked}) == 32


def test_the_corpus_is_the_same_from_its_seed_and_of_all_kinds() -> None:
    one, two = (corpus.requests(random.Random(7), 64, "m") for _ in range(2))
    assert one == two != corpus.requests(random.Random(8), 64, "m")
    assert {r.kind.partition(" ")[0] for r in one} == {
        "members", "text", "form", "job", "path", "head", "framing", "garbage",
    }  # fmt: skip
    assert len(corpus.bomb(60_000, 60_000)) < 100_000
    assert [_is_wrong(told) for told in ("500", "502", "hang", "200", "400", "503", "504", "closed")] == [
        True, True, True, False, False, False, False, False,
    ]  # fmt: skip


def test_shares_and_spreads() -> None:
    assert share([3, 1, 2], 0.95) == 3 and share(list(range(100)), 0.95) == 95
    assert quartiles([1.0]) == "" and quartiles([1.0, 2.0, 3.0, 4.0, 5.0]) == "2 to 4 of 5"
