"""`python -m benchmarks.refresh`: stages write sections of a card and what the package reads."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import refresh
from benchmarks.refresh import __main__ as command
from benchmarks.refresh.card import rows_of, write_section


def test_a_section_is_replaced_and_the_rest_of_the_card_stays(tmp_path: Path) -> None:
    card = tmp_path / "README.md"
    card.write_text("# name\n\nWhat it is.\n\n## Limits\n\nSome.\n")
    write_section(tmp_path, "cache", "## Caching\n\n" + rows_of(("a", "b"), [("1", "2")]))
    write_section(tmp_path, "timesteps", "## Timesteps\n")
    first = card.read_text()
    assert first.startswith("# name\n\nWhat it is.\n")
    assert first.endswith("## Limits\n\nSome.\n")
    assert first.index("## Caching") < first.index("## Timesteps") < first.index("## Limits")
    assert "| a | b |\n| --- | --- |\n| 1 | 2 |" in first
    write_section(tmp_path, "cache", r"## Caching \1 anew")
    assert card.read_text().count("refresh: cache") == 2
    assert "| 1 | 2 |" not in card.read_text()
    assert r"\1 anew" in card.read_text()


def test_the_command_runs_the_stages_in_order_into_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stage(says: str) -> SimpleNamespace:
        def run(name: str, out: Path) -> str:
            (out / says).write_text(name)
            return says

        return SimpleNamespace(run=run)

    monkeypatch.setattr(command, "STAGES", ("one", "two"))
    for says in ("one", "two"):
        monkeypatch.setitem(sys.modules, f"benchmarks.refresh.{says}", stage(says))
    assert command.main(["image_digits", "--out", str(tmp_path)]) == 0
    assert [line.split(" (")[0] for line in capsys.readouterr().out.splitlines()] == [
        "image_digits: one: one",
        "image_digits: two: two",
    ]
    assert (tmp_path / "image_digits" / "two").read_text() == "image_digits"


def test_every_stage_that_is_listed_is_there() -> None:
    for name in refresh.STAGES:
        assert (Path(refresh.__file__).parent / f"{name}.py").is_file()
